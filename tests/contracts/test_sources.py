"""What every source keeps. A new source joins with one row in `FILES` (it parses text files) or in `OTHERS`."""

import gzip
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtl.data import (
    Example,
    Source,
    conll,
    conllu,
    csv,
    from_dataset,
    huggingface,
    jsonl,
    lines,
    records,
    tfds,
    triples,
    tsv,
    unique,
)


@dataclass(frozen=True)
class Row:
    """One record: its words, the text that they make and where in it they stand, a class and a tag a word.

    Without `topic` and `tags` it is not labelled. `weight` is its importance as the source gives it.
    """

    words: tuple[str, ...]
    text: str
    spans: tuple[tuple[int, int], ...]
    topic: str = ""
    tags: tuple[str, ...] = ()
    weight: float | str = 1.0


ROWS = (
    Row(("I", "see", "Rome"), "I see Rome", ((0, 1), (2, 5), (6, 10)), "travel", ("O", "O", "B-place")),
    Row(("我", "爱", "北京"), "我爱北京", ((0, 1), (1, 2), (2, 4)), "旅行", ("O", "O", "B-地名")),
    Row(("naïve", "😀"), "naïve 😀", ((0, 5), (6, 7))),
)
MANY = tuple(Row((f"n{i:03}", "x"), f"n{i:03} x", ((0, 4), (5, 6)), "even", ("A", "B")) for i in range(200))


@dataclass(frozen=True)
class Case:
    """A source of text files.

    Args:
        source: the function.
        file: the name of the file that holds the rows.
        content: rows -> file name -> text. None among the rows stands for a malformed record.
        broken_at: rows before the malformed record -> the line (from 1) that the error names.
        example: row -> the example expected.
        options: further arguments of the function.
        broken_in: the file that the error names, where it is not `file`.
        folder: whether the function takes the folder of the file rather than the file.
        weight: what the argument `weight` is for the weights that `content` writes; None where there are none.
        weight_in: the file that the error of a weight names, where it is not `file`.
    """

    source: Callable[..., Source]
    file: str
    content: Callable[[Sequence[Row | None]], dict[str, str]]
    broken_at: Callable[[Sequence[Row]], int] | None
    example: Callable[[Row], Example]
    options: Mapping[str, Any] = field(default_factory=dict)
    broken_in: str = ""
    folder: bool = False
    weight: Any = None
    weight_in: str = ""

    def write(self, folder: Path, rows: Sequence[Row | None], encoding="utf-8", bom=b"", newline="\n", pack=lambda data: data):
        folder.mkdir(exist_ok=True, parents=True)
        for name, text in self.content(rows).items():
            (folder / name).write_bytes(pack(bom + text.replace("\n", newline).encode(encoding)))
        return folder if self.folder else folder / self.file

    def open(self, path: Any, **options: Any) -> Source:
        return self.source(path, **{**self.options, **options})


def text_example(name: str) -> Callable[[Row], Example]:
    return lambda row: Example(row.text, None, None, {name: row.topic} if row.topic else {})


def words_example(**labels: Callable[[Row], Any]) -> Callable[[Row], Example]:
    return lambda row: Example(row.text, None, row.spans, {k: value(row) for k, value in labels.items()} if row.tags else {})


def table(delimiter: str) -> Callable[[Sequence[Row | None]], dict[str, str]]:
    def content(rows):
        records = [
            ("topic", "other", "body"),
            *((row.topic, str(row.weight), row.text) if row else ("one", "two") for row in rows),
        ]
        return {"data.csv": "".join(delimiter.join(record) + "\n" for record in records)}

    return content


def json_lines(rows):
    return {
        "data.jsonl": "".join(
            json.dumps({"body": r.text, "topic": r.topic or None, "w": r.weight}) + "\n" if r else "{'a': 1}\n" for r in rows
        )
    }


def json_words(rows):
    return {
        "data.jsonl": "".join(
            json.dumps({"text": r.words, "tags": r.tags or "", "w": r.weight}, ensure_ascii=False) + "\n" for r in rows
        )
    }


def columns(rows):
    tagged = [zip(r.words, [str(r.weight)] * 9, r.tags or [""] * 9, strict=False) if r else [("word",)] for r in rows]
    return {"data.txt": "".join("".join("\t".join(cells) + "\n" for cells in sentence) + "\n" for sentence in tagged)}


