from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from mtl.utils.types import Between, Count, Finite, Positive, Rate, Share, Size, Weight, described, fits

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (int, [0, -3, np.int64(2), 10**400], [True, 2.0, "2", None, NAN, [1], np.ones(2)]),
        (float, [0, 1.5, np.float32(2), INF], [True, "2", None, NAN, np.float32("nan"), [1.0], np.ones(2)]),
        (bool, [True, np.bool_(False)], [0, 1, "yes", None]),
        (str, ["", "a"], [b"a", 1, None, ["a"]]),
        (Count, [1, 10**9], [0, -1, 1.0]),
        (Size, [0], [-1, NAN]),
        (Rate, [0, 0.5], [1, -0.1, NAN, INF]),
        (Share, [0, 1], [1.01, -0.1]),
        (Between, [0.5], [0, 1]),
        (Finite, [-1e300], [INF, -INF, NAN]),
        (Positive, [1e-9], [0, INF]),
        (Weight, [0.0], [-1e-9, INF]),
        (Literal["all"] | Count, ["all", 3], ["any", 0, None]),
        (str | None, [None, "a"], [0]),
        (Sequence[str], [[], ["a"], ("a",), np.array(["a"])], ["a", {"a": 1}, [1], 3, np.array("a"), {"a"}]),
        (Iterable[str], [iter("a"), {"a"}, range(3)], ["a", 3, [1]]),
        (Mapping[str, float], [{}, {"a": 1}], [{"a": "1"}, {1: 1.0}, {"a": NAN}, [1.0], "a"]),
        (tuple[int, int], [(1, 2), [1, 2]], [(1,), (1, 2, 3), "ab", (1, "2")]),
        (tuple[int, ...], [(), (1, 2, 3)], [1, ("a",)]),
        (Callable[[Any], Any], [len], ["len", 3]),
        (Path, [Path()], ["a"]),
        (Any, [None, 3], []),
        ("NotImported", [None, 3], []),
    ],
)
def test_what_fits(kind: Any, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not fits(kind, value)] == []
    assert [value for value in bad if fits(kind, value)] == []


def test_what_can_be_read_once_is_left_unread() -> None:
    items = iter([1, 2])
    assert fits(Iterable[str], items) and list(items) == [1, 2]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Count, "a whole number from 1"),
        (Rate | None, "a number from 0 to below 1 or None"),
        (Positive, "a finite number above 0"),
        (Finite, "a finite number"),
        (Literal["a", "b"] | bool, "one of 'a', 'b' or True or False"),
        (str | Sequence[int], "a text or a list (each item a whole number)"),
        (Mapping[str, Weight], "a dict (each value a finite number from 0)"),
        (Callable[[Any], Any], "a function"),
        (Path, "a path"),
        (np.ndarray, "an array"),
    ],
)
def test_words(kind: Any, words: str) -> None:
    assert described(kind) == words
