import pytest

from mtl.utils import nearest, unknown_name


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [("Taging", ["Tagging", "Regression"], "Tagging"), ("zzz", ["Tagging"], None), ("a", [], None), (3, [30, 8], "30")],
)
def test_the_nearest_name(name, options, expected):
    assert nearest(name, options) == expected


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mod", ["size", "mood"], "Unknown task 'mod'; did you mean 'mood'? Known: mood, size."),
        ("zzz", ["size", "mood"], "Unknown task 'zzz'. Known: mood, size."),
        ("a", (), "Unknown task 'a'. Known: none."),
        (7, iter([10, 9]), "Unknown task '7'. Known: 10, 9."),
    ],
)
def test_unknown_names(name, options, message):
    error = unknown_name("task", name, options)
    assert type(error) is ValueError and str(error) == message