def universal(rows):
    sentences = []
    for r in rows:
        words = [(w, t) for w, t in zip(r.words, r.tags or "_" * 9, strict=False)] if r else [("word", "X")]
        head = "0" if r and r.tags else "_" if r else "5"
        cells = [[str(i), w, "_", t, "_", "_", head, "_", "_", "_"] for i, (w, t) in enumerate(words, 1)]
        sentences.append(f"# weight = {r.weight if r else 1}\n" + "".join("\t".join(line) + "\n" for line in cells))
    return {"data.conllu": "\n".join(sentences)}


def parallel(rows):
    return {
        "seq.in": "".join(" ".join(r.words) + " \n" if r else "one two\n" for r in rows),
        "seq.out": "".join(" ".join(r.tags) + " \n" if r else "O\n" for r in rows),
        "label": "".join(f"{r.topic}\n" if r else "x\n" for r in rows),
        "weight": "".join(f"{r.weight}\n" if r else "1\n" for r in rows),
    }


def plain_lines(rows):
    return {"data.txt": "".join(f"{row.text}\n\n" for row in rows)}


FILES = {
    "csv": Case(
        csv,
        "data.csv",
        table(","),
        lambda before: len(before) + 2,
        text_example("topic"),
        {"text": "body", "label": "topic"},
        weight="other",
    ),
    "csv, by number": Case(
        csv,
        "data.csv",
        lambda rows: {"data.csv": table(";")(rows)["data.csv"].split("\n", 1)[1]},
        lambda before: len(before) + 1,
        text_example("kind"),
        {"text": 2, "label": {"kind": 0}, "header": False, "delimiter": ";"},
        weight=1,
    ),
    "tsv": Case(
        tsv,
        "data.csv",
        table("\t"),
        lambda before: len(before) + 2,
        text_example("topic"),
        {"text": "body", "label": "topic"},
        weight="other",
    ),
    "jsonl": Case(
        jsonl,
        "data.jsonl",
        json_lines,
        lambda before: len(before) + 1,
        text_example("topic"),
        {"text": "body", "label": ["topic"]},
        weight="w",
    ),
    "jsonl, words": Case(
        jsonl, "data.jsonl", json_words, None, words_example(tags=lambda r: list(r.tags)), {"label": "tags"}, weight="w"
    ),
    "conll": Case(
        conll,
        "data.txt",
        columns,
        lambda before: sum(len(row.words) + 1 for row in before) + 1,
        words_example(ner=lambda r: list(r.tags)),
        {"columns": ["word", None, "ner"], "separator": "\t"},
        weight=1,
    ),
    "conllu": Case(
        conllu,
        "data.conllu",
        universal,
        lambda before: sum(len(row.words) + 2 for row in before) + 2,
        words_example(upos=lambda r: list(r.tags), head=lambda r: [0] * len(r.words)),
        {"labels": ("upos", "head")},
        weight="weight",
    ),
    "triples": Case(
        triples,
        "seq.in",
        parallel,
        lambda before: len(before) + 1,
        words_example(intent=lambda r: r.topic, slots=lambda r: list(r.tags)),
        broken_in="seq.out",
        folder=True,
        weight="weight",
        weight_in="weight",
    ),
    "lines": Case(
        lines,
        "data.txt",
        plain_lines,
        None,
        lambda row: Example(row.text),
    ),
}
BREAKABLE = [name for name, case in FILES.items() if case.broken_at]


def weights(rows):
    return [row.weight if row else 1.0 for row in rows]


def dicts(rows):
    return [
        {"text": row.text if row else b"\xff", "topic": (row and row.topic) or None, "w": row.weight if row else 1.0}
        for row in rows
    ]


def open_records(folder, rows, **options):
    data = {split: dicts(part) for split, part in rows.items()} if isinstance(rows, dict) else dicts(rows)
    return records(data, label="topic", **options)


def open_dataset(folder, rows, **options):
    import tensorflow as tf

    def dataset(part):
        return tf.data.Dataset.from_tensor_slices(
            {
                "text": [row.text if row else b"\xff" for row in part],
                "topic": [row.topic if row else "" for row in part],
                "w": weights(part),
            }
        )

    data = {split: dataset(part) for split, part in rows.items()} if isinstance(rows, dict) else dataset(rows)
    return from_dataset(data, label="topic", **options)


NAMES = ["travel", "旅行", "even"]


