import pytest

from mtl.utils.foreign import foreign, reason_of


class Panic(BaseException):
    """What Rust's panics are to Python: no `Exception`."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Panic("index out of bounds\nnote"), "index out of bounds."),
        (KeyError("sizes"), "it lacks 'sizes'."),
        (KeyError("the weights lack 'a'"), "the weights lack 'a'."),
        (RecursionError("maximum recursion depth exceeded"), "it is too deep."),
        (AttributeError(), "AttributeError."),
        (TypeError("<class> could not be.\n\nconfig={...}.\n\nException encountered: the\x1b reason"), "the\\x1b reason."),
        (ValueError("x" * 1000), "x" * 297 + "..."),
    ],
)
def test_whatever_was_raised_is_one_sentence(error, said):
    with pytest.raises(ValueError, match="^'f' cannot be read: ") as caught, foreign("'f' cannot be read"):
        raise error
    assert str(caught.value) == f"'f' cannot be read: {said}" and caught.value.__cause__ is error
    assert reason_of(error) == said  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, MemoryError, FileNotFoundError])
def test_what_is_none_of_the_data_s_passes(kind):
    with pytest.raises(kind), foreign("x"):
        raise kind
