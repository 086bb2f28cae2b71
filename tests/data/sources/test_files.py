import codecs
import gzip
import os
import re
import socket
from pathlib import Path

import pytest

from mtl.data import conllu, jsonl, lines, triples
from mtl.data.example import Example
from mtl.data.sources.files import FileSource, blocks, by_split, existing, files_fingerprint, open_text, read_lines, undecodable


def write(path: Path, data: str | bytes = "a\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def texts(path, **options):
    source = FileSource(path, lambda file: (Example(line) for line in read_lines(file)), (), (), encoding="utf-8", **options)
    return {split: [example.text for example in source.examples(split)] for split in source.splits}


@pytest.mark.parametrize(
    "data",
    [
        "é\n".encode("utf-32"),
        "é\n".encode(),
        codecs.BOM_UTF8 + "é\n".encode(),
        "é\n".encode("utf-16"),
        codecs.BOM_UTF16_BE + "é\n".encode("utf-16-be"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_open_text(tmp_path, data, pack):
    with open_text(write(tmp_path / "a.txt", pack(data))) as file:
        assert file.read() == "é\n"


def test_an_empty_file_has_no_lines(tmp_path):
    assert list(read_lines(write(tmp_path / "a.txt", ""))) == []
    assert list(read_lines(write(tmp_path / "b.gz", gzip.compress(b"")))) == []


def test_lines_end_as_python_says(tmp_path):
    path = write(tmp_path / "a.txt", "a\rb\r\nc\u2028d\n")
    assert list(read_lines(path)) == ["a", "b", "c\u2028d"]
    assert list(read_lines(path, newline="")) == ["a\r", "b\r\n", "c\u2028d\n"]


def test_a_damaged_gzip_file(tmp_path):
    whole = gzip.compress("".join(f"{i}\n" for i in range(100_000)).encode())
    lines = read_lines(write(tmp_path / "a.gz", whole[:-2000]))
    assert next(lines) == "0"
    with pytest.raises(ValueError, match=r"a.gz, line \d+: expected a whole gzip file, got a damaged one .*; fetch it again"):
        list(lines)
    with pytest.raises(ValueError, match=r"b.gz, line 1: expected a whole gzip file"):
        list(read_lines(write(tmp_path / "b.gz", whole[:8])))


def test_undecodable(tmp_path):
    first, second = read_lines(write(tmp_path / "a.txt", b"fine \xc3\xa9\nbad \xe9!\n"))
    assert undecodable("a.txt", 1, first, "utf-8") is None
    problem = undecodable("a.txt", 2, second, "utf-8")
    assert str(problem) == (
        "a.txt, line 2: expected utf-8 text, got the byte 0xe9; name the file's encoding with encoding= "
        "(such as 'gb18030' or 'cp1252'), or leave such records out with on_error='skip'."
    )


def test_blocks(tmp_path):
    path = write(tmp_path / "a.txt", "\n\na\nb\n \t\nc")
    assert list(blocks(path, "utf-8")) == [[(3, "a"), (4, "b")], [(6, "c")]]


def test_existing_names_what_comes_nearest(tmp_path):
    path = write(tmp_path / "corpus" / "train.csv")
    assert existing(path) == path
    with pytest.raises(FileNotFoundError, match=re.escape(f"did you mean '{path}'?")):
        existing(tmp_path / "corpus" / "trian.csv")
    with pytest.raises(FileNotFoundError, match=re.escape(f"did you mean '{tmp_path / 'corpus'}'?")):
        existing(tmp_path / "corups" / "train.csv")
    with pytest.raises(FileNotFoundError, match="give the path of something that exists"):
        existing(tmp_path / "xyz")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.csv", "train"),
        ("TRAINING.txt.gz", "train"),
        ("en_ewt-ud-dev.conllu", "validation"),
        ("val.en.gz", "validation"),
        ("valid", "validation"),
        ("SICK_trial.txt", "validation"),
        ("validation-00000-of-00002.jsonl", "validation"),
        ("test_2016.de", "test"),
        ("latest.csv", None),
        ("train_and_test.csv", None),
    ],
)
def test_by_split(name, split):
    assert by_split([Path(name)]) == ({split: [Path(name)]} if split else {})


def test_paths(tmp_path):
    for name in ("train-1.txt", "train-2.txt", "dev.txt", "README"):
        write(tmp_path / name, name)
    by_name = {"train": ["train-1.txt", "train-2.txt"], "validation": ["dev.txt"]}
    assert texts(tmp_path) == by_name
    assert texts(str(tmp_path / "*.txt")) == by_name
    assert texts({"train": tmp_path / "train-*.txt", "dev": [tmp_path / "dev.txt"]}) == by_name
    assert texts([tmp_path / "dev.txt", tmp_path / "train-1.txt"], fractions=None) == {"train": ["dev.txt", "train-1.txt"]}
    assert texts(tmp_path / "train-*.txt", fractions=None) == {"train": ["train-1.txt", "train-2.txt"]}
    assert texts({"odd": tmp_path / "dev.txt"}) == {"odd": ["dev.txt"]}


def test_paths_that_cannot_be_told_apart(tmp_path):
    for name in ("train.de.gz", "train.en"):
        write(tmp_path / name)
    with pytest.raises(ValueError, match=r"Expected files of one kind in .*, got the endings .de, .en; give a dict"):
        texts(tmp_path)
    with pytest.raises(ValueError, match="Expected one entry for the split 'validation', got several among"):
        texts({"dev": tmp_path / "train.en", "valid": tmp_path / "train.en"})


def test_paths_without_files(tmp_path):
    write(tmp_path / "README")
    with pytest.raises(FileNotFoundError, match="Expected files named after splits .* got none; give a file, or a dict"):
        texts(tmp_path)
    with pytest.raises(FileNotFoundError, match="Expected files that match .*, got none"):
        texts(tmp_path / "*.csv")
    with pytest.raises(FileNotFoundError, match="Expected at least one file, got an empty list"):
        texts({"train": []})
    with pytest.raises(IsADirectoryError, match=re.escape(f"got the folder '{tmp_path}'; name its files, or give the glob")):
        texts({"train": tmp_path})


def test_a_name_with_glob_characters(tmp_path):
    assert texts(write(tmp_path / "a[1].txt", "x"), fractions=None) == {"train": ["x"]}


def test_the_name_of_a_source(tmp_path):
    def name(path):
        return FileSource(path, lambda file: iter(()), (), (), encoding="utf-8").name

    one, other = write(tmp_path / "news" / "a" / "train.txt"), write(tmp_path / "news" / "b" / "test.txt")
    assert name(one) == "train.txt"
    assert name({"train": one, "test": other}) == "news"


def test_fingerprints(tmp_path):
    path = write(tmp_path / "a.txt", "one")
    before = files_fingerprint({"train": [path]}, ["text", {"a": 1}])
    assert files_fingerprint({"train": [path]}, ["text", {"a": 1}]) == before
    assert files_fingerprint({"test": [path]}, ["text", {"a": 1}]) != before
    assert files_fingerprint({"train": [path]}, ["text", {"a": 2}]) != before
    assert files_fingerprint({"train": [path]}, ["text", {"a": float}]) is None
    write(path, "other")
    assert files_fingerprint({"train": [path]}, ["text", {"a": 1}]) != before


def test_fingerprints_go_by_what_is_in_a_file(tmp_path):
    """Not by where it lies, how long it is or when it was written."""
    path = write(tmp_path / "a.txt", "one")
    before, stat = files_fingerprint({"": [path]}, ()), path.stat()
    assert files_fingerprint({"": [write(tmp_path / "elsewhere" / "a.txt", "one")]}, ()) == before
    write(path, "two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_mtime_ns == stat.st_mtime_ns and path.stat().st_size == stat.st_size
    assert files_fingerprint({"": [path]}, ()) != before
    write(path, "one")
    assert files_fingerprint({"": [path]}, ()) == before


def test_every_source_of_files_tells_places(tmp_path):
    contents = {
        "a.txt": "\none\n",
        "a.jsonl": '\n{"text": "one"}\n',
        "a.conllu": "# sent_id = 1\n1\tone\t_\tX\t_\t_\t0\troot\t_\t_\n",
        "seq.in": "\none\n",
        "seq.out": "\nO\n",
        "label": "\nx\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    sources = {"a.txt": lines(tmp_path / "a.txt", fractions=None), "a.jsonl": jsonl(tmp_path / "a.jsonl", fractions=None)}
    sources |= {"a.conllu": conllu(tmp_path / "a.conllu", fractions=None), "seq.in": triples(tmp_path, fractions=None)}
    for name, source in sources.items():
        assert [example.place for example in source.examples()] == [f"{tmp_path / name}, line 2"]


@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "socket"])
def test_what_never_ends_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for path in (kind, [kind], {"train": kind}):
            with pytest.raises(ValueError, match=f"Expected a file; got '{kind}', which is a"):
                FileSource(path, lambda file: iter(()), (), (), encoding="utf-8")
        with pytest.raises(ValueError, match=f"Expected a file; got '{kind}', which is a"):
            open_text(kind)