def open_huggingface(folder, rows, **options):
    import datasets

    def dataset(part):
        kind = datasets.Value("string" if isinstance(part[0] and part[0].weight, str) else "float64")
        features = datasets.Features({"text": datasets.Value("string"), "topic": datasets.ClassLabel(names=NAMES), "w": kind})
        numbers = [NAMES.index(row.topic) if row and row.topic else -1 for row in part]
        return datasets.Dataset.from_dict(
            {"text": [row and row.text for row in part], "topic": numbers, "w": weights(part)}, features=features
        )

    datasets.disable_progress_bars()
    data = datasets.DatasetDict({s: dataset(part) for s, part in rows.items()}) if isinstance(rows, dict) else dataset(rows)
    data.save_to_disk(str(folder / "saved"))
    return huggingface(folder / "saved", label="topic", **options)


def open_tfds(folder, rows, **options):
    import tensorflow_datasets

    texts = any(isinstance(row and row.weight, str) for row in (rows["train"] if isinstance(rows, dict) else rows))
    features = tensorflow_datasets.features.FeaturesDict(
        {
            "text": tensorflow_datasets.features.Text(),
            "topic": tensorflow_datasets.features.ClassLabel(names=NAMES),
            "w": tensorflow_datasets.features.Text() if texts else tensorflow_datasets.features.Scalar(np.float64),
        }
    )

    def data(part):
        for index, row in enumerate(part):
            yield (
                index,
                {
                    "text": row.text if row else b"\xff",
                    "topic": row.topic if row and row.topic else -1,
                    "w": row.weight if row else 1.0,
                },
            )

    tensorflow_datasets.disable_progress_bar()
    tensorflow_datasets.dataset_builders.store_as_tfds_dataset(
        "tiny",
        version="1.0.0",
        features=features,
        split_datasets={split: data(part) for split, part in (rows if isinstance(rows, dict) else {"train": rows}).items()},
        data_dir=folder,
        disable_shuffling=True,
    )
    return tfds("tiny", label="topic", data_dir=folder, **options)


def open_unique(folder, rows, **options):
    return unique(open_records(folder, rows, **options))


#: Name -> `(folder, rows or split -> rows, **options)` -> source; None among the rows stands for a malformed record.
OTHERS: dict[str, Callable[..., Source]] = {
    "records": open_records,
    "from_dataset": open_dataset,
    "huggingface": open_huggingface,
    "tfds": open_tfds,
    "unique": open_unique,
}
CUT = [name for name in OTHERS if name != "tfds"]


def open_source(name: str, folder: Path, rows: Any, **options: Any) -> Source:
    if name in OTHERS:
        return OTHERS[name](folder, rows, **options)
    case = FILES[name]
    if isinstance(rows, dict):
        return case.open({split: case.write(folder / split, part) for split, part in rows.items()}, **options)
    return case.open(case.write(folder, rows), **options)


def expected(name: str, rows: Sequence[Row]) -> list[Example]:
    example = FILES[name].example if name in FILES else text_example("topic")
    return [example(row) for row in rows]


@pytest.mark.parametrize("name", [*FILES, *OTHERS])
def test_reads_what_was_written_again_and_again(name, tmp_path):
    source = open_source(name, tmp_path, {"train": ROWS, "test": ROWS[:1]})
    assert source.splits == ("train", "test")
    for _ in range(2):
        assert list(source.examples("train")) == expected(name, ROWS)
        assert list(source.examples("test")) == expected(name, ROWS[:1])
    assert {label for example in source.examples() for label in example.labels} == set(source.labels)
    assert source.skipped == {"train": 0, "test": 0}


