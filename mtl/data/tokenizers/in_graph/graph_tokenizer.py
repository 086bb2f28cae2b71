"""Tokenization as TensorFlow graph operations: text -> token ids and offsets."""

import json
import re
from collections.abc import Callable
from functools import lru_cache, partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from mtl.data.example import combining_marks
from mtl.data.tokenizers.conversion import ALONE, WHITE
from mtl.data.tokenizers.in_graph import text, words
from mtl.data.tokenizers.in_graph.models import BytePairs, Unigrams, WholeWords, WordPieces
from mtl.data.tokenizers.in_graph.text import CharacterMap, Characters, CharacterTable, decode
from mtl.data.tokenizers.in_graph.words import SPACE, Words
from mtl.data.tokenizers.learning import BLANKS, SIGNS, WORDS
from mtl.data.tokenizers.template import FIRST, Template

if TYPE_CHECKING:
    from mtl.data.tokenizers.tokenizer import Tokenizer

__all__ = ["GraphTokenizer"]

_SPACES = [code for code in range(0x3001) if chr(code).isspace()]
_MODELS: dict[str, Any] = {"WordLevel": WholeWords, "WordPiece": WordPieces, "BPE": BytePairs, "Unigram": Unigrams}


class GraphTokenizer(tf.Module):
    """Tokenization by TensorFlow operations only, so that a SavedModel can take strings.

    Import `tensorflow_text` before loading such a SavedModel.

    Args:
        tokenizer: `mtl.data.Tokenizer` to reproduce.

    Raises:
        ValueError: if a part of its definition has no equivalent in TensorFlow's operations.

    Example:

    >>> from mtl.data.tokenizers.tokenizer import Tokenizer
    >>> graph = Tokenizer.learn("word", ["the cat sat"]).graph()
    >>> batch = graph(tf.constant(["the cat", "sat"]))
    >>> batch["padding_mask"].numpy().tolist(), batch["ends"].numpy().tolist()
    ([[1, 1], [1, 0]], [[3, 7], [3, -1]])
    """

    def __init__(self, tokenizer: "Tokenizer"):
        super().__init__()
        definition = json.loads(tokenizer.definition)
        plain = [token["content"] for token in definition["added_tokens"] if not token["special"]]
        if plain:
            raise _impossible(f"added tokens that are not special, such as '{plain[0]}'")
        self._templates = tokenizer.template(), tokenizer.template(pair=True)
        self._pad_id = tokenizer.pad_id or 0
        self._spaced, self._of_text = tokenizer.spaced, tokenizer.ids_of_text
        self._marks = _mark_table() if tokenizer.normalizes else None
        self._pieces = _Pieces(definition)

    def __call__(self, texts: tf.Tensor, pairs: tf.Tensor | None = None, max_length: int | None = None) -> dict[str, tf.Tensor]:
        """Tokenize texts or pairs of texts, padded to the longest.

        Args:
            texts: strings `[B]`.
            pairs: strings `[B]`, or None.
            max_length: maximum number of tokens, including special ones: the longer of two texts is cut first. None: no limit.

        Returns:
            int32 `[B, S]` each: `token_ids`, `padding_mask` (1 for a token), `segment_ids`, and the tokens' `starts` and
            `ends` in characters of their text, -1 for special tokens and padding.
        """
        template = self._templates[pairs is not None]
        rows = [self._rows(side) for side in ((texts,) if pairs is None else (texts, pairs))]
        rows = _cut(rows, template, max_length)
        parts = []
        for part, segment in zip(template.parts, template.segments, strict=True):
            if part >= 0:
                parts.append(tf.tile(tf.constant([[[part, segment, -1, -1]]]), [tf.size(texts), 1, 1]))
            else:
                row = rows[FIRST - part]
                ids, spans = row.values[:, :1], row.values[:, 1:]
                parts.append(row.with_values(tf.concat([ids, tf.fill(tf.shape(ids), segment), spans], 1)))
        joined = tf.concat([tf.RaggedTensor.from_tensor(p) if isinstance(p, tf.Tensor) else p for p in parts], 1)
        dense = joined.to_tensor(tf.constant([self._pad_id, 0, -1, -1]))
        token_ids, segment_ids, starts, ends = tf.unstack(dense, axis=-1)
        mask = tf.sequence_mask(joined.row_lengths(), tf.shape(dense)[1], tf.int32)
        return {"token_ids": token_ids, "padding_mask": mask, "segment_ids": segment_ids, "starts": starts, "ends": ends}

    def word_spans(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Return the starts and ends of the words of `split_words`, in characters: int32 `[B, (words)]` each."""
        return words.word_spans(texts)

    def _rows(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Return each text's pieces: ragged int32 `[B, (pieces), 3]` of id, start and end."""
        characters = decode(texts)
        ids, text, starts, ends = self._pieces(characters, tf.size(texts))
        ids = tf.gather(self._of_text, ids)
        if self._spaced is not None:
            after = _after_spaces(characters, text, starts)
            starts = tf.where(tf.gather(self._spaced, ids) & (after < ends), after, starts)
        if self._marks is not None:
            ends = _with_marks(self._marks(characters.codes) > 0, characters, text, starts, ends)
        pieces = tf.stack([ids, starts, ends], 1)
        return tf.RaggedTensor.from_value_rowids(pieces, tf.cast(text, tf.int64), tf.size(texts, tf.int64))


def _cut(rows: list[tf.RaggedTensor], template: Template, max_length: int | None) -> list[tf.RaggedTensor]:
    """Truncate ragged rows; `Template.kept` in a graph."""
    if max_length is None:
        return rows
    room = template.room(max_length)
    lengths = [row.row_lengths() for row in rows]
    if len(rows) == 1:
        kept = [tf.minimum(lengths[0], room)]
    else:
        first = tf.minimum(lengths[0], tf.maximum(room - lengths[1], (room + 1) // 2))
        kept = [first, tf.minimum(lengths[1], room - first)]
    stays = [tf.ragged.range(length).values < tf.repeat(keep, length) for length, keep in zip(lengths, kept, strict=True)]
    return [
        tf.RaggedTensor.from_row_lengths(tf.boolean_mask(row.values, stay), keep)
        for row, stay, keep in zip(rows, stays, kept, strict=True)
    ]


def _after_spaces(characters: Characters, text: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
    """Return each piece's first character that is not white space."""
    space = tf.reduce_any(characters.codes[:, None] == _SPACES, -1)
    base = tf.searchsorted(characters.text, text)
    return _next(~space, base + starts) - base


def _with_marks(marks: tf.Tensor, characters: Characters, text: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor) -> tf.Tensor:
    """Return each piece's end after the combining marks that follow it and belong to no piece."""
    base, beyond = (tf.searchsorted(characters.text, text, side) for side in ("left", "right"))
    after = tf.minimum(_next(~marks, base + ends), beyond) - base
    most = tf.fill([tf.minimum(tf.size(text), 1)], tf.int32.max)
    following = tf.concat([tf.where(text[1:] == text[:-1], starts[1:], tf.int32.max), most], 0)
    return tf.where(ends > starts, tf.maximum(ends, tf.minimum(after, following)), ends)


def _next(flags: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """Return the first flagged position at or after each position, or the end."""
    size = tf.size(flags)
    places = tf.concat([tf.boolean_mask(tf.range(size), flags), [size]], 0)
    return tf.gather(places, tf.searchsorted(places, positions))


@lru_cache(maxsize=1)
def _mark_table() -> CharacterTable:
    """Return a table with 1 for combining marks and 0 for other code points."""
    return CharacterTable(np.isin(text.PROBED, [ord(mark) for mark in combining_marks()]).astype(np.int32))


class _Pieces(tf.Module):
    """Normalization of characters, and splitting into words and then pieces."""

    def __init__(self, definition: dict[str, Any]):
        super().__init__()
        self._normalizers: list[Callable[..., Characters]] = _normalizers(definition["normalizer"])
        self._split = _splitter(definition["pre_tokenizer"])
        model = definition["model"]
        odd = [key for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "unk_token") if model.get(key)]
        if model["type"] not in _MODELS:
            raise _impossible(f"the model {model['type']}")
        if model["type"] == "BPE" and (odd or model.get("ignore_merges") or model.get("byte_fallback")):
            raise _impossible(f"a BPE model with {', '.join(odd) or 'ignore_merges or byte_fallback'}")
        if model["type"] == "BPE" and [step["type"] for step in _flat(definition["pre_tokenizer"], "pretokenizers")] != [
            "ByteLevel"
        ]:
            raise _impossible("a BPE model of characters instead of bytes")
        _check_pieces(model)
        self._model = _MODELS[model["type"]](model)

    def __call__(self, characters: Characters, count: tf.Tensor) -> tuple[tf.Tensor, ...]:
        for normalize in self._normalizers:
            characters = normalize(characters, count)
        words = self._split(characters)
        ids, starts, ends = self._model(words.strings)
        word = tf.cast(ids.value_rowids(), tf.int32)
        # Bytes of words -> characters of words -> characters of the texts.
        byte = tf.cumsum(text.byte_lengths(words.characters.codes), exclusive=True)
        base = tf.gather(byte, tf.gather(words.first, word))
        first, last = (tf.searchsorted(byte, base + at, "right") - 1 for at in (starts.values, ends.values - 1))
        source = words.characters.source
        return ids.values, tf.gather(words.text, word), tf.gather(source, first), tf.gather(source, last) + 1


def _check_pieces(model: dict[str, Any]) -> None:
    """Check a vocabulary for pieces that TensorFlow's models cannot hold; some of them would crash the process."""
    seen = {""} if model["type"] == "Unigram" else set()
    for entry in model["vocab"] if model["type"] in ("Unigram", "WordPiece") else ():
        piece = entry[0] if model["type"] == "Unigram" else entry
        if "\0" in piece or piece in seen:
            kind = "a NUL character in it" if "\0" in piece else "no character" if not piece else "another of the same characters"
            raise _impossible(f"a {model['type']} piece {piece!r} with {kind}")
        seen.add(piece)


def _impossible(what: str) -> ValueError:
    return ValueError(f"Expected a tokenizer that TensorFlow can follow; this one has {what}. Tokenize with `Tokenizer.encode`.")


def _flat(step: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    """Return the steps in a part of a definition, with sequences flattened."""
    if step is None:
        return []
    return [inner for one in step[key] for inner in _flat(one, key)] if step["type"] == "Sequence" else [step]


def _normalizers(definition: dict[str, Any] | None) -> list[Callable]:
    """Return normalizing functions of characters and the number of texts."""
    result: list[Callable] = []
    for special, group in groupby(_flat(definition, "normalizers"), _of_many_characters):
        steps = list(group)
        result += [special] * len(steps) if special else [_one_by_one(json.dumps(steps))]
    return result


@lru_cache(maxsize=64)
def _step(name: str, left: bool = True, right: bool = True) -> Callable:
    """Return the function of a name; cached, so that equal steps are the same object."""
    if name == "squeeze":
        return text.squeeze
    if name == "strip":
        return partial(text.strip, signs=_SPACES, left=left, right=right)
    return partial(text.compose, form=name)


def _of_many_characters(step: dict[str, Any]) -> Callable | None:
    """Return the function for a normalizer that reads more than one character at a time; None for other normalizers."""
    pattern = step.get("pattern", {}).get("Regex")
    if step["type"] in ("NFC", "NFKC"):
        return _step(step["type"])
    if step["type"] == "Strip":
        return _step("strip", step["strip_left"], step["strip_right"])
    if pattern == " {2,}" and step["content"] in (" ", "▁"):
        return _step("squeeze")
    if pattern == "^ +| +$" and step["content"] == "":
        return partial(text.strip, signs=[ord(" ")])
    return None


@lru_cache(maxsize=8)
def _one_by_one(steps: str) -> Callable:
    """Return the function for normalizers that map each character separately."""
    parts = json.loads(steps)
    for part in parts:
        pattern = part.get("pattern", {})
        one = len(pattern.get("String", "")) == 1 or re.fullmatch(r"\[[^\[\]]*\]", pattern.get("Regex", ""))
        if part["type"] not in ("BertNormalizer", "Lowercase", "NFD", "NFKD", "StripAccents", "Precompiled") and not (
            part["type"] == "Replace" and one
        ):
            raise _impossible(f"the normalizer {part['type']} {pattern}")
    normalizer = _part("normalizer", {"type": "Sequence", "normalizers": parts})
    between = "\ua66e"  # a letter that is not changed, and that no other character is changed to
    signs = [chr(code) if chr(code) != between else "" for code in text.PROBED.tolist()]
    outputs = normalizer.normalize_str(between.join(signs)).split(between)
    outputs[signs.index("")] = between
    table = CharacterMap(outputs)
    return lambda characters, count: table(characters)


def _part(name: str, part: dict[str, Any]) -> Any:
    """Return the normalizer or pre-tokenizer in a part of a definition."""
    import tokenizers

    empty = json.loads(tokenizers.Tokenizer(tokenizers.models.BPE()).to_str())
    return getattr(tokenizers.Tokenizer.from_str(json.dumps({**empty, name: part})), name)


def _splitter(definition: dict[str, Any] | None) -> Callable[[Characters], Words]:
    """Return the function that splits characters into words."""
    steps = _flat(definition, "pretokenizers")
    if [step["type"] for step in steps] == ["ByteLevel"] and steps[0]["use_regex"]:
        return partial(_split_as_gpt2, steps[0]["add_prefix_space"])
    if [step["type"] for step in steps] == ["Metaspace"]:
        return partial(_split_by_marks, steps[0]["prepend_scheme"] != "never", steps[0]["split"])
    known = {WORDS, BLANKS, SIGNS, WHITE, *ALONE}
    if [step["type"] for step in steps] == ["BertPreTokenizer"] or (
        steps and all(step["type"] == "Split" and step["pattern"].get("Regex") in known for step in steps)
    ):
        table = CharacterTable(_kinds(json.dumps(definition)))
        return partial(_split_by_kinds, table)
    raise _impossible(f"the pre-tokenizer {[step['type'] for step in steps]}")


@lru_cache(maxsize=8)
def _kinds(definition: str) -> np.ndarray:
    splitter = _part("pre_tokenizer", json.loads(definition))
    return words.character_kinds(lambda text: [span for _, span in splitter.pre_tokenize_str(text)])


def _split_by_kinds(table: CharacterTable, characters: Characters) -> Words:
    kinds = table(characters.codes)
    return words.split(characters, kinds != SPACE, words.word_starts(kinds, characters.text))


def _split_as_gpt2(prefix: bool, characters: Characters) -> Words:
    if prefix:
        characters = text.prepend(characters, ord(" "))
    kinds = CharacterTable(_gpt2_kinds())(characters.codes)
    starts = words.gpt2_starts(characters.codes, kinds, characters.text)
    return words.split(characters, tf.ones_like(starts), starts)


def _split_by_marks(prefix: bool, split: bool, characters: Characters) -> Words:
    mark = ord("▁")
    characters = characters._replace(codes=tf.where(characters.codes == ord(" "), mark, characters.codes))
    if prefix:
        characters = text.prepend(characters, mark)
    starts = text.firsts(characters.text)
    if split:
        starts |= characters.codes == mark
    return words.split(characters, tf.ones_like(starts), starts)


@lru_cache(maxsize=1)
def _gpt2_kinds() -> np.ndarray:
    from tokenizers import Regex, normalizers

    signs = "".join(map(chr, text.PROBED.tolist()))
    kinds = np.full(len(signs), words.GPT2_OTHER, np.uint8)
    patterns = {words.GPT2_SPACE: r"\s", words.GPT2_LETTER: r"\p{L}", words.GPT2_NUMBER: r"\p{N}"}
    for kind, pattern in patterns.items():
        marked = normalizers.Replace(Regex(pattern), "\0").normalize_str(signs)
        kinds[[mark == "\0" != sign for mark, sign in zip(marked, signs, strict=True)]] = kind
    return kinds
