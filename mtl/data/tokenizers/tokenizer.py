"""Tokenization in Python: text -> token ids and offsets."""

from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from mtl.data.encoding import Encoding
from mtl.data.example import combining_marks
from mtl.data.source import fingerprint_of
from mtl.data.tokenizers.conversion import read_folder, read_keras_hub
from mtl.data.tokenizers.learning import learn_definition
from mtl.data.tokenizers.template import FIRST, SECOND, Template
from mtl.utils import unknown_name
from mtl.utils.arguments import checked
from mtl.utils.foreign import foreign
from mtl.utils.types import Count

if TYPE_CHECKING:
    from mtl.data.tokenizers.in_graph.graph_tokenizer import GraphTokenizer

__all__ = ["Tokenizer"]

# Spelling of white space before a word in a vocabulary.
_SPACE_SIGNS = {"ByteLevel": "Ġ", "Metaspace": "▁"}
_SPACES = np.array([code for code in range(0x3001) if chr(code).isspace()], np.uint32)


@keras.saving.register_keras_serializable("mtl")
class Tokenizer:
    """Conversion of texts and pairs of texts to token ids with offsets; immutable and thread-safe.

    Special tokens that a text contains as characters ("[SEP]") are ordinary text, so that a text cannot forge them.

    Args:
        definition: JSON text of a Hugging Face `tokenizers.Tokenizer`. Its padding and truncation are ignored.
        pad, unknown, cls, sep, mask: token of each role; None for a role without a token.

    Raises:
        ValueError: if the definition is not a tokenizer's, or a special token is not in its vocabulary.

    Example:

    >>> tokenizer = Tokenizer.learn("word", ["the cat sat", "the dog sat"])
    >>> encoding = tokenizer.encode(["the bird sat"])[0]
    >>> [tokenizer.token(i) for i in encoding.token_ids]
    ['the', '[UNK]', 'sat']
    >>> encoding.offsets.tolist()
    [[0, 3], [4, 8], [9, 12]]
    """

    @checked
    def __init__(
        self,
        definition: str,
        *,
        pad: str | None = "[PAD]",
        unknown: str | None = "[UNK]",
        cls: str | None = None,
        sep: str | None = None,
        mask: str | None = None,
    ):
        import tokenizers

        with foreign("Expected the JSON definition of a Hugging Face tokenizer; it cannot be read"):
            self._hf = tokenizers.Tokenizer.from_str(definition)
            _check_ids(self._hf.get_vocab(with_added_tokens=True))
        self._hf.no_padding()
        self._hf.no_truncation()
        self._hf.encode_special_tokens = True
        self.roles = {"pad": pad, "unknown": unknown, "cls": cls, "sep": sep, "mask": mask}
        self._role_ids = {role: None if token is None else self.id(token) for role, token in self.roles.items()}
        with foreign("Expected a tokenizer that works"):
            self._templates = self._find_template(pair=False), self._find_template(pair=True)

    @classmethod
    @checked
    def learn(
        cls_,
        kind: str,
        texts: Iterable[str],
        *,
        size: Count | None = None,
        min_count: Count = 1,
        lowercase: bool = False,
        normalize: str | None = None,
        strip_accents: bool | None = None,
        cls: bool = False,
    ) -> "Tokenizer":
        """Learn a vocabulary; the same texts always give the same vocabulary.

        The special tokens are `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]`, `[MASK]`, with ids 0 to 4.

        Args:
            kind: `"word"` (the words of `split_words`), `"character"` (every character except white space), `"wordpiece"`
                    (BERT's words, with pieces marked `##`) or `"bpe"` (byte-level, so that no text is unknown).
            texts: texts, read once.
            size: maximum size of the vocabulary, including special tokens. None: no limit for words and characters, 30,000
                for pieces.
            min_count: minimum count of words and characters, and of merges of two pieces; rarer ones are left out.
            lowercase: whether to lowercase texts.
            normalize: Unicode form to convert texts to first, `"NFC"` or `"NFKC"`, or None.
            strip_accents: whether to drop accents, for `"wordpiece"` only; None: if `lowercase`, as BERT does.
            cls: whether texts are `[CLS] a [SEP]` and pairs `[CLS] a [SEP] b [SEP]`, instead of `a` and `a [SEP] b`.

        Raises:
            ValueError: if the kind or form is unknown, there are no texts, or `strip_accents` is given for another kind.
        """
        options: dict[str, Any] = {"lowercase": lowercase, "normalize": normalize, "strip_accents": strip_accents}
        definition = learn_definition(kind, texts, size=size, min_count=min_count, cls=cls, **options)
        return cls_(definition, cls="[CLS]", sep="[SEP]", mask="[MASK]")

    @classmethod
    @checked
    def from_folder(cls, path: str | Path) -> "Tokenizer":
        """Return the tokenizer of a Hugging Face folder, from its `tokenizer.json` or else its `vocab.txt` (BERT's WordPiece).

        Raises:
            FileNotFoundError: if the folder has neither file.
        """
        definition, roles = read_folder(Path(path))
        return cls(definition, **roles)

    @classmethod
    def from_keras_hub(cls, tokenizer: Any) -> "Tokenizer":
        """Convert a KerasHub tokenizer.

        WordPiece, byte-pair and SentencePiece (unigram and BPE) tokenizers can be converted. Ids are equal to those of KerasHub's
        graph code, even where its Python code differs, with one exception: KerasHub loses a word if it normalises after splitting
        ("…" and no-break spaces in lowercasing tokenizers); here these characters are separated first.

        Raises:
            ValueError: if the kind of tokenizer cannot be converted.
        """
        definition, roles = read_keras_hub(tokenizer)
        return cls(definition, **roles)

    def encode(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, max_length: Count | None = None, *, offsets: bool = True
    ) -> list[Encoding]:
        """Tokenize texts or pairs of texts.

        Args:
            texts: the texts.
            pairs: second text of each pair, or None.
            max_length: maximum number of tokens, including special ones: the longer of two texts is cut first. None: no limit.
            offsets: whether to compute each token's offsets in its text; without, all are `(-1, -1)`, which is faster.

        Raises:
            ValueError: if `pairs` is not as long as `texts`, or `max_length` leaves no room for the special tokens.
        """
        texts = list(texts)
        sides = [texts] if pairs is None else [texts, list(pairs)]
        if len(sides[-1]) != len(texts):
            raise ValueError(f"Expected as many second texts as texts, {len(texts)}; got {len(sides[-1])}.")
        ids, places, counts = zip(*(self._pieces(side, offsets) for side in sides), strict=True)
        lengths = np.stack(counts)
        template = self.template(pair=pairs is not None)
        kept = template.kept(lengths, max_length)
        token_ids, segments, spans, ends = template.assemble(ids, places, lengths, kept)
        seconds: list[Any] = [None] * len(texts) if pairs is None else sides[1]
        cut: list[bool] = np.any(kept < lengths, axis=0).tolist()
        bounds = [0, *ends.tolist()]
        return [
            Encoding(token_ids[a:b], segments[a:b], spans[a:b], texts[i], seconds[i], cut[i])
            for i, (a, b) in enumerate(pairwise(bounds))
        ]

    def _pieces(self, texts: list[str], with_offsets: bool) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Return the concatenated ids `[N]` and offsets `[N, 2]` of all texts' tokens, and the number of tokens per text."""
        encode = self._hf.encode_batch if with_offsets else self._hf.encode_batch_fast
        try:
            with foreign("The tokenizer cannot read a text"):
                encodings = encode(texts, add_special_tokens=False)
        except ValueError as error:
            bad = [t for t in texts if not isinstance(t, str) or any("\ud800" <= c < "\ue000" for c in t)]
            if not bad:
                raise
            raise ValueError(f"Expected texts of valid Unicode characters; got {bad[0]!r:.80}.") from error
        lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
        ids = self.ids_of_text[np.array([i for e in encodings for i in e.ids], np.int32)]
        if not with_offsets:
            return ids, None, lengths
        offsets = np.array([o for e in encodings for span in e.offsets for o in span], np.int32).reshape(-1, 2)
        if self.spaced is not None:
            offsets[:, 0] = np.where(self.spaced[ids], _after_spaces(offsets, texts, lengths), offsets[:, 0])
        if self.normalizes:
            offsets[:, 1] = _with_marks(offsets, texts, lengths)
        return ids, offsets, lengths

    @cached_property
    def normalizes(self) -> bool:
        """Whether characters are changed or dropped before a text is cut into tokens."""
        return self._hf.normalizer is not None

    @cached_property
    def spaced(self) -> np.ndarray | None:
        """Ids whose tokens begin with the sign for a space: bool `[vocabulary]`; None if no token can."""
        found = [sign for name, sign in _SPACE_SIGNS.items() if f'"type":"{name}"' in self.definition]
        return np.array([token.startswith(found[0]) for token in self._vocabulary]) if found else None

    @cached_property
    def ids_of_text(self) -> np.ndarray:
        """Replacement of each id in a text: the unknown token for a special token, else the id itself; int32 `[vocabulary]`."""
        ids = np.arange(self.vocabulary_size, dtype=np.int32)
        if self.unknown_id is not None:
            ids[list(self.special_ids)] = self.unknown_id
        return ids

    def template(self, pair: bool = False) -> Template:
        """Return the special tokens around one text, or around two."""
        return self._templates[pair]

    def _find_template(self, pair: bool) -> Template:
        tries = ("a", *self._vocabulary)
        text = next((text for text in tries if len(self._hf.encode(text, add_special_tokens=False))), None)
        if text is None:
            raise ValueError("Expected a tokenizer that gives tokens for texts; this one gives none for its own vocabulary.")
        parts: list[int] = []
        encoding = self._hf.encode(text, text if pair else None)
        for token, sequence in zip(encoding.ids, encoding.sequence_ids, strict=True):
            part = token if sequence is None else (FIRST, SECOND)[sequence]
            if part >= 0 or part not in parts:
                parts.append(part)
        return Template(tuple(parts))

    @cached_property
    def definition(self) -> str:
        """Hugging Face definition, as JSON text."""
        return self._hf.to_str()

    @property
    def vocabulary_size(self) -> int:
        """Number of ids."""
        return len(self.vocabulary())

    @property
    def pad_id(self) -> int | None:
        """Id of the padding token."""
        return self._role_ids["pad"]

    @property
    def unknown_id(self) -> int | None:
        """Id of the token for pieces outside the vocabulary."""
        return self._role_ids["unknown"]

    @property
    def cls_id(self) -> int | None:
        """Id of the token that represents a whole text."""
        return self._role_ids["cls"]

    @property
    def sep_id(self) -> int | None:
        """Id of the token between two texts."""
        return self._role_ids["sep"]

    @property
    def mask_id(self) -> int | None:
        """Id of the token that masks another."""
        return self._role_ids["mask"]

    @cached_property
    def special_ids(self) -> tuple[int, ...]:
        """Ids of all special tokens, sorted."""
        added = {i for i, token in self._hf.get_added_tokens_decoder().items() if token.special}
        return tuple(sorted(added | {i for i in self._role_ids.values() if i is not None}))

    def vocabulary(self) -> list[str]:
        """Return the tokens by id; `""` for an id without a token."""
        return list(self._vocabulary)

    @cached_property
    def _vocabulary(self) -> tuple[str, ...]:
        tokens = self._hf.get_vocab(with_added_tokens=True)
        result = [""] * (max(tokens.values()) + 1)
        for token, i in tokens.items():
            result[i] = token
        return tuple(result)

    def token(self, id: int) -> str:
        """Return the token of an id.

        Raises:
            ValueError: if there is no such id.
        """
        if not 0 <= id < len(self._vocabulary):
            raise ValueError(f"Expected a token id from 0 to {len(self._vocabulary) - 1}; got {id}.")
        return self._vocabulary[id]

    def id(self, token: str) -> int:
        """Return the id of a token.

        Raises:
            ValueError: if the token is not in the vocabulary.
        """
        found = self._hf.token_to_id(token)
        if found is None:
            if len(self._vocabulary) < 100:
                raise unknown_name("token", token, self._vocabulary)
            raise ValueError(f"The token '{token}' is not in the vocabulary of {len(self._vocabulary)} tokens; name one that is.")
        return found

    def graph(self) -> "GraphTokenizer":
        """Return the same tokenization as TensorFlow graph operations, for models that take strings.

        Raises:
            ValueError: if a part of the definition has no equivalent in TensorFlow's operations.
        """
        from mtl.data.tokenizers.in_graph.graph_tokenizer import GraphTokenizer

        return GraphTokenizer(self)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"definition": self.definition, **self.roles}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Tokenizer":
        """Return the tokenizer with these constructor's arguments."""
        return cls(**config)

    @cached_property
    def fingerprint(self) -> str:
        """Digest that is equal for equal tokenizers."""
        return fingerprint_of(self.get_config())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> tuple:
        return _unpickle, (self.get_config(),)

    def __deepcopy__(self, memo: dict) -> "Tokenizer":
        return self

    def __repr__(self) -> str:
        return f"Tokenizer({type(self._hf.model).__name__}, {self.vocabulary_size} tokens)"


