import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from mtl.heads import Classification
from mtl.utils.arguments import WrongType, checked, constructor_arguments
from mtl.utils.types import Count


@checked
def blur(picture: str, width: Count = 3, *, mode: str | None = None, **options: Any) -> tuple[Any, ...]:
    return picture, width, mode, options


@checked
def crop(picture: str, *, edge: int = 1) -> tuple[str, int]:
    return picture, edge


class Base:
    def __init__(self, name: str = "base"):
        self.name = name


class Circle(Base):
    @checked
    def __init__(self, radius: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.radius = radius


class Disc(Circle):
    def __init__(self, **kwargs: Any):
        self.colour = kwargs.pop("colour")
        super().__init__(**kwargs)


def refused(function: Callable[..., Any], *args: Any, **kwargs: Any) -> WrongType:
    """The error of a call that is refused."""
    with pytest.raises(WrongType) as raised:
        function(*args, **kwargs)
    return raised.value


def test_what_is_right_passes() -> None:
    assert blur("a", 2, mode="x", other=None) == ("a", 2, "x", {"other": None})
    assert blur(picture="a") == ("a", 3, None, {})
    assert crop("a", edge=-1) == ("a", -1)
    assert (Circle(2, name="c").name, Disc(radius=1.0, colour="red").colour) == ("c", "red")


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "message"),
    [
        (blur, (), {}, "blur expects `picture` as a text; got none. Give it."),
        (blur, (None,), {}, "blur expects `picture` as a text; got None. Give such a value."),
        (blur, (str,), {}, "blur expects `picture` as a text; got str. Call it: str()."),
        (blur, ("a", 0), {}, "blur expects `width` as a whole number from 1; got 0. Give one, or leave it out for 3."),
        (blur, ("a",), {"mode": 1}, "blur expects `mode` as a text or None; got 1. Give one, or leave it out."),
        (blur, ("a",), {"width": Base()}, "as a whole number from 1; got a Base. Give one, or leave it out for 3."),
        (blur, ("a", 1), {"picture": "b"}, "blur expects `picture` once; got it by place and by name."),
        (crop, ("a", 1), {}, "crop expects at most 1 arguments by place; got 2. Name the others."),
        (crop, ("a",), {"edges": 1}, "Unknown argument of crop 'edges'; did you mean 'edge'? Known: edge, picture."),
        (Circle, (1.0,), {"nam": "c"}, "Unknown argument of Circle 'nam'; did you mean 'name'? Known: name, radius."),
        (Circle, (True,), {}, "Circle expects `radius` as a number; got True."),
        (Disc, (), {"radius": "1", "colour": "red"}, "Disc expects `radius` as a number; got '1'."),
        (
            Classification,
            (),
            {"class_weight": {}},
            "Unknown argument of Classification 'class_weight'; did you mean 'class_weights'?",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], message: str
) -> None:
    error = refused(function, *args, **kwargs)
    assert message in str(error)
    assert isinstance(error, TypeError) and isinstance(error, ValueError)


def test_a_long_value_is_cut() -> None:
    assert len(str(refused(blur, ["word"] * 1000))) < 200


def test_the_signature_stays() -> None:
    assert list(inspect.signature(blur).parameters) == ["picture", "width", "mode", "options"]
    assert inspect.getfullargspec(Circle.__init__).args == ["self", "radius"]  # By which Keras finds arguments.


def test_arguments_of_constructors():
    class Blur:
        edges: str

        def __init__(self, width, *rest, edges="zero", **kwargs):
            self.width = width

    with pytest.raises(AttributeError, match="Blur expects its argument `edges` as an attribute.*Write self.edges = edges"):
        constructor_arguments(Blur(3))
    made = Blur(3)
    made.edges = "wrap"
    assert constructor_arguments(made) == {"width": 3, "edges": "wrap"} and constructor_arguments(object()) == {}
