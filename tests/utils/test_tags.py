import pytest

from mtl.utils.tags import BEGINS, ENDS, SCHEMES, make_tag, split_tag, tag_parts, types_of


def test_letters_of_the_schemes():
    assert BEGINS == {*"BSU"} and ENDS == {*"ELSU"}


@pytest.mark.parametrize("scheme", list(SCHEMES))
def test_parts(scheme):
    first, inner, last, only = SCHEMES[scheme]
    tags = ["O", *(make_tag(prefix, kind) for kind in ("", "X", "a-b") for prefix in (first, inner, last, only))]
    parts = tag_parts(tags)
    assert parts.outside.tolist() == [True] + [False] * 12
    assert parts.begins.tolist()[1:5] == [True, False, False, True]
    assert parts.ends.tolist()[1:5] == [False, False, scheme != "BIO", scheme != "BIO"]
    assert parts.kinds.tolist() == [0] * 5 + [1] * 4 + [2] * 4
    assert [make_tag(*split_tag(tag)) for tag in tags] == tags
    assert types_of(tags) == {"", "X", "a-b"} and types_of(["O"]) == set()
