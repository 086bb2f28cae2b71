"""What public functions and constructors say of values that they cannot take. A new one joins with one row in `CALLS`."""

import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mtl
from mtl.balancing import Balancer
from mtl.data import Tokenizer

PACKAGE = str(Path(mtl.__file__).parent)
VALUES = {
    "none": None,
    "text": "a",
    "empty text": "",
    "float": 1.5,
    "negative": -1,
    "nan": float("nan"),
    "list": [1, "a"],
    "empty list": [],
    "dict": {"a": "b"},
    "array": np.ones(2),
    "object": object(),
    "class": dict,
}
#: Arguments that are names of Keras's, which it looks up itself.
NAMES_OF_KERAS = ("dtype", "activation")
TOKENIZER = Tokenizer.learn("word", ["so good", "so bad"])
ROWS = [{"text": "so good", "mood": "up"}, {"text": "so bad", "mood": "down"}]
SIZES: dict[str, Any] = {"embedding": 2, "units": 2}
FILES = ("csv", "tsv", "jsonl", "lines", "conll", "conllu", "triples")


def head() -> Any:
    return mtl.heads.Classification(["down", "up"])


BALANCERS = {name: getattr(mtl.balancing, name) for name in mtl.balancing.__all__ if name not in ("Balancer", "Diagnosis")}
NEEDED = {"Clipped": {}, "CRMOGM": {"balancer": mtl.balancing.MGDA()}}
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    **{n: (c, NEEDED.get(n, {})) for n, c in BALANCERS.items() if inspect.isclass(c) and issubclass(c, Balancer)},
    **{name: (getattr(mtl.heads, name), {}) for name in ("Classification", "MultiLabel", "Regression", "Tagging", "MaskedLM")},
    "Recurrent": (mtl.encoders.Recurrent, {"tokenizer": TOKENIZER, **SIZES}),
    "Transformer": (mtl.encoders.Transformer, {"tokenizer": TOKENIZER, "width": 4, "layers": 1, "heads": 2, "max_length": 8}),
    "Pretrained": (mtl.encoders.Pretrained, {"preset": "no such folder"}),
    "Soft": (mtl.sharing.Soft, {}),
    "Task": (mtl.Task, {"name": "mood", "head": head()}),
    "MultiTaskModel": (
        lambda **given: mtl.MultiTaskModel(**{"tasks": mtl.Task("mood", head()), **given}),
        {"encoder": mtl.encoders.Recurrent(TOKENIZER, **SIZES)},
    ),
    "BestModel": (mtl.callbacks.BestModel, {}),
    "TaskBoard": (mtl.callbacks.TaskBoard, {"log_dir": "logs"}),
    "Checkpoint": (mtl.callbacks.Checkpoint, {"folder": "saved"}),
    **{
        name: (getattr(mtl.data, name), {"path": "none"})
        for name in ("csv", "tsv", "jsonl", "lines", "conll", "conllu", "triples")
    },
    "records": (mtl.data.records, {"data": ROWS, "label": "mood"}),
    "unique": (mtl.data.unique, {"source": mtl.data.records(ROWS, label="mood")}),
    "Tokenizer": (mtl.data.Tokenizer, {"definition": TOKENIZER.definition}),
    "Tokenizer.learn": (mtl.data.Tokenizer.learn, {"kind": "word", "texts": ["a b"]}),
    "warmup_schedule": (mtl.transfer.warmup_schedule, {"learning_rate": 0.1, "steps": 10}),
    "Warmup": (mtl.transfer.Warmup, {"schedule": 0.1, "steps": 10}),
}


def parameters(function: Callable[..., Any]) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    target = mtl.MultiTaskModel if function is CALLS["MultiTaskModel"][0] else function
    return [
        name for name, each in inspect.signature(target).parameters.items() if each.kind in kinds and name not in NAMES_OF_KERAS
    ]


@pytest.mark.parametrize("name", sorted(CALLS))
def test_values_that_cannot_be_are_refused_in_words_of_ours(name: str) -> None:
    function, given = CALLS[name]
    faults = []
    for argument in parameters(function):
        for kind, value in VALUES.items():
            try:
                function(**{**given, argument: value})
            except (ValueError, TypeError, OSError) as error:
                place = traceback.extract_tb(error.__traceback__)[-1].filename
                if not place.startswith(PACKAGE) or len(str(error)) < 20:
                    faults.append(f"{argument}={kind}: {type(error).__name__} {str(error)[:100]!r}")
            except Exception as error:
                faults.append(f"{argument}={kind}: {type(error).__name__} {str(error)[:100]!r}")
    assert faults == []


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"MultiTaskModel"}))
def test_a_misspelt_argument_is_named(name: str) -> None:
    function, given = CALLS[name]
    with pytest.raises(TypeError, match="Unknown argument of .* 'no_such_argument'"):
        function(**given, no_such_argument=1)
