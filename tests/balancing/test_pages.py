"""The pages on balancers name every method, as it is."""

import inspect
import re
from pathlib import Path

import pytest

import mtl

ROOT = Path(__file__).parent.parent.parent
CHOICE, GALLERY = ROOT / "docs" / "balancing.md", ROOT / "mtl" / "balancing" / "README.md"
METHODS = {
    name: getattr(mtl.balancing, name)
    for name in mtl.balancing.__all__
    if name not in ("Balancer", "Diagnosis", "diagnose", "get")
}
WORDS = {"losses": "losses", "gramian": "Gramian", "jacobian": "gradients"}


def rows(page: Path, header: str) -> dict[str, list[str]]:
    """Method -> the other cells of its row, in the table with the header."""
    table = page.read_text("utf-8").split(header, 1)[1].split("\n\n", 1)[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {each[0].strip("`"): each[1:] for each in cells}


CHOICES = rows(CHOICE, "| method | needs | cost | state | arguments | take it |")
PICTURES = rows(GALLERY, "| method | in a word | needs | paper |")


def test_all_methods_stand_in_both_tables() -> None:
    assert set(CHOICES) == set(METHODS) == set(PICTURES)


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"CRMOGM"}))  # CRMOGM needs what the wrapped method does.
def test_rows_are_right(name: str) -> None:
    method = METHODS[name]
    needs, cost, state, arguments, _ = CHOICES[name]
    for said in (needs, PICTURES[name][1]):
        assert said.split()[0].strip(",") == WORDS[method.needs]
        assert ("after" in said) == method.looks_ahead
        assert ("metrics" in said) == method.uses_metrics
        assert method.needs == "losses" or ("losses" in said) == method.uses_losses
    passes = "1" if method.needs == "losses" else "2 K" if method.batches == 2 else "K"
    assert cost.split(" and")[0] == passes
    assert ("forward" in cost) == method.looks_ahead
    assert ("K P" in state) == method.tracks_gradients
    own = [] if method.__init__ is object.__init__ else list(inspect.signature(method.__init__).parameters.values())[1:]
    expected = [f"{each.name}={each.default!r}" for each in own if each.default is not each.empty]
    assert [each.replace('"', "'") for each in re.findall(r"`([^`]+)`", arguments)] == expected


@pytest.mark.parametrize("page", [CHOICE, GALLERY], ids=["choice", "gallery"])
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8"))
    assert targets
    for target in targets:
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_the_picture_is_light() -> None:
    assert 10_000 < (GALLERY.parent / "gallery.png").stat().st_size < 400_000
