import random
import subprocess
import sys
from collections import Counter

import pytest

from mtl.data.tokenizers.learning import learn_definition
from mtl.data.tokenizers.tokenizer import Tokenizer
from tests.data.texts import NASTY

KINDS = ["word", "character", "wordpiece", "bpe"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def corpus() -> list[str]:
    """Many words, many of them equally frequent."""
    letters = random.Random(0)
    words = ["".join(letters.choices("abcdefghij", k=letters.randint(2, 7))) for _ in range(400)]
    return [" ".join(letters.choices(words, k=8)) for _ in range(200)] + NASTY


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_give_the_same_vocabulary(kind: str) -> None:
    texts = corpus()
    first = Tokenizer.learn(kind, texts, size=500)
    for again in (texts, iter(texts[::-1])):
        assert Tokenizer.learn(kind, again, size=500).definition == first.definition


def test_another_process_gives_the_same_vocabulary() -> None:
    code = (
        "from tests.data.tokenizers.test_learning import *\n"
        "print(*[Tokenizer.learn(kind, corpus(), size=500).fingerprint for kind in KINDS])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=sys.path[0] or ".")
    assert done.stdout.split()[-4:] == [Tokenizer.learn(kind, corpus(), size=500).fingerprint for kind in KINDS]


def test_words_by_count_then_by_string() -> None:
    texts = ["b a c", "b d a", "b 我们 e.g. x"]
    vocabulary = Tokenizer.learn("word", texts).vocabulary()
    assert vocabulary == [*SPECIAL, "b", "a", ".", "c", "d", "e.g", "x", "们", "我"]
    assert Tokenizer.learn("word", texts, size=7).vocabulary() == [*SPECIAL, "b", "a"]
    assert Tokenizer.learn("word", texts, min_count=2).vocabulary() == [*SPECIAL, "b", "a"]


def test_words_have_no_limit_unless_asked() -> None:
    assert Tokenizer.learn("word", [f"w{i}" for i in range(40_000)]).vocabulary_size == 40_005


def test_characters_by_count_then_by_string() -> None:
    counts = Counter("".join(NASTY))
    expected = sorted((c for c in counts if not c.isspace()), key=lambda c: (-counts[c], c))
    assert Tokenizer.learn("character", NASTY).vocabulary() == [*SPECIAL, *expected]


def test_wordpiece_merges_by_hand() -> None:
    # After the signs within words and the alphabet: "a ##b" occurs four times, then "ab ##c" three times.
    vocabulary = Tokenizer.learn("wordpiece", ["abc abc abc ab", "d"]).vocabulary()
    assert vocabulary == [*SPECIAL, "##b", "##c", "a", "b", "c", "d", "ab", "abc"]
    assert Tokenizer.learn("wordpiece", ["abc abc abc ab", "d"], min_count=4).vocabulary()[-1] == "ab"
    assert Tokenizer.learn("wordpiece", ["abc abc abc ab", "d"], size=12).vocabulary()[-1] == "ab"


def test_byte_pairs_merge_by_hand() -> None:
    vocabulary = Tokenizer.learn("bpe", ["abc abc abc ab"], size=264).vocabulary()
    assert vocabulary[:5] == SPECIAL and len(set(vocabulary)) == 264
    # "a b" occurs four times; then "Ġ ab" and "ab c" three times, of which the first has the smaller ids; then "Ġab c" twice.
    assert vocabulary[261:] == ["ab", "Ġab", "Ġabc"]


def test_case_and_form() -> None:
    for kind in ("word", "character", "bpe"):
        plain, folded = Tokenizer.learn(kind, ["Ａb"]), Tokenizer.learn(kind, ["ab"], lowercase=True, normalize="NFKC")
        assert plain.encode(["Ａb"])[0].token_ids.tolist() != plain.encode(["ab"])[0].token_ids.tolist()
        assert folded.encode(["ＡB"])[0].token_ids.tolist() == folded.encode(["ab"])[0].token_ids.tolist()
    cased, uncased = (Tokenizer.learn("wordpiece", ["Élan elan"], lowercase=lower) for lower in (False, True))
    assert "É" in cased.vocabulary() and "É" not in uncased.vocabulary()
    assert len(set(uncased.encode(["Élan elan"])[0].token_ids)) == 1


def test_errors() -> None:
    with pytest.raises(ValueError, match="Unknown kind of tokenizer 'words'; did you mean 'word'"):
        Tokenizer.learn("words", ["a"])
    with pytest.raises(ValueError, match="Unknown Unicode form 'NFCK'; did you mean 'NFC"):
        Tokenizer.learn("word", ["a"], normalize="NFCK")
    with pytest.raises(ValueError, match="`size` of at least 5, for the special tokens; got 3"):
        Tokenizer.learn("word", ["a"], size=3)
    for kind in KINDS:
        with pytest.raises(ValueError, match="Expected texts to learn a vocabulary from; got none"):
            Tokenizer.learn(kind, [])
        with pytest.raises(ValueError, match="text 2 is None"):
            Tokenizer.learn(kind, iter(["a", None]))  # type: ignore[arg-type]
    options = {"size": None, "min_count": 1, "lowercase": False, "normalize": None, "strip_accents": None, "cls": False}
    with pytest.raises(ValueError, match="Unknown kind"):
        learn_definition("x", ["a"], **options)  # type: ignore[arg-type]


def test_accents_of_word_pieces() -> None:
    texts = ["Überfüllt", "uber", "été", "ete"] * 3
    options: list[dict] = [{"lowercase": True}, {"lowercase": True, "strip_accents": False}, {"strip_accents": True}]
    for option, expected in zip(options, (["uberfullt", "ete"], ["überfüllt", "été"], ["Uberfullt", "ete"]), strict=True):
        tokenizer = Tokenizer.learn("wordpiece", texts, **option)
        found = [[tokenizer.token(i) for i in encoding.token_ids] for encoding in tokenizer.encode(["Überfüllt", "été"])]
        assert found == [[word] for word in expected]
    with pytest.raises(ValueError, match="strip_accents is for tokenizers of the kind 'wordpiece'; got .* the kind 'word'"):
        Tokenizer.learn("word", texts, strip_accents=False)
