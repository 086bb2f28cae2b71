import json
import time
from typing import Any

from mtl.utils import brief, printable
from mtl.utils.brief import json_line


def test_large_deep_and_cyclic_values_are_short_at_once():
    loop: dict[str, list] = {}
    loop["a"] = [loop]
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    wide: Any = "x"
    for _ in range(40):
        wide = [wide] * 9
    start = time.perf_counter()
    for value in (loop, deep, wide, 10**5000, "y" * 10**7, {i: i for i in range(10**5)}, list(range(10**6))):
        assert len(brief(value)) <= 200
    assert time.perf_counter() - start < 2
    assert brief(10**5000) == "a whole number of 16610 bits"
    for _ in range(100_000):  # Python takes a deep list down level by level, too.
        deep = deep[0]


def test_small_values_are_as_python_writes_them():
    for value in (None, 1, 1.5, "a", [1, "b"], {"k": [1, 2], "a": {"c": None}}, (1,), True):
        assert brief(value) == repr(value)
    assert brief(dict.fromkeys(range(10), 0)) == "{0: 0, 1: 0, 2: 0, 3: 0, 4: 0, 5: 0, 6: 0, 7: 0, ...}"


def test_nothing_steers_a_terminal():
    assert printable("\x1b]0;t\x07 \x9b31m \x7f\r a\n\tb 北京 é") == "\\x1b]0;t\\x07 \\x9b31m \\x7f\\x0d a\n\tb 北京 é"
    assert printable("a\u202eb\u2066c\ud800") == "a\\u202eb\\u2066c\\ud800"
    assert "\x1b" not in brief({"\x1b": "\x1b"}) and "\x9b" not in brief(["\x9b"])


def test_json_with_what_steers_a_terminal_written_as_escapes():
    value = {"up\x1b[31m\x9b": ["\u202e", "\ud800", "\U0001f642 \xe9\n"]}
    line = json_line(value)
    assert line == '{"up\\u001b[31m\\u009b": ["\\u202e", "\\ud800", "\U0001f642 \xe9\\n"]}'
    assert json.loads(line) == value
