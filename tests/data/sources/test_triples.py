import re

import pytest

from mtl.data import triples
from mtl.data.example import Example


def write(folder, words, slots, intents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"seq.in": words, "seq.out": slots, "label": intents}.items():
        (folder / name).write_text(text, "utf-8")
    return folder


def read(folder, **options):
    return list(triples(folder, **{"fractions": None, **options}).examples())


PLAY = Example("play jazz", None, ((0, 4), (5, 9)), {"intent": "Play", "slots": ["O", "B-genre"]})


def test_spaces_at_the_ends_of_lines(tmp_path):
    assert read(write(tmp_path, "play jazz \n", "O  B-genre\t\n", "Play \n\n")) == [PLAY]


def test_rows_without_labels(tmp_path):
    first, second = read(write(tmp_path, "play jazz\nstop\n", "\nO\n", "Play\n\n"))
    assert (first.labels, second.labels) == ({"intent": "Play"}, {"slots": ["O"]})


def test_a_folder_a_split(tmp_path):
    for name in ("train", "valid", "test"):
        write(tmp_path / "atis" / name, "play jazz\n", "O B-genre\n", "Play\n")
    source = triples(tmp_path / "atis")
    assert source.splits == ("train", "validation", "test") and source.name == "atis"
    assert list(source.examples("validation")) == [PLAY]
    assert triples({"train": tmp_path / "atis" / "test"}).splits == ("train",)
    assert triples(tmp_path / "atis" / "train").name == "train"
    write(tmp_path / "atis" / "dev", "", "", "")
    with pytest.raises(ValueError, match="Expected one folder a split in .*, got several for one; give a dict"):
        triples(tmp_path / "atis")


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (("a\nb c\n", "O\nO\n", "x\nx\n"), "seq.out, line 2: expected 2 tags, one a word, got 1"),
        (("a\n\n", "O\nO\n", "x\nx\n"), "seq.in, line 2: expected words, got an empty line"),
        (
            ("a\nb\n", "O\nO\n", "x\n"),
            "label, line 2: expected a line, since seq.in has one, got the file's end; give seq.in, seq.out",
        ),
        (("a\n", "O\nO\nO\n", "x\n"), "seq.in, line 2: expected a line, since seq.out has one, got the file's end"),
    ],
)
def test_malformed_records(tmp_path, files, problem):
    folder = write(tmp_path, *files)
    with pytest.raises(ValueError, match=re.escape(f"{folder}/{problem}")):
        read(folder)
    source = triples(folder, fractions=None, on_error="skip")
    assert [example.text for example in source.examples()] == ["a"]
    assert source.skipped == {"train": max(file.count("\n") for file in files) - 1}  # Each record that is lost is counted.


def test_files_that_do_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="Expected the files seq.in, seq.out, label in .*, got neither; give the folder"):
        triples(tmp_path)
    (write(tmp_path, "a\n", "O\n", "x\n") / "seq.out").rename(tmp_path / "seq.ot")
    with pytest.raises(FileNotFoundError, match="did you mean '.*seq.ot'"):
        triples(tmp_path)


def test_the_fingerprint_covers_all_files(tmp_path):
    folder = write(tmp_path, "a\n", "O\n", "x\n")
    before = triples(folder).fingerprint
    (folder / "label").write_text("other\n")
    assert triples(folder).fingerprint != before