def _check_ids(vocabulary: dict[str, int]) -> None:
    """Check that there are tokens, and that their ids are dense enough for an embedding table."""
    if not vocabulary:
        raise ValueError("it has no tokens")
    if (last := max(vocabulary.values())) > 100_000 + 10 * len(vocabulary):
        raise ValueError(f"its {len(vocabulary):,} tokens have ids up to {last:,}")


def _after_spaces(offsets: np.ndarray, texts: list[str], lengths: np.ndarray) -> np.ndarray:
    """Return each token's first character that is not white space; its start, if all characters are white space."""
    codes, base, _ = _characters(texts, lengths)
    starts = _next(~np.isin(codes, _SPACES), base + offsets[:, 0]) - base
    return np.where(starts < offsets[:, 1], starts, offsets[:, 0])


def _with_marks(offsets: np.ndarray, texts: list[str], lengths: np.ndarray) -> np.ndarray:
    """Return each token's end after the combining marks that follow it and belong to no token, since they modify its end."""
    codes, base, sizes = _characters(texts, lengths)
    starts, ends = offsets.T
    after = np.minimum(_next(~_marks()[codes], base + ends) - base, sizes)
    if len(after):
        same = base[1:] == base[:-1]
        after[:-1][same] = np.minimum(after[:-1], starts[1:])[same]
    return np.where(ends > starts, np.maximum(ends, after), ends)


def _characters(texts: list[str], lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the concatenated code points of all texts, and for each token the start and the length of its text in them."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    return codes, np.repeat(np.cumsum(sizes) - sizes, lengths), np.repeat(sizes, lengths)


def _next(flags: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the first flagged position at or after each position, or the end."""
    places = np.append(np.flatnonzero(flags), len(flags))
    return places[np.searchsorted(places, positions)]


@lru_cache(maxsize=1)
def _marks() -> np.ndarray:
    """Return which code points are combining marks: bool `[0x110000]`."""
    flags = np.zeros(0x110000, bool)
    flags[[ord(mark) for mark in combining_marks()]] = True
    return flags


def _unpickle(config: dict[str, Any]) -> Tokenizer:
    return Tokenizer.from_config(config)
