"""Learning vocabularies from texts."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat
from typing import Any

from mtl.utils import unknown_name

__all__ = ["BLANKS", "SIGNS", "WORDS", "learn_definition"]

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

#: `split_words` as a regular expression of the `tokenizers` library.
_CJK = r"\x{2e80}-\x{2fff}\x{3001}-\x{9fff}\x{f900}-\x{faff}\x{ff00}-\x{ffef}\x{20000}-\x{3134f}"
_LETTER = rf"[[\p{{L}}\p{{M}}\p{{N}}_]&&[^{_CJK}]]"
_SPACE = r"\s\x{1c}-\x{1f}\x{85}"
WORDS = rf"[{_CJK}]|{_LETTER}+(?:[-'’/.:]{_LETTER}+)*|[^{_SPACE}]"
BLANKS = f"[{_SPACE}]+"
SIGNS = r"[\s\S]"
_FORMS = ("NFC", "NFD", "NFKC", "NFKD")


def learn_definition(
    kind: str,
    texts: Iterable[str],
    *,
    size: int | None,
    min_count: int,
    lowercase: bool,
    normalize: str | None,
    strip_accents: bool | None,
    cls: bool,
) -> str:
    """Return the definition of a tokenizer learned from texts; see `Tokenizer.learn` for the arguments."""
    from tokenizers import processors

    if kind not in _LEARN:
        raise unknown_name("kind of tokenizer", kind, _LEARN)
    if normalize is not None and normalize not in _FORMS:
        raise unknown_name("Unicode form", normalize, _FORMS)
    if size is not None and size < len(SPECIAL_TOKENS):
        raise ValueError(f"Expected a vocabulary `size` of at least {len(SPECIAL_TOKENS)}, for the special tokens; got {size}.")
    options: dict[str, Any] = {"lowercase": lowercase, "normalize": normalize}
    if kind == "wordpiece":
        options["strip_accents"] = strip_accents
    elif strip_accents is not None:
        raise ValueError(
            f"strip_accents is for tokenizers of the kind 'wordpiece'; got strip_accents={strip_accents} and the kind '{kind}'. "
            "Leave it out, or use normalize='NFC'."
        )
    tokenizer = _LEARN[kind](_checked(texts), size=size, min_count=min_count, **options)
    ids = [(token, tokenizer.token_to_id(token)) for token in SPECIAL_TOKENS]
    single, pair = ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1") if cls else ("$A", "$A [SEP] $B:1")
    tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)
    return tokenizer.to_str()


def _checked(texts: Iterable[str]) -> Iterator[str]:
    count = 0
    for count, text in enumerate(texts, 1):
        if not isinstance(text, str):
            raise ValueError(f"Expected texts to learn from; text {count} is {text!r:.80}.")
        yield text
    if count == 0:
        raise ValueError("Expected texts to learn a vocabulary from; got none.")


def _normalizer(normalize: str | None, *others: Any) -> Any:
    from tokenizers import normalizers

    steps = [getattr(normalizers, normalize)()] if normalize else []
    steps += others
    return normalizers.Sequence(steps) if len(steps) > 1 else steps[0] if steps else None


def _learn_level(
    pieces: list[Any], texts: Iterator[str], *, size: int | None, min_count: int, lowercase: bool, normalize: str | None
) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel({}, unk_token="[UNK]"))
    normalizer = _normalizer(normalize, *[normalizers.Lowercase()] * lowercase)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(pieces)
    trainer = trainers.WordLevelTrainer(
        vocab_size=size or 2**40, min_frequency=min_count, special_tokens=list(SPECIAL_TOKENS), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _learn_word(texts: Iterator[str], **options: Any) -> Any:
    from tokenizers import Regex, pre_tokenizers

    pieces = [pre_tokenizers.Split(Regex(WORDS), "removed", invert=True)]
    return _learn_level(pieces, texts, **options)


def _learn_character(texts: Iterator[str], **options: Any) -> Any:
    from tokenizers import Regex, pre_tokenizers

    pieces = [pre_tokenizers.Split(Regex(BLANKS), "removed"), pre_tokenizers.Split(Regex(SIGNS), "isolated")]
    return _learn_level(pieces, texts, **options)


def _learn_wordpiece(
    texts: Iterator[str],
    *,
    size: int | None,
    min_count: int,
    lowercase: bool,
    normalize: str | None,
    strip_accents: bool | None,
) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece({}, unk_token="[UNK]"))
    tokenizer.normalizer = _normalizer(normalize, normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip_accents))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    # The library numbers the pieces "##x" in a random order and breaks ties by number, so they are passed in a fixed order.
    counts: Counter[str] = Counter()
    for text in texts:
        words = tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
        counts.update(word for word, _ in words)
    inner = sorted({f"##{sign}" for word in counts for sign in word[1:]})
    trainer = trainers.WordPieceTrainer(
        vocab_size=size or 30_000, min_frequency=min_count, special_tokens=[*SPECIAL_TOKENS, *inner], show_progress=False
    )
    repeated = chain.from_iterable(repeat(word, count) for word, count in sorted(counts.items()))
    tokenizer.train_from_iterator(repeated, trainer)
    return _without_added(tokenizer, inner)


def _without_added(tokenizer: Any, tokens: list[str]) -> Any:
    """Return the tokenizer with these tokens no longer special."""
    from tokenizers import Tokenizer

    definition = json.loads(tokenizer.to_str())
    dropped = set(tokens)
    definition["added_tokens"] = [token for token in definition["added_tokens"] if token["content"] not in dropped]
    return Tokenizer.from_str(json.dumps(definition))


def _learn_bpe(texts: Iterator[str], *, size: int | None, min_count: int, lowercase: bool, normalize: str | None) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    normalizer = _normalizer(normalize, *[normalizers.Lowercase()] * lowercase)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size or 30_000,
        min_frequency=min_count,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


_LEARN: dict[str, Callable[..., Any]] = {
    "word": _learn_word,
    "character": _learn_character,
    "wordpiece": _learn_wordpiece,
    "bpe": _learn_bpe,
}
