"""Conversion of Hugging Face folders and KerasHub tokenizers to Hugging Face definitions."""

import json
from pathlib import Path
from typing import Any

from mtl.utils import read_json
from mtl.utils.foreign import foreign

__all__ = ["ALONE", "WHITE", "read_folder", "read_keras_hub"]

Roles = dict[str, str | None]
_ROLE_KEYS = {"pad": "pad_token", "unknown": "unk_token", "cls": "cls_token", "sep": "sep_token", "mask": "mask_token"}
_BERT_TOKENS = {"pad": "[PAD]", "unknown": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}


def read_folder(folder: Path) -> tuple[str, Roles]:
    """Return the definition in a Hugging Face folder, and the token of each role."""
    with foreign(f"The tokenizer in '{folder}' cannot be read"):
        return _read_folder(folder)


def _read_folder(folder: Path) -> tuple[str, Roles]:
    settings = {**_read_json(folder / "special_tokens_map.json"), **_read_json(folder / "tokenizer_config.json")}
    if (folder / "tokenizer.json").is_file():
        read_json(folder / "tokenizer.json")  # Raise a clear error if the file is damaged.
        definition = (folder / "tokenizer.json").read_text("utf-8")
    elif (folder / "vocab.txt").is_file():
        definition = _bert(folder / "vocab.txt", settings)
    else:
        raise FileNotFoundError(
            f"Expected `tokenizer.json` or `vocab.txt` in '{folder}'; found neither. Save the tokenizer there with "
            "`save_pretrained` of a fast Hugging Face tokenizer."
        )
    named = {role: _content(settings.get(key)) for role, key in _ROLE_KEYS.items()}
    if not any(named.values()):
        tokens = {token["content"] for token in json.loads(definition)["added_tokens"]}
        named = {role: token if token in tokens else None for role, token in _BERT_TOKENS.items()}
    return definition, named


def _read_json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _content(token: Any) -> str | None:
    return token["content"] if isinstance(token, dict) else token


def _bert(path: Path, settings: dict[str, Any]) -> str:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    vocabulary = {line: i for i, line in enumerate(path.read_text("utf-8").rstrip("\n").split("\n"))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=_content(settings.get("unk_token")) or "[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=settings.get("do_lower_case", True),
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
        strip_accents=settings.get("strip_accents"),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = [_content(settings.get(key)) or _BERT_TOKENS[role] for role, key in _ROLE_KEYS.items()]
    tokenizer.add_special_tokens([token for token in specials if token in vocabulary])
    _surround(tokenizer, _content(settings.get("cls_token")) or "[CLS]", _content(settings.get("sep_token")) or "[SEP]")
    return tokenizer.to_str()


def _surround(tokenizer: Any, start: str | None, end: str, doubled: bool = False) -> None:
    """Add `start a end` around texts and `start a end b end` around pairs; if `doubled`, `start a end end b end`."""
    from tokenizers import processors

    names = [name for name in (start, end) if name is not None]
    before = f"{start} " if start is not None else ""
    between = f"{end} {end}" if doubled else end
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{before}$A {end}",
        pair=f"{before}$A {between} $B:1 {end}:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in dict.fromkeys(names)],
    )


def read_keras_hub(source: Any) -> tuple[str, Roles]:
    """Return the definition of a KerasHub tokenizer, and the token of each role."""
    import keras_hub

    kinds = keras_hub.tokenizers
    tokenizer: Any
    if isinstance(source, kinds.WordPieceTokenizer) and source.split:
        tokenizer, unknown = _word_piece(source), source.oov_token
    elif type(source).__name__ in _GPT2_WORDS and isinstance(source, kinds.BytePairTokenizer):
        tokenizer, unknown = _byte_pair(source), None
    elif isinstance(source, kinds.SentencePieceTokenizer) and not (source.add_bos or source.add_eos):
        tokenizer, unknown = _sentence_piece(source)
    else:
        raise ValueError(
            f"Expected a KerasHub tokenizer of WordPiece (`split=True`), of SentencePiece (without `add_bos` and `add_eos`) or "
            f"of byte pairs split as GPT-2 does ({', '.join(_GPT2_WORDS)}); got {type(source).__name__}. Use a Hugging Face "
            "folder with `Tokenizer.from_folder`."
        )
    names = {role: getattr(source, f"{attribute}_token", None) for role, attribute in _KERAS_HUB_ROLES.items()}
    if names["pad"] is None and getattr(source, "pad_token_id", None) is not None:
        names["pad"] = source.id_to_token(source.pad_token_id)
    if type(source).__name__ == "XLMRobertaTokenizer":
        names["mask"] = "<mask>"
    specials = {*source.special_tokens, *filter(None, names.values()), *filter(None, [unknown])}
    tokenizer.add_special_tokens(sorted(specials, key=tokenizer.token_to_id))
    if names["sep"] is not None:
        start = None if type(source).__name__ == "T5Tokenizer" else names["cls"]
        _surround(tokenizer, start, names["sep"], doubled=type(source).__name__ in _DOUBLED)
    return tokenizer.to_str(), {"unknown": unknown, **names}


