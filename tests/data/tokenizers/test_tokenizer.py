import copy
import json
import pickle
import re
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

import mtl
from mtl.data.example import split_words
from mtl.data.tokenizers.tokenizer import Tokenizer
from tests.data.texts import MINILM, NASTY

KINDS = ["word", "character", "wordpiece", "bpe"]


@pytest.fixture(scope="module")
def minilm() -> Tokenizer:
    return Tokenizer.from_folder(MINILM)


def tokens(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.token(i) for i in tokenizer.encode([text])[0].token_ids]


def test_words_are_those_of_split_words() -> None:
    tokenizer = Tokenizer.learn("word", NASTY)
    for text, encoding in zip(NASTY, tokenizer.encode(NASTY), strict=True):
        assert [tuple(span) for span in encoding.offsets.tolist()] == list(split_words(text))
        assert [tokenizer.token(i) for i in encoding.token_ids] == [text[a:b] for a, b in encoding.offsets]


def test_words_of_every_character() -> None:
    # Characters that Python's tables do not know yet are left out: the library's tables may.
    signs = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    text = " ".join(f"{sign}a{sign} {sign}{sign}" for sign in signs)
    tokenizer = Tokenizer.learn("word", ["a"])
    chunks = [text[i : i + 20_000] for i in range(0, len(text), 20_000)]
    for chunk, encoding in zip(chunks, tokenizer.encode(chunks), strict=True):
        assert np.array_equal(encoding.offsets, np.array(split_words(chunk)))


def test_characters() -> None:
    tokenizer = Tokenizer.learn("character", NASTY)
    for text, encoding in zip(NASTY, tokenizer.encode(NASTY), strict=True):
        kept = [i for i, sign in enumerate(text) if not sign.isspace()]
        assert encoding.offsets.tolist() == [[i, i + 1] for i in kept]
        assert [tokenizer.token(i) for i in encoding.token_ids] == [text[i] for i in kept]


def bert_words(text: str) -> list[str]:
    """BERT's words of English text, as its authors describe them: lower case, no accents, punctuation alone."""
    plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    return re.findall(r"[a-z0-9]+|[^\sa-z0-9]", plain)


def greedy(word: str, vocabulary: dict[str, int]) -> list[int]:
    """The longest piece first."""
    ids, start = [], 0
    while start < len(word):
        pieces = [(word[start:end], end) for end in range(len(word), start, -1)]
        found = next(((p, e) for p, e in pieces if ("##" * (start > 0) + p) in vocabulary), None)
        if found is None:
            return [vocabulary["[UNK]"]]
        ids.append(vocabulary["##" * (start > 0) + found[0]])
        start = found[1]
    return ids


def test_wordpiece_by_hand(minilm: Tokenizer) -> None:
    vocabulary = {line: i for i, line in enumerate((MINILM / "vocab.txt").read_text("utf-8").splitlines())}
    for text in [
        "The quick brown fox jumps over the lazy dog.",
        "Unaffable antidisestablishmentarianism, isn't it?",
        "Élan vital: naïve façades cost $3.14 (or 2,000)!",
        "internationalization tokenizers qwertzuiop " + "x" * 101,
    ]:
        expected = [i for word in bert_words(text) for i in ([100] if len(word) > 100 else greedy(word, vocabulary))]
        assert minilm.encode([text])[0].token_ids.tolist() == [101, *expected, 102]


def test_offsets_of_wordpiece_recover_the_text(minilm: Tokenizer) -> None:
    text = "Ein Ｂeispiel: 北京 cafe\u0301, 😀 ΑΒΓ\tend"
    encoding = minilm.encode([text])[0]
    spans = [tuple(span) for span in encoding.offsets.tolist()]
    assert spans[0] == spans[-1] == (-1, -1)
    signs = [text[a:b] for a, b in spans[1:-1]]
    # The spans hold all that is not white space; an accent that BERT drops belongs to the letter that it stands on.
    assert "".join(signs) == re.sub(r"\s", "", text)
    assert "北" in signs and "京" in signs and "cafe\u0301" in signs and "😀" in signs


