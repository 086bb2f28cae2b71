import pytest

from mtl.predicting import to_example


def test_texts_pairs_and_words():
    assert to_example("a b").text == "a b" and to_example("a b").words is None
    assert (to_example(("a", "b")).text, to_example(("a", "b")).pair) == ("a", "b")
    assert to_example(["New", "York"]).words == ((0, 3), (4, 8))
    for bad in (3, None, ("a", "b", "c"), ["a", 3]):
        with pytest.raises(TypeError, match="Text 2: expected a string, a pair of strings"):
            to_example(bad, 1)