@pytest.mark.parametrize("name", [*FILES, *CUT])
def test_cuts_one_stream_into_disjoint_splits(name, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    source = open_source(name, tmp_path / "a", MANY)
    parts = {split: [example.text for example in source.examples(split)] for split in source.splits}
    assert list(parts) == ["train", "validation", "test"]
    assert sorted(text for part in parts.values() for text in part) == [row.text for row in MANY]
    # Shares of 0.8, 0.1 and 0.1 of 200 texts, give or take four standard deviations (5.7 and 4.2).
    assert 137 <= len(parts["train"]) <= 183 and 3 <= len(parts["validation"]) <= 37 and 3 <= len(parts["test"]) <= 37
    assert {split: [example.text for example in source.examples(split)] for split in source.splits} == parts
    other = open_source(name, tmp_path / "b", MANY, seed=1, fractions={"train": 0.8, "test": 0.2})
    assert other.splits == ("train", "test")
    assert not set(parts["test"]) <= {example.text for example in other.examples("test")}


@pytest.mark.parametrize("name", [*FILES, *CUT])
def test_keeps_one_stream_whole(name, tmp_path):
    source = open_source(name, tmp_path, ROWS, fractions=None)
    assert source.splits == ("train",)
    assert list(source.examples()) == expected(name, ROWS)


@pytest.mark.parametrize("name", [*BREAKABLE, *OTHERS])
def test_a_malformed_record_raises_where_it_stands(name, tmp_path):
    source = open_source(name, tmp_path, {"train": [*ROWS[:2], None, ROWS[2]]})
    examples = source.examples()
    assert list(islice(examples, 2)) == expected(name, ROWS[:2])
    with pytest.raises(ValueError, match="expected .*, got .*; .*on_error='skip'") as raised:
        next(examples)
    if name in OTHERS:
        assert "item 3: " in str(raised.value)
    else:
        case = FILES[name]
        file = tmp_path / "train" / (case.broken_in or case.file)
        assert case.broken_at
        assert str(raised.value).startswith(f"{file}, line {case.broken_at(ROWS[:2])}: ")


@pytest.mark.parametrize("name", [*BREAKABLE, *OTHERS])
def test_a_malformed_record_is_skipped_and_counted(name, tmp_path, caplog):
    source = open_source(name, tmp_path, {"train": [ROWS[0], None, *ROWS[1:], None], "test": ROWS}, on_error="skip")
    with caplog.at_level(logging.WARNING, "mtl"):
        for passes in (1, 2):
            assert list(source.examples("train")) == expected(name, ROWS)
            assert source.skipped["train"] == 2
            messages = [record.getMessage() for record in caplog.records if record.name.startswith("mtl.")]
            assert len(messages) == passes and "left out 2 malformed records of 'train'" in messages[-1]
        assert list(source.examples("test")) == expected(name, ROWS)
    assert source.skipped == {"train": 2, "test": 0}
    assert [record.name for record in caplog.records if record.name.startswith("mtl.")] == ["mtl.data.sources.rows"] * 2


@pytest.mark.parametrize("name", [*BREAKABLE, *OTHERS])
def test_records_that_are_all_malformed_raise_even_where_they_are_skipped(name, tmp_path):
    source = open_source(name, tmp_path, {"train": [None, None], "test": ROWS}, on_error="skip")
    with pytest.raises(ValueError, match="expected .*, got "):
        list(source.examples())


WEIGHTED = [*(name for name, case in FILES.items() if case.weight is not None), *OTHERS]


@pytest.mark.parametrize("name", WEIGHTED)
def test_weights(name, tmp_path):
    rows = [replace(row, weight=weight) for row, weight in zip(ROWS, (0.25, 3.0, 0.0), strict=True)]
    option = FILES[name].weight if name in FILES else "w"
    examples = list(open_source(name, tmp_path, {"train": rows}, weight=option).examples())
    assert examples == [replace(each, weight=weight) for each, weight in zip(expected(name, ROWS), (0.25, 3.0, 0.0), strict=True)]


@pytest.mark.parametrize("bad", [-0.5, float("nan"), float("inf"), "heavy", ""])
@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_that_are_none(name, bad, tmp_path):
    good = "1" if isinstance(bad, str) else 1.0
    rows = [replace(ROWS[0], weight=good), replace(ROWS[1], weight=bad), replace(ROWS[2], weight=good)]
    option = FILES[name].weight if name in FILES else "w"
    source = open_source(name, tmp_path, {"train": rows}, weight=option)
    with pytest.raises(
        ValueError, match="expected a weight, a finite number from 0, got .*; mend the weight, or .*on_error="
    ) as raised:
        list(source.examples())
    if name in OTHERS:
        assert "item 2: " in str(raised.value)
    else:
        case = FILES[name]
        assert str(raised.value).startswith(f"{tmp_path / 'train' / (case.weight_in or case.file)}, line ")
    assert len(list(open_source(name, tmp_path / "again", {"train": rows}, weight=option, on_error="skip").examples())) == 2


@pytest.mark.parametrize("name", [name for name in WEIGHTED if name not in ("conll", "csv, by number")])
def test_a_weight_that_does_not_exist(name, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError)):
        list(open_source(name, tmp_path, {"train": ROWS}, weight="wait").examples())


