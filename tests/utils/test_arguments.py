import inspect
from typing import Any

import pytest

from mtl.heads import Classification
from mtl.utils.arguments import WrongType, checked
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


def test_what_is_right_passes() -> None:
    assert blur("a", 2, mode="x", other=None) == ("a", 2, "x", {"other": None})
    assert blur(picture="a") == ("a", 3, None, {})
    assert crop("a", edge=-1) == ("a", -1)
    assert (Circle(2, name="c").name, Disc(radius=1.0, colour="red").colour) == ("c", "red")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: blur(), "blur expects `picture` as a text; got none. Give it."),
        (lambda: blur(None), "blur expects `picture` as a text; got None. Give such a value."),
        (lambda: blur(str), "blur expects `picture` as a text; got str. Call it: str()."),
        (lambda: blur("a", 0), "blur expects `width` as a whole number from 1; got 0. Give one, or leave it out for 3."),
        (lambda: blur("a", mode=1), "blur expects `mode` as a text or None; got 1. Give one, or leave it out."),
        (lambda: blur("a", width=Base()), "as a whole number from 1; got a Base. Give one, or leave it out for 3."),
        (lambda: blur("a", 1, picture="b"), "blur expects `picture` once; got it by place and by name."),
        (lambda: crop("a", 1), "crop expects at most 1 arguments by place; got 2. Name the others."),
        (lambda: crop("a", edges=1), "Unknown argument of crop 'edges'; did you mean 'edge'? Known: edge, picture."),
        (lambda: Circle(1.0, nam="c"), "Unknown argument of Circle 'nam'; did you mean 'name'? Known: name, radius."),
        (lambda: Circle(True), "Circle expects `radius` as a number; got True."),
        (lambda: Disc(radius="1", colour="red"), "Disc expects `radius` as a number; got '1'."),
        (
            lambda: Classification(class_weight={}),
            "Unknown argument of Classification 'class_weight'; did you mean 'class_weights'?",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(call: Any, message: str) -> None:
    with pytest.raises(WrongType) as raised:
        call()
    assert message in str(raised.value)
    assert isinstance(raised.value, TypeError) and isinstance(raised.value, ValueError)


def test_a_long_value_is_cut() -> None:
    with pytest.raises(WrongType) as raised:
        blur(["word"] * 1000)
    assert len(str(raised.value)) < 200


def test_the_signature_stays() -> None:
    assert list(inspect.signature(blur).parameters) == ["picture", "width", "mode", "options"]
    assert inspect.getfullargspec(Circle.__init__).args == ["self", "radius"]  # By which Keras finds arguments.
