import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import zipfile

import numpy as np
import pytest

from mtl.data import conll, conllu, csv, jsonl, lines, tsv
from mtl.data.sources.contents import check_text
from mtl.data.sources.files import open_text

TEXT = "text,mood\nso good,up\n"


def zipped(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for name in names:
            opened.writestr(name, TEXT)
    return file.getvalue()


def tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as opened:
        info = tarfile.TarInfo("a.csv")
        info.size = len(TEXT)
        opened.addfile(info, io.BytesIO(TEXT.encode()))
    return file.getvalue()


def array():
    file = io.BytesIO()
    np.save(file, np.arange(9))
    return file.getvalue()


def parquet():
    pyarrow = pytest.importorskip("pyarrow")
    file = io.BytesIO()
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table({"text": ["a"], "mood": ["up"]}), file)
    return file.getvalue()


FILES = {
    "an Excel file .*save it as CSV": lambda: zipped("[Content_Types].xml", "xl/workbook.xml"),
    "a Word file": lambda: zipped("word/document.xml"),
    "a zip archive of train.csv, test.csv; unpack it": lambda: zipped("train.csv", "test.csv"),
    "a Parquet file; read it with pandas and give mtl.data.records": parquet,
    "a tar archive": tar,
    "a bzip2 archive": lambda: bz2.compress(TEXT.encode()),
    "an xz archive": lambda: lzma.compress(TEXT.encode()),
    "a Python pickle": lambda: pickle.dumps([TEXT]),
    "a NumPy array": array,
    "a PDF file": lambda: b"%PDF-1.7\nabc\n",
    "an old Excel or Word file": lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
    "a pointer of Git LFS": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
    "a binary file": lambda: np.random.default_rng(0).bytes(3000),
    "UTF-16 text without a byte order mark; give encoding='utf-16-le'": lambda: TEXT.encode("utf-16-le"),
    "UTF-16 text without a byte order mark; give encoding='utf-16-be'": lambda: "text,mood\n旅行很好,好\n".encode("utf-16-be"),
    "UTF-32 text without a byte order mark; give encoding='utf-32-le'": lambda: TEXT.encode("utf-32-le"),
    "UTF-32 text without a byte order mark; give encoding='utf-32-be'": lambda: "a".encode("utf-32-be"),
    "UTF-16 text without a byte order mark; give encoding='utf-16-be'.*": lambda: "a".encode("utf-16-be"),
    "UTF-16 text without a byte order mark; give encoding='utf-16-le'.*": lambda: ("в Киеве,да\n" * 999).encode("utf-16-le"),
    "an empty zip archive": lambda: zipped(),
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", FILES)
def test_files_that_are_no_text(tmp_path, kind, pack):
    path = tmp_path / "data.csv"
    path.write_bytes(pack(FILES[kind]()))
    kind = "a zip archive|a file of arrays" if pack is gzip.compress and FILES[kind]()[:2] == b"PK" else kind
    with pytest.raises(ValueError, match=f"data.csv: expected utf-8 text, got ({kind}).*[.]"):
        open_text(path)


@pytest.mark.parametrize("source", [conll, conllu, csv, jsonl, lines, tsv])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_every_source_says_so(tmp_path, source, on_error):
    path = tmp_path / "data"
    path.write_bytes(zipped("xl/workbook.xml"))
    with pytest.raises(ValueError, match="data: expected utf-8 text, got an Excel file"):
        list(source(path, on_error=on_error).examples())


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("PAR1 is a text\n", "utf-8"),
        ("BZh is a name\n", "utf-8"),
        ("Obj", "utf-8"),
        ("我爱北京\n" * 400, "utf-8"),
        ("我爱北京\n", "gb18030"),
        ("a\x00b, a stray NUL in a long line of text\n", "utf-8"),
        ("a\x00 O\nb O\n", "utf-8"),
        ("x\x00,好\n", "utf-8"),
        ("x\x00,好\n", "gb18030"),
        (TEXT, "utf-16-le"),
        (TEXT, "utf_16"),
        (TEXT, "utf-32-be"),
        ("", "utf-8"),
    ],
)
def test_texts(tmp_path, text, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    check_text(path, path.read_bytes()[:4096], encoding)
    with open_text(path, encoding) as file:
        assert file.read() == text


def test_text_in_another_encoding_is_left_to_its_lines(tmp_path):
    check_text(tmp_path, "naïve\n".encode("cp1252"), "utf-8")


@pytest.mark.parametrize("place", [1, 3000])
@pytest.mark.parametrize(
    ("source", "line"), [(conll, "a O\n\n"), (csv, "a,b\n"), (jsonl, '{"text": "a"}\n'), (lines, "a\n"), (tsv, "a\tb\n")]
)
def test_a_line_with_a_nul_is_named(tmp_path, source, line, place):
    path = tmp_path / "data"
    path.write_text("text,mood\n" * (source is csv) + "text\tmood\n" * (source is tsv) + line * place + "\0" + line)
    with pytest.raises(ValueError, match="line [0-9]+: expected utf-8 text, got a NUL; remove it .*, or leave such records out"):
        list(source(path, fractions=None).examples())
    assert len(list(source(path, fractions=None, on_error="skip").examples())) == place


@pytest.mark.parametrize(
    ("content", "encoding", "found"),
    [
        (TEXT.encode(), "utf-16", "UTF-8 text; give encoding='utf-8'"),
        (TEXT.encode("utf-16-be"), "UTF16", "UTF-16 text without a byte order mark; give encoding='utf-16-be'"),
        (TEXT.encode("utf-16-be"), "utf-16-le", "UTF-16 text without a byte order mark; give encoding='utf-16-be'"),
        (TEXT.encode("utf-16-le"), "latin-1", "UTF-16 text without a byte order mark; give encoding='utf-16-le'"),
        (TEXT.encode("utf-16-le"), "utf_32", "UTF-16 text without a byte order mark; give encoding='utf-16-le'"),
    ],
)
def test_another_encoding_than_the_one_given(tmp_path, content, encoding, found):
    with pytest.raises(ValueError, match=f"got {found}"):
        check_text(tmp_path, content, encoding)
