import os
import time
from pathlib import Path

import pytest

from mtl.commands.recipe_file import Document, parse_yaml

TEXT = """\
a:
  b: 1
  c: [x, {d: 2}]
encoder: Recurrent
empty:
"""


def document(text: str = TEXT) -> Document:
    return Document(*parse_yaml(text, "r.yaml"), "r.yaml")


def test_lines_of_keys() -> None:
    data, lines = parse_yaml(TEXT, "r.yaml")
    assert data == {"a": {"b": 1, "c": ["x", {"d": 2}]}, "encoder": "Recurrent", "empty": None}
    assert lines[("a", "b")] == 2 and lines[("a", "c", "1", "d")] == 3 and lines[("encoder",)] == 4


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("2.5", 2.5), (".5", 0.5), ("-3", -3), ("0x10", 16), ("1_000", 1000), ("08", "08"), ("12:30", "12:30"),
        ("no", "no"), ("on", "on"), ("true", True), ("null", None), ("~", None), ("", None), ("2020-01-02", "2020-01-02"),
        ("'1'", "1"), ("[1, a]", [1, "a"]), ("1.", 1.0), ("+2", 2), ("1e5", 100000.0), ("v1.0", "v1.0"), ("null_", "null_"),
    ],
)  # fmt: skip
def test_scalars(text: str, value: object) -> None:
    found = parse_yaml(text, "x")[0]
    assert found == value and type(found) is type(value)


def test_anchors_and_merged_keys() -> None:
    data, _ = parse_yaml("base: &base {x: 1, y: 2}\nmine: {<<: *base, y: 3}", "x")
    assert data["mine"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    "text", ["!!python/object/apply:os.system ['touch ran']", "!!python/name:os.system", "a: !!python/object:x {}", "a: !m b"]
)
def test_runs_no_code(text: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"r.yaml, line 1: expected plain YAML data"):
        parse_yaml(text, "r.yaml")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "r.yaml, line 3: 'a' stands twice, first in line 1"),
        ("a:\n  - b\n c: 1", "r.yaml, line 3: expected YAML"),
        ("a: [1,", "r.yaml, line 1: expected YAML"),
        ("a: \x00", "r.yaml: expected YAML"),
        ("- a", "r.yaml: a recipe holds sections .* got a list"),
        ("", "r.yaml: a recipe holds sections .* got nothing"),
    ],
)
def test_malformed(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        document(text)


def test_missing_and_undecodable_files(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="No recipe '.*none.yaml'. Give the path"):
        Document.read(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    with pytest.raises(ValueError, match="expected UTF-8 text; got the byte 0xe9"):
        Document.read(tmp_path / "latin.yaml")


@pytest.mark.parametrize(
    ("setting", "route", "value"),
    [
        ("a.b=2", ("a", "b"), 2),
        ("a.new=[1, 2]", ("a", "new"), [1, 2]),
        ("a.c.0=y", ("a", "c", "0"), "y"),
        ("a.c.1.d=null", ("a", "c", "1", "d"), None),
        ("encoder=Transformer", ("encoder",), "Transformer"),
        ("encoder.Recurrent.units=5", ("encoder", "Recurrent", "units"), 5),
        ("empty.x=1", ("empty", "x"), 1),
        ("train.optimizer=SGD", ("train", "optimizer"), "SGD"),
        ("a.b=x=y", ("a", "b"), "x=y"),
    ],
)
def test_settings(setting: str, route: tuple[str, ...], value: object) -> None:
    changed = document()
    changed.set([setting], {(): ("train",), ("train",): ("optimizer",)})
    assert changed.at(route) == value
    assert changed.place(route) == f"--set {setting}"
    same = document()
    same.set({setting.partition("=")[0]: value}, {(): ("train",)})
    assert same.data == changed.data


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("a.b", "A setting is PATH=VALUE, such as train.epochs=1; got 'a.b'"),
        ("=1", "A setting is PATH=VALUE"),
        ("encodr.Recurrent.units=1", "--set encodr.Recurrent.units=1: Unknown path 'encodr'; did you mean 'encoder'"),
        ("a.c.7=1", "--set a.c.7=1: 'a.c' has the items 0 to 1; got '7'"),
        ("a.b.x=1", "--set a.b.x=1: 'a.b' is '1', which has no part 'x'"),
        ("a.b=[1", "--set a.b=.*, line 1: expected YAML"),
        ("a.bb.x=1", "Unknown path 'a.bb'; did you mean 'a.b'"),
        ("encoder.Recurent.units=1", "'encoder' is 'Recurrent', which has no part 'Recurent'"),
    ],
)
def test_bad_settings(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        document().set([setting], {})


def test_errors_have_the_nearest_place() -> None:
    assert str(document().error(("a", "c", "1", "zz"), "wrong")) == "r.yaml, line 3: wrong"
    with pytest.raises(ValueError, match=r"^r.yaml, line 2: no$"), document().located(("a", "b")):
        raise TypeError("no")
    with pytest.raises(FileNotFoundError, match="^r.yaml, line 2: gone"), document().located(("a", "b")):
        raise FileNotFoundError("gone")


def test_errors_name_the_settings_within_a_part() -> None:
    changed = document()
    changed.set(["a.b=0"], {})
    for route, place in (
        (("a",), "r.yaml, line 1 with --set a.b=0"),
        (("a", "b"), "--set a.b=0"),
        (("empty",), "r.yaml, line 5"),
    ):
        with pytest.raises(ValueError, match=f"^{place}: no$"), changed.located(route):
            raise ValueError("no")


LAUGHS = "a: &a0 [x]\n" + "".join(f"k{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 13))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "r.yaml, line 6: expected at most 20,000 values, those of aliases included; got more"),
        ("seed: &s {a: *s}", "r.yaml, line 1: '[*]s' stands within what it repeats"),
        ("a:\n  b: &x\n    - [*x]", "r.yaml, line 3: '[*]x' stands within what it repeats"),
        ("[" * 100_000, "line 1: expected at most 50 levels within each other; got more"),
        ("{a: " * 3000 + "}" * 3000, "line 1: expected at most 50 levels within each other; got more"),
        ("".join("  " * i + "a:\n" for i in range(700)), "line 51: expected at most 50 levels within each other; got more"),
        ("? " * 3000, "expected at most 50 levels"),
        ("a: 1\n" * 300_000, "expected at most 1,048,576 characters; got 1,500,000"),
        ("a: " + "9" * 5000, "r.yaml: expected plain YAML data, got a value that cannot be read"),
        ("a: !!timestamp 2020-99-99", "got the tag '!!timestamp'"),
        ("a: !!int x", "got the tag '!!int'"),
        ("a: \x00", "r.yaml: expected YAML, got unacceptable character"),
        ("k" * 500 + ": 1\n" + "k" * 500 + ": 2", "line 2: 'k{80}' stands twice, first in line 1"),
    ],
)
def test_hostile_texts_get_one_short_sentence_at_once(text: str, message: str) -> None:
    start = time.perf_counter()
    with pytest.raises(ValueError, match=message) as caught:
        parse_yaml(text, "r.yaml")
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)
    assert time.perf_counter() - start < 10