_KERAS_HUB_ROLES = {"pad": "pad", "cls": "start", "sep": "end", "mask": "mask"}
_GPT2_WORDS = ("BytePairTokenizer", "RobertaTokenizer", "BartTokenizer", "GPT2Tokenizer", "OPTTokenizer")
_DOUBLED = ("RobertaTokenizer", "BartTokenizer", "XLMRobertaTokenizer")
WHITE = r"[ \t\n\f\r\p{Cc}\p{Cf}]+"
_PUNCTUATION = r"!-/:-@\[-`{-~\p{P}"
_CJK = (
    r"\x{4e00}-\x{9fff}\x{3400}-\x{4dbf}\x{20000}-\x{2a6df}\x{2a700}-\x{2b73f}\x{2b740}-\x{2b81f}\x{2b820}-\x{2ceaf}"
    r"\x{f900}-\x{faff}\x{2f800}-\x{2fa1f}"
)
#: Characters that are separate words, without and with Chinese characters.
ALONE = (f"[{_PUNCTUATION}]", f"[{_PUNCTUATION}{_CJK}]")
#: Characters that case folding drops although they are not control characters, such as emoji's variation selectors.
_IGNORED = (
    r"[\x{34f}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180d}\x{180f}\x{3164}\x{fe00}-\x{fe0f}\x{ffa0}\x{e0100}-\x{e01ef}]"
)


def _word_piece(source: Any) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    vocabulary = {token: i for i, token in enumerate(source.get_vocabulary())}
    prefix = source.suffix_indicator
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=source.oov_token, continuing_subword_prefix=prefix))
    steps: list[Any] = []
    if source.strip_accents:
        steps += [normalizers.NFD(), normalizers.Replace(Regex(r"[\p{Mn}]"), "")]
    if source.lowercase:
        folded = [normalizers.Replace("ß", "ss"), normalizers.Replace("ς", "σ"), normalizers.Replace(Regex(_IGNORED), "")]
        steps += [normalizers.NFKC(), normalizers.Lowercase(), *folded]
    if steps:
        tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WHITE), "removed"),
            pre_tokenizers.Split(Regex(ALONE[bool(source.split_on_cjk)]), "isolated"),
        ]
    )
    tokenizer.decoder = decoders.WordPiece(prefix=prefix)
    return tokenizer


def _byte_pair(source: Any) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    merges = [tuple(merge.split(" ")) for merge in source.merges if "#version:" not in merge]
    tokenizer = Tokenizer(models.BPE(vocab=dict(source.vocabulary), merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=source.add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentence_piece(source: Any) -> tuple[Any, str]:
    from sentencepiece import sentencepiece_model_pb2
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    proto = sentencepiece_model_pb2.ModelProto.FromString(source.proto)
    spec, rules = proto.trainer_spec, proto.normalizer_spec
    scores = {piece.piece: piece.score for piece in proto.pieces}
    normal = {piece.piece: piece.score for piece in proto.pieces if piece.type == piece.NORMAL}
    unknown = next(piece.piece for piece in proto.pieces if piece.type == piece.UNKNOWN)
    vocabulary = source.get_vocabulary()
    fallback = spec.byte_fallback
    if spec.model_type == spec.UNIGRAM:
        pieces = [(token, scores.get(token, 0.0)) for token in vocabulary]
        tokenizer = Tokenizer(models.Unigram(pieces, vocabulary.index(unknown), fallback))
    elif spec.model_type == spec.BPE:
        ids = {token: i for i, token in enumerate(vocabulary)}
        merges = _merges(normal)
        tokenizer = Tokenizer(models.BPE(ids, merges, unk_token=unknown, fuse_unk=True, byte_fallback=fallback))
    else:
        kind = spec.ModelType.Name(spec.model_type)
        raise ValueError(f"Expected a SentencePiece model of kind UNIGRAM or BPE; got {kind}. Learn one of these kinds.")
    # `Precompiled` drops marks after a letter that SentencePiece composes with it: compose them with NFKC first.
    steps: list[Any] = [normalizers.NFKC()] if "nfkc" in rules.name else []
    steps += [normalizers.Precompiled(rules.precompiled_charsmap)] if rules.precompiled_charsmap else []
    if rules.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex("^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if steps:
        tokenizer.normalizer = normalizers.Sequence(steps)
    scheme = "always" if rules.add_dummy_prefix else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    return tokenizer, unknown


def _merges(scores: dict[str, float]) -> list[tuple[str, str]]:
    """Return pairs of pieces that form a piece, the piece with the best score first."""
    found = []
    for piece, score in scores.items():
        found += [(-score, i, piece) for i in range(1, len(piece)) if piece[:i] in scores and piece[i:] in scores]
    return [(piece[:i], piece[i:]) for _, i, piece in sorted(found)]
