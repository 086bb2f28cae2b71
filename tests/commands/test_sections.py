import copy
import re

import pytest

from mtl.commands.recipe_file import Document
from mtl.commands.sections import check_sections, listed

RECIPE = {
    "sources": {"moods": {"records": {"data": [{"text": "so good", "mood": "up"}], "label": "mood"}}},
    "encoder": "Transformer",
    "tasks": {"mood": {"source": "moods", "head": "Classification", "readout": "scalar_mix"}},
    "sharing": {"Hard": {"top_layers": 1, "groups": {"all": ["mood"]}}},
    "penalties": ["L2SP", {"TowardsMean": {"strength": 0.1, "parts": "top/*"}}],
}


def checked(**changes: object) -> Document:
    document = Document({**copy.deepcopy(RECIPE), **changes}, {}, "r.yaml")
    check_sections(document)
    return document


def test_all_sections() -> None:
    assert checked().data["penalties"][0] == "L2SP"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"penalty": []}, "Unknown section 'penalty'; did you mean 'penalties'?"),
        ({"penalties": "L2SP"}, "expected 'penalties' as a list; got 'L2SP'."),
        ({"penalties": ["L2PS"]}, "Unknown penalty 'L2PS'; did you mean 'L2SP'?"),
        ({"penalties": [{"L2SP": {"alfa": 1}}]}, "Unknown argument of L2SP 'alfa'; did you mean 'alpha'?"),
        ({"penalties": [{"L2SP": {"alpha": "much"}}]}, "'alpha' of L2SP is a finite number from 0; got 'much'."),
        ({"penalties": ["TowardsMean"]}, "TowardsMean needs the argument 'strength'. Add 'strength:'."),
        ({"sharing": {"Hard": {"top_layers": -1}}}, "'top_layers' of Hard is a whole number from 0; got -1."),
        ({"sharing": {"Hard": {"top_layer": 1}}}, "Unknown argument of Hard 'top_layer'; did you mean 'top_layers'?"),
        (
            {"tasks": {"mood": {"source": "moods", "head": "Classification", "readout": "scalarmix"}}},
            "Unknown readout 'scalarmix'; did you mean 'scalar_mix'?",
        ),
        ({"tasks": {"mood": {"source": "moods", "head": "Classification", "readout": {"a": 1}}}}, "Unknown readout"),
    ],
)
def test_what_cannot_be(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"r.yaml: {re.escape(message)}"):
        checked(**changes)


def test_one_or_several() -> None:
    assert (listed("a"), listed(["a", "b"]), listed(None)) == (["a"], ["a", "b"], [])
