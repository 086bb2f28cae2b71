import pytest

from mtl.utils import UnknownName, find_name, nearest, unknown_name


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
    assert isinstance(error, ValueError) and str(error) == message


def test_of_many_options_some_are_listed() -> None:
    message = str(unknown_name("label", "l57", [f"l{i:04}" for i in range(1500)]))
    assert message.startswith("Unknown label 'l57'; did you mean 'l") and message.endswith("l0039 and 1,460 more.")


def test_names_are_found_whatever_their_capitals_unless_two_are_alike():
    options = ["AdamW", "adamw", "SGD", "CosineDecay"]
    assert [find_name(name, options) for name in ("AdamW", "adamw", "sgd", "cosine_decay")] == [
        "AdamW",
        "adamw",
        "SGD",
        "CosineDecay",
    ]
    assert find_name("ADAMW", options) is None and find_name("sgdx", options) is None


def test_an_unknown_name_can_be_asked_for():
    error = unknown_name("column", "w", ["text"])
    assert isinstance(error, UnknownName) and error.name == "w"
