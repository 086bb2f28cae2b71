import importlib
import sys
from types import SimpleNamespace

import pytest

from mtl.data.example import Example
from mtl.data.sources.rows import FRACTIONS, Malformed, RowSource, named_splits, shown, split_named


def source(rows, **options):
    return RowSource("rows", lambda: iter(rows), (), **options)


def test_malformed():
    problem = Malformed("expected 2 columns, got 3")
    assert str(problem) == "expected 2 columns, got 3; mend the record, or leave such records out with on_error='skip'."
    assert str(Malformed("expected a, got b", "write c").at("f, line 3")) == (
        "f, line 3: expected a, got b; write c, or leave such records out with on_error='skip'."
    )


def test_shown():
    assert shown("abc") == "'abc'"
    assert shown("x" * 100, limit=10) == "'xxxxxx..."


def test_split_names():
    assert [split_named(name) for name in ("training", "DEV", "val", "trial", "test", "extra")] == [
        "train", "validation", "validation", "validation", "test", "extra",
    ]  # fmt: skip
    assert named_splits({"train": 1, "valid": 2, "matched": 3}) == {"train": 1, "validation": 2, "matched": 3}


def test_equal_texts_land_on_the_same_side():
    rows = [Example(f"text {i}", None, None, {"copy": copy}) for copy in range(3) for i in range(100)]
    parts = source(rows, fractions=FRACTIONS)
    sides: dict[str, set[str]] = {}
    for split in parts.splits:
        for example in parts.examples(split):
            sides.setdefault(example.text, set()).add(split)
    assert len(sides) == 100 and all(len(splits) == 1 for splits in sides.values())
    assert len(set.union(*sides.values())) == 3


def test_pairs_are_split_by_both_texts():
    """100 pairs with one first text do not all land on one side."""
    parts = source([Example("same", f"other {i}") for i in range(100)], fractions={"train": 0.5, "test": 0.5})
    assert 30 <= sum(1 for _ in parts.examples("train")) <= 70
    # And a text without a second one is no pair with an empty second one.
    assert sum(1 for row in (Example("a"), Example("a", "")) for _ in source([row], fractions={"train": 1}).examples()) == 2


@pytest.mark.parametrize("fractions", [{"train": 0.9, "test": 0.2}, {}, {"train": 1.5, "test": -0.5}])
def test_fractions_that_do_not_add_up(fractions):
    with pytest.raises(ValueError, match="Expected fractions of 0 or more that add up to at most 1, got .*; give shares such as"):
        source([], fractions=fractions)


def test_what_the_fractions_leave_is_left_out():
    rows = [Example(str(i)) for i in range(400)]
    some = {split: list(source(rows, fractions={"train": 0.5, "test": 0.1}).examples(split)) for split in ("train", "test")}
    all_of_them = source(rows, fractions={"train": 0.5, "test": 0.1, "validation": 0.4})
    assert 150 < len(some["train"]) < 250 and 20 < len(some["test"]) < 60
    assert {split: list(all_of_them.examples(split)) for split in some} == some


def test_fractions_of_an_unknown_split():
    with pytest.raises(ValueError, match="Unknown split in fractions 'tests'; did you mean 'test'"):
        source([], fractions={"train": 0.5, "tests": 0.5})


def test_segment_with_a_function():
    (example,) = source([Example("我爱 北京 我爱")], segment=lambda text: ["我", "爱", " ", "北京", " ", "", "我爱"]).examples()
    assert example.words == ((0, 1), (1, 2), (3, 5), (6, 8))
    (example,) = source([Example("a b", words=((0, 1),))], segment=str.split).examples()
    assert example.words == ((0, 1),)


def test_segment_that_changes_the_text():
    with pytest.raises(ValueError, match="Expected words that follow one another in the text 'Rome', got 'rome' from segment"):
        list(source([Example("Rome")], segment=lambda text: [text.lower()]).examples())


def test_segment_with_jieba(monkeypatch):
    monkeypatch.setitem(sys.modules, "jieba", SimpleNamespace(lcut=lambda text: [text[:2], text[2:]]))
    (example,) = source([Example("北京很大")], segment="jieba").examples()
    assert example.words == ((0, 2), (2, 4))


def test_segment_without_jieba(monkeypatch):
    monkeypatch.setitem(sys.modules, "jieba", None)
    assert importlib.util.find_spec("json")  # Other modules are still found.
    with pytest.raises(ImportError, match="segment='jieba' needs the package jieba, which is not installed; install it with"):
        source([], segment="jieba")


def test_segment_by_an_unknown_name():
    with pytest.raises(ValueError, match="Unknown segment 'jeiba'; did you mean 'jieba'"):
        source([], segment="jeiba")


def test_a_pass_that_is_given_up_counts_what_it_saw():
    rows = source([Example("a"), Malformed("one"), Example("b"), Malformed("two")], on_error="skip")
    examples = rows.examples()
    assert [next(examples).text, next(examples).text] == ["a", "b"]
    assert rows.skipped == {"train": 1}