def bytes_of(token: str) -> bytes:
    """The bytes that a token of a byte-level vocabulary stands for."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    signs = {chr(b): b for b in printable}
    signs |= {chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in printable)}
    return bytes(signs[sign] for sign in token)


def test_byte_pairs_keep_every_byte_and_offsets_cover_them() -> None:
    for tokenizer in (Tokenizer.learn("bpe", ["a"], size=261), Tokenizer.learn("bpe", NASTY * 3, size=450)):
        for text, encoding in zip(NASTY, tokenizer.encode(NASTY), strict=True):
            pieces = [bytes_of(tokenizer.token(i)) for i in encoding.token_ids]
            assert b"".join(pieces) == text.encode()
            byte = 0
            for piece, (start, end) in zip(pieces, encoding.offsets.tolist(), strict=True):
                first, last = (len(text.encode()[:at].decode(errors="ignore")) for at in (byte, byte + len(piece) - 1))
                # White space that a piece begins with is no part of its span, unless there is nothing else.
                if blank := not text[first : last + 1].strip():
                    assert (start, end) == (first, last + 1)
                first = min(first + len(piece) - len(piece.lstrip(b" ")), last + 1)
                if not blank and not (piece.startswith(b" ") and text[first : last + 1][:1].isspace()):
                    assert (start, end) == (first, last + 1)
                byte += len(piece)


def test_pieces_of_one_character_have_its_span() -> None:
    encoding = Tokenizer.learn("bpe", ["a"], size=261).encode(["a😀é b"])[0]
    assert encoding.offsets.tolist() == [[0, 1], *[[1, 2]] * 4, *[[2, 3]] * 2, [3, 4], [4, 5]]


def test_pairs_and_segments(minilm: Tokenizer) -> None:
    encoding = minilm.encode(["the cat"], ["a dog ran"])[0]
    assert [minilm.token(i) for i in encoding.token_ids] == ["[CLS]", "the", "cat", "[SEP]", "a", "dog", "ran", "[SEP]"]
    assert encoding.segment_ids.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert encoding.offsets.tolist() == [[-1, -1], [0, 3], [4, 7], [-1, -1], [0, 1], [2, 5], [6, 9], [-1, -1]]
    assert (encoding.text, encoding.pair, encoding.truncated) == ("the cat", "a dog ran", False)


@pytest.mark.parametrize("kind", ["word", "character", "wordpiece", "bpe"])
def test_tokens_are_the_same_without_offsets(kind: str) -> None:
    texts = ["ab  abc [SEP] \u00e9x", "", "\u5317\u4eac ab \U0001f600"]
    tokenizer = Tokenizer.learn(kind, texts, cls=True)
    for with_them, without in zip(
        tokenizer.encode(texts, texts[::-1], 9), tokenizer.encode(texts, texts[::-1], 9, offsets=False), strict=True
    ):
        assert without.token_ids.tolist() == with_them.token_ids.tolist()
        assert without.segment_ids.tolist() == with_them.segment_ids.tolist()
        assert without.truncated == with_them.truncated
        assert without.offsets.shape == with_them.offsets.shape and (without.offsets == -1).all()


def test_pairs_are_cut_by_the_longer() -> None:
    tokenizer = Tokenizer.learn("word", ["a b c d e f g"], cls=True)
    short, long = tokenizer.encode(["a b c", "a"], ["d e f g", "b c d e f g"], max_length=8)
    assert [tokenizer.token(i) for i in short.token_ids] == ["[CLS]", "a", "b", "c", "[SEP]", "d", "e", "[SEP]"]
    assert [tokenizer.token(i) for i in long.token_ids] == ["[CLS]", "a", "[SEP]", "b", "c", "d", "e", "[SEP]"]
    assert short.truncated and long.truncated
    alone = tokenizer.encode(["a b c d", "a"], max_length=4)
    assert [len(e) for e in alone] == [4, 3]
    assert [e.truncated for e in alone] == [True, False]


def test_special_tokens_of_learned_tokenizers() -> None:
    for kind in KINDS:
        plain, bert = Tokenizer.learn(kind, ["ab ab"]), Tokenizer.learn(kind, ["ab ab"], cls=True)
        assert (bert.pad_id, bert.unknown_id, bert.cls_id, bert.sep_id, bert.mask_id) == (0, 1, 2, 3, 4)
        assert bert.special_ids == (0, 1, 2, 3, 4)
        assert plain.encode([""])[0].token_ids.tolist() == []
        assert plain.encode([""], [""])[0].token_ids.tolist() == [3]
        assert bert.encode([""])[0].token_ids.tolist() == [2, 3]
        assert bert.encode([""], [""])[0].token_ids.tolist() == [2, 3, 3]


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_cannot_forge_special_tokens(kind: str) -> None:
    tokenizer = Tokenizer.learn(kind, ["[SEP] [MASK] sep mask"] * 3)
    ids = tokenizer.encode(["a[SEP]b [MASK] [CLS]"])[0].token_ids.tolist()
    assert not {0, 2, 3, 4} & set(ids)


def test_no_texts() -> None:
    assert Tokenizer.learn("word", ["a"]).encode([]) == []


def test_threads_do_not_disturb_each_other(minilm: Tokenizer) -> None:
    texts = [f"text number {i} " * (i % 40) for i in range(200)]
    lengths = [None, 5, 17, 64] * 8
    expected = {n: [e.token_ids.tolist() for e in minilm.encode(texts, max_length=n)] for n in set(lengths)}
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: [e.token_ids.tolist() for e in minilm.encode(texts, max_length=n)], lengths))
    assert results == [expected[n] for n in lengths]
    assert max(map(len, expected[5])) == 5 and max(map(len, expected[None])) == 119


@pytest.mark.parametrize("kind", KINDS)
def test_round_trips(kind: str) -> None:
    tokenizer = Tokenizer.learn(kind, NASTY, cls=True, lowercase=True, normalize="NFKC")
    config = keras.saving.serialize_keras_object(tokenizer)
    for other in (
        keras.saving.deserialize_keras_object(json.loads(json.dumps(config))),
        Tokenizer.from_config(tokenizer.get_config()),
        pickle.loads(pickle.dumps(tokenizer)),
        copy.deepcopy(tokenizer),
    ):
        assert other == tokenizer and hash(other) == hash(tokenizer) and other.fingerprint == tokenizer.fingerprint
        assert other.vocabulary() == tokenizer.vocabulary()
        pairs = zip(other.encode(NASTY), tokenizer.encode(NASTY), strict=True)
        assert all(a.token_ids.tolist() == b.token_ids.tolist() for a, b in pairs)
    assert tokenizer != Tokenizer.learn(kind, NASTY, lowercase=True, normalize="NFKC")


def test_vocabulary() -> None:
    tokenizer = Tokenizer.learn("word", ["b a", "b"])
    assert tokenizer.vocabulary() == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "b", "a"]
    assert tokenizer.vocabulary_size == 7
    assert tokenizer.id("a") == 6 and tokenizer.token(5) == "b"
    assert repr(tokenizer) == "Tokenizer(WordLevel, 7 tokens)"


def test_padding_and_truncation_of_a_definition_are_left_out(minilm: Tokenizer) -> None:
    definition = json.loads((MINILM / "tokenizer.json").read_text("utf-8"))
    assert definition["padding"] and definition["truncation"]
    assert len(minilm.encode(["a"])[0]) == 3 and len(minilm.encode(["a " * 300])[0]) == 302


def test_errors(minilm: Tokenizer) -> None:
    with pytest.raises(ValueError, match="Expected the JSON definition of a Hugging Face tokenizer"):
        Tokenizer("{}")
    with pytest.raises(ValueError, match="did you mean '\\[PAD\\]'"):
        Tokenizer(Tokenizer.learn("word", ["a"]).definition, pad="[PADS]")
    with pytest.raises(ValueError, match="'\\[PADS\\]' is not in the vocabulary of 30522 tokens"):
        Tokenizer(minilm.definition, pad="[PADS]")
    with pytest.raises(ValueError, match="from 0 to 30521; got 30522"):
        minilm.token(30522)
    with pytest.raises(ValueError, match="as many second texts as texts, 2; got 1"):
        minilm.encode(["a", "b"], ["c"])
    with pytest.raises(ValueError, match="room for 3 special tokens; got 2"):
        minilm.encode(["a"], ["b"], max_length=2)
    with pytest.raises(ValueError, match="valid Unicode characters; got 'a.ud800'"):
        minilm.encode(["a\ud800"])
    with pytest.raises(ValueError, match="valid Unicode characters; got None"):
        minilm.encode(["a", None])  # type: ignore[list-item]


def test_it_is_exported() -> None:
    assert mtl.data.Tokenizer is Tokenizer
