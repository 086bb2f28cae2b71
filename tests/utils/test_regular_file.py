import os
import socket

import pytest

from mtl.utils import expanded, parse_json, read_json, regular_file


def test_what_is_no_file(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # A socket's path is short.
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for name, kind in (("pipe", "a pipe"), ("socket", "a socket"), ("/dev/zero", "a device")):
            with pytest.raises(ValueError, match=f"Expected a file; got '{name}', which is {kind}. Copy"):
                regular_file(name)
    with pytest.raises(IsADirectoryError, match="got the folder"):
        regular_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        regular_file("none")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("file")
    assert regular_file("link").name == "link"


def test_a_home_that_there_is_not():
    with pytest.raises(FileNotFoundError, match="got '~no-such-user/x', of whose '~' the folder is not known"):
        expanded("~no-such-user/x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 10**6, "at most 100 levels"),
        (b'{"a": ' * 101 + b"1" + b"}" * 101, "at most 100 levels"),
        (b'{"a": ' * 5000 + b"1" + b"}" * 5000, "at most 100 levels"),
        (b"[]", "Expected a JSON object in 'x.json'; it holds a list"),
        (b"null", "it holds a NoneType"),
        (b"", "Expected JSON in 'x.json'; it is damaged"),
        (b"\xff\xfe\xfd", "it is damaged"),
        (b'{"a": ' + b"1" * 5000 + b"}", "it is damaged"),
    ],
)
def test_json_that_is_none(content, message):
    with pytest.raises(ValueError, match=message):
        parse_json(content, "x.json")


def test_json_of_a_file(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b'{"a": ' * 100 + b"1" + b"}" * 100)
    assert list(read_json(path)) == ["a"]
    with pytest.raises(ValueError, match="a JSON file of at most 10 bytes; '.*x.json' has 701"):
        read_json(path, 10)
