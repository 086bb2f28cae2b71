import numpy as np
import pytest

from mtl.data.tokenizers.template import FIRST, SECOND, Template

BERT = Template((2, FIRST, 3, SECOND, 3))


def test_segments_change_at_the_second_text() -> None:
    assert BERT.segments == (0, 0, 0, 1, 1)
    assert Template((0, FIRST, 2, 2, SECOND, 2)).segments == (0, 0, 0, 0, 1, 1)
    assert Template((2, FIRST, 3)).segments == (0, 0, 0)


@pytest.mark.parametrize(
    ("first", "second", "room", "kept"),
    [
        (3, 4, 7, (3, 4)),
        (3, 4, 6, (3, 3)),
        (5, 5, 7, (4, 3)),
        (10, 2, 7, (5, 2)),
        (2, 10, 7, (2, 5)),
        (0, 10, 3, (0, 3)),
        (9, 9, 0, (0, 0)),
    ],
)
def test_the_longer_text_is_cut_first(first: int, second: int, room: int, kept: tuple[int, int]) -> None:
    assert tuple(BERT.kept(np.array([[first], [second]]), room + 3)[:, 0]) == kept


def test_cutting_one_token_at_a_time_gives_the_same() -> None:
    for first in range(8):
        for second in range(8):
            for room in range(12):
                a, b = first, second
                while a + b > room:
                    a, b = (a - 1, b) if a > b else (a, b - 1)
                assert tuple(BERT.kept(np.array([[first], [second]]), room + 3)[:, 0]) == (a, b)


def test_too_little_room() -> None:
    with pytest.raises(ValueError, match="room for 3 special tokens; got 2"):
        BERT.kept(np.array([[1], [1]]), 2)


def test_assemble() -> None:
    ids = [np.array([10, 11, 12], np.int32), np.array([20, 21], np.int32)]
    offsets = [np.array([[0, 1], [1, 2], [0, 3]], np.int32), np.array([[0, 2], [2, 4]], np.int32)]
    token_ids, segments, spans, ends = BERT.assemble(ids, offsets, np.array([[2, 1], [0, 2]]), np.array([[2, 1], [0, 1]]))
    assert token_ids.tolist() == [2, 10, 11, 3, 3, 2, 12, 3, 20, 3]
    assert segments.tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 1, 1]
    assert spans[:3].tolist() == [[-1, -1], [0, 1], [1, 2]]
    assert spans[8].tolist() == [0, 2]
    assert ends.tolist() == [5, 10]