@pytest.mark.parametrize("name", [*FILES, *OTHERS])
def test_options_that_do_not_exist(name, tmp_path):
    with pytest.raises(ValueError, match="Unknown on_error 'skp'; did you mean 'skip'"):
        open_source(name, tmp_path, {"train": ROWS}, on_error="skp")
    with pytest.raises(ValueError, match="Unknown split of source .* 'tain'; did you mean 'train'"):
        (tmp_path / "again").mkdir()
        open_source(name, tmp_path / "again", {"train": ROWS}).examples("tain")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "form",
    [
        {"pack": gzip.compress},
        {"bom": b"\xef\xbb\xbf"},
        {"encoding": "utf-16-le", "bom": b"\xff\xfe"},
        {"encoding": "utf-16-be", "bom": b"\xfe\xff", "pack": gzip.compress},
        {"newline": "\r\n"},
    ],
    ids=["gzip", "bom", "utf-16-le", "utf-16-be, gzip", "crlf"],
)
def test_forms_of_text_files(name, form, tmp_path):
    case = FILES[name]
    source = case.open(case.write(tmp_path, ROWS, **form), fractions=None)
    assert list(source.examples()) == expected(name, ROWS)


@pytest.mark.parametrize("name", FILES)
def test_files_are_read_as_they_are_needed(name, tmp_path):
    """Of a file that is cut off behind the first example, hardly more than that is ever seen."""
    case = FILES[name]
    rows = MANY * 50
    source = case.open(case.write(tmp_path, rows), fractions=None, on_error="skip")
    assert sum(1 for _ in source.examples()) == len(rows)
    examples = source.examples()
    next(examples)
    for file in tmp_path.iterdir():
        os.truncate(file, 0)
    assert sum(1 for _ in examples) < len(rows) / 4


@pytest.mark.parametrize("name", FILES)
def test_other_encodings(name, tmp_path):
    case = FILES[name]
    path = case.write(tmp_path, [ROWS[1]], encoding="gb18030")
    assert list(case.open(path, encoding="gb18030", fractions=None).examples()) == expected(name, [ROWS[1]])
    with pytest.raises(ValueError, match="Expected an encoding that Python knows, got 'gb18300'"):
        case.open(path, encoding="gb18300")


@pytest.mark.parametrize("name", [name for name in FILES if name != "jsonl"])  # Whose test file is plain ASCII.
def test_bytes_that_do_not_decode(name, tmp_path):
    case = FILES[name]
    path = case.write(tmp_path, [ROWS[0], ROWS[1]], encoding="gb18030")
    examples = case.open(path, fractions=None).examples()
    assert next(examples) == expected(name, ROWS)[0]
    with pytest.raises(
        ValueError, match=r", line \d+: expected utf-8 text, got the byte 0x[89a-f][0-9a-f]; .* encoding="
    ) as raised:
        next(examples)
    assert str(raised.value).startswith(str(tmp_path))
    source = case.open(path, fractions=None, on_error="skip")
    assert list(source.examples()) == expected(name, ROWS[:1]) and source.skipped == {"train": 1}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_does_not_exist(name, tmp_path):
    case = FILES[name]
    written = case.write(tmp_path / "written", ROWS)
    wrong = written.with_name(written.name[:-1])
    with pytest.raises(FileNotFoundError, match=f"did you mean '{written}'"):
        case.open(wrong)


@pytest.mark.parametrize("name", FILES)
def test_splits_by_the_names_in_a_folder(name, tmp_path):
    case = FILES[name]
    for folder, rows in {"train": ROWS, "dev": ROWS[:1], "test": ROWS[:2]}.items():
        path = case.write(tmp_path / folder, rows)
        if not case.folder:
            path.rename(tmp_path / f"my-{folder}{path.suffix}")
            (tmp_path / folder).rmdir()
    source = case.open(tmp_path)
    assert source.splits == ("train", "validation", "test")
    assert list(source.examples("validation")) == expected(name, ROWS[:1])
    assert list(source.examples("test")) == expected(name, ROWS[:2])


@pytest.mark.parametrize("name", FILES)
def test_the_fingerprint_follows_files_and_options(name, tmp_path):
    case = FILES[name]
    path = case.write(tmp_path, ROWS)
    before = case.open(path).fingerprint
    assert before and case.open(path).fingerprint == before
    assert case.open(path, seed=3).fingerprint != before
    assert case.open(path, fractions=None).fingerprint != before
    for file in tmp_path.iterdir():
        last = file
    last.write_text(last.read_text("utf-8") + "\n", "utf-8")
    assert case.open(path).fingerprint != before
