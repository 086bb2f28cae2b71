import hashlib
from collections import Counter
from types import SimpleNamespace

import pytest

from mtl.data import Example, Source
from mtl.data.source import fingerprint_of, split_of


def source():
    return Source("letters", {"train": lambda: map(Example, "ab"), "test": lambda: map(Example, "c")}, ("x",))


def test_a_source_is_read_again_and_again():
    letters = source()
    assert letters.splits == ("train", "test") and letters.labels == ("x",) and letters.fingerprint is None
    first, second = letters.examples(), letters.examples("train")
    assert next(first).text == "a"
    assert [each.text for each in second] == ["a", "b"]
    assert [each.text for each in first] == ["b"]
    assert [each.text for each in letters.examples("test")] == ["c"]
    assert repr(letters) == "Source('letters', splits=['train', 'test'], labels=['x'])"


def test_an_unknown_split():
    with pytest.raises(ValueError, match="Unknown split of source 'letters' 'tran'; did you mean 'train'"):
        source().examples("tran")


FRACTIONS = {"train": 0.5, "validation": 0.3, "test": 0.2}


def test_splits_follow_the_hash():
    for i in range(50):
        digest = hashlib.blake2b(f"7\0text {i}".encode(), digest_size=8).hexdigest()
        tenth = int(digest, 16) / 2**64
        expected = "train" if tenth < 0.5 else "validation" if tenth < 0.8 else "test"
        assert split_of(f"text {i}", FRACTIONS, seed=7) == expected


def test_splits_have_their_shares_and_depend_on_the_seed():
    splits = [split_of(f"text {i}", FRACTIONS) for i in range(4000)]
    counts = Counter(splits)
    for split, share in FRACTIONS.items():
        assert counts[split] / 4000 == pytest.approx(share, abs=0.03)  # Four standard deviations.
    assert splits != [split_of(f"text {i}", FRACTIONS, seed=1) for i in range(4000)]


def test_rounding_leaves_no_text_out(monkeypatch):
    monkeypatch.setattr(hashlib, "blake2b", lambda *_, **__: SimpleNamespace(digest=lambda: b"\xff" * 8))
    assert split_of("a", {"train": 0.7, "validation": 0.2, "test": 0.1}) == "test"
    assert split_of("a", {"train": 0.7, "test": 0.2}) is None


def test_any_text_has_a_split():
    assert split_of("\ud800", {"train": 1.0}) == "train"


def test_fingerprints_tell_parts_apart():
    assert fingerprint_of(1, "a") == hashlib.blake2b(b"(1, 'a')", digest_size=16).hexdigest()
    assert len({fingerprint_of(1, "a"), fingerprint_of("1", "a"), fingerprint_of("1a"), fingerprint_of(("1", "a"))}) == 4