def test_aliases_count_as_what_they_repeat() -> None:
    row = "&r [" + "x, " * 99 + "x]"  # 101 values, and 4 around and beside it.
    parse_yaml(f"a: {row}\nb: [{', '.join(['*r'] * 196)}]", "r.yaml")
    with pytest.raises(ValueError, match="expected at most 20,000 values"):
        parse_yaml(f"a: {row}\nb: [{', '.join(['*r'] * 198)}]", "r.yaml")


def test_what_is_no_file(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ValueError, match="pipe.yaml', which is a pipe. Copy what is to be read into a file"):
        Document.read(tmp_path / "pipe.yaml")
    with pytest.raises(ValueError, match="'/dev/zero', which is a device"):
        Document.read(Path("/dev/zero"))
    with pytest.raises(IsADirectoryError, match="got the folder"):
        Document.read(tmp_path)
    (tmp_path / "utf16.yaml").write_text("a: b", "utf-16")
    with pytest.raises(ValueError, match="expected UTF-8 text; got the byte 0xff"):
        Document.read(tmp_path / "utf16.yaml")
    with open(tmp_path / "large.yaml", "wb") as file:
        file.truncate(2**40)  # A hole: it takes no room.
    with pytest.raises(ValueError, match="a recipe of at most 1,048,576 characters; got 1,099,511,627,776 bytes"):
        Document.read(tmp_path / "large.yaml")


@pytest.mark.parametrize(
    "error", [OverflowError("too\nlarge"), AttributeError("no such"), MemoryError(), KeyError("k"), TypeError("\x1b")]
)
def test_errors_within_a_part_are_one_sentence_with_its_place(error) -> None:
    with pytest.raises(ValueError, match="^r.yaml, line 2: ") as caught, document().located(("a", "b")):
        raise error
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
    with pytest.raises(IsADirectoryError, match="^r.yaml, line 2: a folder"), document().located(("a", "b")):
        raise IsADirectoryError("a folder")
