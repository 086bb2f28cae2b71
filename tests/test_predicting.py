import numpy as np
import pytest

from mtl import MultiTaskModel, Task
from mtl.data import Example, Tokenizer
from mtl.encoders import Recurrent
from mtl.heads import Classification, Regression, Tagging
from mtl.predicting import flat_outputs, to_example, to_examples


def test_texts_pairs_and_words():
    assert to_example("a b").text == "a b" and to_example("a b").words is None
    assert (to_example(("a", "b")).text, to_example(("a", "b")).pair) == ("a", "b")
    assert to_example(["New", "York"]).words == ((0, 3), (4, 8))
    for bad in (3, None, ("a", "b", "c"), ["a", 3]):
        with pytest.raises(TypeError, match="Text 2: expected a string, a pair of strings"):
            to_example(bad, 1)


def test_records_are_predicted_by_their_texts():
    assert to_examples({"text": "so good"}) == to_examples("so good") == [Example("so good")]
    assert to_examples(np.array("so good")) == [Example("so good")] and to_examples(np.array(["a"])) == [Example("a")]
    with pytest.raises(TypeError, match=r"got {'text': \['a'\]}. Give several texts as a list, such as \['...'\] or \[{'text'"):
        to_examples({"text": ["a"]})
    assert to_examples([{"text": "a", "pair": "b"}, "c"]) == [Example("a", "b"), Example("c")]


@pytest.mark.parametrize(
    "texts", [{"text": ["a"]}, {"body": "a"}, {"text": "a", "label": "up"}, [{"pair": "b"}], {}, b"a", 3, None, [b"a"], [None]]
)
def test_what_is_no_text_is_never_taken_by_its_names(texts):
    with pytest.raises(TypeError, match=r"expect.*; got .*\. Give "):
        to_examples(texts)


def test_the_columns_of_a_table_are_no_texts():
    class Table:
        def keys(self):
            return ["text"]

        def __iter__(self):
            return iter(["text"])

    with pytest.raises(TypeError, match=r"a list of texts; got Table. Give a list, such as list\(table\['text'\]\)"):
        to_examples(Table())


def test_outputs_without_nesting():
    assert flat_outputs({"a": 1, "b": {"x": 2, "y": 3}}) == {"a": 1, "b/x": 2, "b/y": 3}


@pytest.mark.parametrize("head", [Classification(["a", "b"]), Regression(mean=0.0, scale=1.0), Tagging(["A", "B"], scheme=None)])
def test_a_prediction_that_is_no_number(head):
    encoder = Recurrent(Tokenizer.learn("character", ["ab"]), embedding=2, units=2)
    model = MultiTaskModel(encoder, Task("mood", head))
    assert len(model.predict_text(["a", "ab"])["mood"]) == 2
    encoder.set_weights(
        [np.full_like(weight, np.nan) if weight.dtype.kind == "f" else weight for weight in encoder.get_weights()]
    )
    with pytest.raises(FloatingPointError, match="Text 1: the prediction of 'mood' is not a number, as the model's weights"):
        model.predict_text(["a", "ab"])
