import inspect
import json
import os
import shutil
import zlib
from typing import Any

import numpy as np
import pytest

import mtl
from mtl import Task
from mtl.data import Encoding, Example, Tokenizer, csv, records
from mtl.data.columns import WORD_MASK, row_values
from mtl.data.mixture.prepare import prepare
from mtl.heads import Classification, MaskedLM, MultiLabel, Regression, Tagging
from mtl.utils.atomic_write import locked
from tests.tiny import Bag


@pytest.fixture(scope="module")
def encoder():
    return Bag(30, tokenizer=Tokenizer.learn("character", ["abcdefghij"]))


def ids(encoder, text):
    return [encoder.tokenizer.id(letter) for letter in text]


def test_examples_are_read_at_random(encoder):
    rows: list[dict[str, Any]] = [
        {"text": ["ab", "c"], "tags": ["X", "Y"], "kinds": ["p", "q"]},
        {"text": ["d"], "tags": None, "kinds": ["q"]},
        {"text": ["e", "fgh"], "tags": ["Y", "X"], "kinds": None},
    ]
    source = records(rows, label=["tags", "kinds"], fractions=None)
    tasks = [
        Task("tags", Tagging(["X", "Y"], level="word", scheme=None), source),
        Task("kinds", MultiLabel(["p", "q"]), source),
    ]
    store = prepare(source, "train", tasks, encoder, None, None)
    assert len(store) == 3 and store.lengths.tolist() == [3, 1, 4] and store.truncated == 0
    assert store.labelled("tags").tolist() == [True, False, True]
    assert store.labelled("kinds").tolist() == [True, True, False]
    some = np.array([2, 0])
    padded = [[*ids(encoder, "efgh"), -7], [*ids(encoder, "abc"), -7, -7]]
    assert store.values("token_ids", some, {"tokens": 5}, -7).tolist() == padded
    assert store.values("token_ids", some, {"tokens": 2}).tolist() == [ids(encoder, "ef"), ids(encoder, "ab")]
    assert store.values("y.tags", some, {"tokens": 4}).tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]
    assert store.values("w.tags", np.array([1]), {"tokens": 2}).tolist() == [[0.0, 0.0]]
    assert store.values("y.kinds", np.array([1, 0, 2]), {}).tolist() == [[0, 1], [1, 1], [0, 0]]
    assert store.values("w.kinds", np.array([1, 0, 2]), {}).tolist() == [1, 1, 0]
    folder = store.folder
    del store
    assert not folder.exists()  # Nothing was to be kept.


def test_no_example_at_all(encoder):
    source = records({"train": [{"text": "a", "mood": "up"}], "test": []}, label="mood")
    store = prepare(source, "test", [Task("mood", Classification(["up", "down"]), source)], encoder, None, None)
    assert len(store) == 0 and store.values("token_ids", np.zeros(0, int), {"tokens": 3}).shape == (0, 3)


def test_word_tokens_of_words_are_marked():
    offsets = np.array([(-1, -1), (0, 3), (4, 6), (6, 8), (-1, -1)], np.int32)
    encoding = Encoding(np.zeros(5, np.int32), np.zeros(5, np.int32), offsets, "New York")
    assert row_values(WORD_MASK, Example("New York"), encoding, {}).tolist() == [0, 1, 1, 0, 0]
    assert row_values(WORD_MASK, Example("New York", words=((0, 8),)), encoding, {}).tolist() == [0, 1, 0, 0, 0]


def test_prepared_data_is_found_again_and_never_stale(encoder, tmp_path):
    file = tmp_path / "moods.csv"
    file.write_text("text,mood\nab,up\ncd,down\n")

    def stored(label_names=("up", "down"), max_length=None):
        source = mtl.data.csv(file, label="mood", fractions=None)
        task = Task("mood", Classification(list(label_names)), source)
        return prepare(source, "train", [task], encoder, max_length, tmp_path / "cache")

    first = stored()
    assert stored().folder == first.folder
    assert stored(("down", "up")).folder != first.folder
    assert stored(max_length=1).folder != first.folder and stored(max_length=1).truncated == 2
    file.write_text("text,mood\nab,up\ncd,down\nee,up\n")
    again = stored()
    assert again.folder != first.folder and len(again) == 3 and len(first) == 2
    assert not list((tmp_path / "cache").glob(".writing*"))


def test_settings_that_change_no_row_change_no_key(encoder, tmp_path):
    file = tmp_path / "moods.csv"
    file.write_text("text,mood,stars\nab,up,1\ncd,down,2\n")

    def folder(head, label="mood"):
        source = mtl.data.csv(file, label=label, fractions=None)
        return prepare(source, "train", [Task(label, head, source)], encoder, None, tmp_path / "cache").folder

    plain = folder(Classification(["up", "down"]))
    assert folder(Classification(["up", "down"], dropout=0.5, hidden=8, label_smoothing=0.1, focal=2.0)) == plain
    assert folder(Classification(["up", "down"], unknown="ignore")) != plain
    assert folder(Regression(mean=0.0, scale=1.0), "stars") == folder(Regression(mean=2.0, scale=3.0, dropout=0.5), "stars")
    assert folder(Regression(mean=0.0, scale=1.0, range=(0, 5)), "stars") != folder(Regression(mean=0.0, scale=1.0), "stars")

    class OfItsOwn(Classification):
        cache_key: Any = None

    assert folder(OfItsOwn(["up", "down"])) != folder(OfItsOwn(["up", "down"], dropout=0.5))


@pytest.mark.parametrize("head", [Classification, MultiLabel, Regression, Tagging, MaskedLM])
def test_heads_name_settings_that_they_have(head):
    assert set(head.cache_key) <= set(inspect.signature(head).parameters)


@pytest.mark.parametrize("name", ["token_ids.bin", "store.json"])
@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")], ids=["gone", "empty"])
def test_what_was_torn_is_made_anew(encoder, tmp_path, caplog, name, damage):
    (tmp_path / "moods.csv").write_text("text,mood\nab,up\ncd,down\n")
    source = csv(tmp_path / "moods.csv", label="mood", fractions=None)
    tasks = [Task("mood", Classification(["up", "down"]), source)]

    def ids_of_all():
        store = prepare(source, "train", tasks, encoder, None, tmp_path / "cache")
        return store.values("token_ids", np.arange(2), {"tokens": 2}).tolist()

    whole = ids_of_all()
    (folder,) = (tmp_path / "cache").iterdir()
    damage(folder / name)
    assert ids_of_all() == whole and "is damaged" in caplog.text
    caplog.clear()
    assert ids_of_all() == whole and not caplog.text


@pytest.mark.skipif(os.name != "posix", reason="this system does not lock folders")
def test_what_killed_processes_left_is_removed_once_it_is_old(encoder, tmp_path):
    """Whether the data is prepared or found again; what is in use stays, however old."""
    (tmp_path / "moods.csv").write_text("text,mood\nab,up\ncd,down\n")
    source = csv(tmp_path / "moods.csv", label="mood", fractions=None)
    tasks, cache = [Task("mood", Classification(["up", "down"]), source)], tmp_path / "cache"
    for _ in range(2):
        old, new, held = (cache / f".writing-{digit * 32}" for digit in "abc")
        for rest in (old, new, held):
            rest.mkdir(parents=True, exist_ok=True)
            (rest / "token_ids.bin").write_bytes(b"12")
        for rest in (old, held):
            os.utime(rest, (0, 0))
        with locked(held):
            prepare(source, "train", tasks, encoder, None, cache)
        assert (old.exists(), new.exists(), held.exists()) == (False, True, True)


def test_other_rows_have_another_digest(encoder):
    def digest(*moods):
        source = records([{"text": "ab", "mood": mood} for mood in moods], label="mood", fractions=None)
        return prepare(source, "train", [Task("mood", Classification(["up", "down"]), source)], encoder, None, None).digest

    assert digest("up", "down") == digest("up", "down") != digest("down", "up")


def test_a_failed_preparation_leaves_nothing(encoder, tmp_path):
    source = records([{"text": "a", "mood": "up"}, {"text": "b", "mood": "down"}], label="mood", fractions=None)
    source.fingerprint = "known"
    with pytest.raises(ValueError):
        prepare(source, "train", [Task("mood", Classification(["up", "flat"]), source)], encoder, None, tmp_path)
    assert list(tmp_path.iterdir()) == []


def altered(change):
    """Changes what `store.json` says."""

    def alter(folder):
        path = folder / "store.json"
        meta = json.loads(path.read_text())
        change(meta)
        path.write_text(json.dumps(meta))

    return alter


def poison(**changes):
    """Changes what `store.json` says of the token ids."""
    return altered(lambda meta: meta["columns"]["token_ids"].update(changes))


def meta(text):
    return lambda folder: (folder / "store.json").write_bytes(text)


def values(name, dtype, place, value):
    """Writes one value of a column, and the checksum that the column then has."""

    def change(folder):
        column = np.memmap(folder / f"{name}.bin", dtype, "r+")
        column[place] = value
        column.flush()
        altered(lambda meta: meta["columns"][name].update(crc32=zlib.crc32(column.tobytes())))(folder)

    return change


def flipped(name, place=0):
    """Changes one byte of a column to what may stand there as well."""

    def change(folder):
        content = bytearray((folder / f"{name}.bin").read_bytes())
        content[place] ^= 1
        (folder / f"{name}.bin").write_bytes(content)

    return change


def instead(make):
    """Puts something else where the folder was."""

    def change(folder):
        shutil.rmtree(folder)
        make(folder)

    return change


def pipe(folder):
    (folder / "token_ids.bin").unlink()
    os.mkfifo(folder / "token_ids.bin")


POISONS = {
    "objects": poison(dtype="|O"),
    "another type": poison(dtype="<f4"),
    "texts": poison(dtype="<U1"),
    "a record": poison(dtype="i4,i4"),
    "no type": poison(dtype=None),
    "a list as type": poison(dtype=["i4"]),
    "no width": poison(width=0),
    "a width below 0": poison(width=-1),
    "another width": poison(width=2),
    "NaN as size": poison(bytes=float("nan")),
    "a text as size": poison(bytes="8"),
    "a large size": poison(bytes=10**300),
    "a list": meta(b"[1]"),
    "null": meta(b"null"),
    "nothing": meta(b""),
    "no JSON": meta(b"\x00\xff"),
    "a deep list": meta(b"[" * 100_000),
    "a deep object": meta(b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "no columns": meta(b'{"truncated": 0}'),
    "columns as a list": meta(b'{"columns": ["token_ids"], "truncated": 0}'),
    "columns that are none": meta(b'{"columns": {"token_ids": 1}, "truncated": 0}'),
    "a path as column": meta(b'{"columns": {"../../secret": {"dtype": "|i1", "width": 1, "bytes": 1}}, "truncated": 0}'),
    "no lost labels": altered(lambda meta: meta.pop("lost")),
    "lost labels of another task": altered(lambda meta: meta.update(lost={"x": 0})),
    "lost labels below 0": altered(lambda meta: meta.update(lost={"mood": -1})),
    "a text as lost labels": altered(lambda meta: meta.update(lost={"mood": "1"})),
    "a large file": lambda folder: os.truncate(folder / "store.json", 2**40),
    "a length beyond": values("length.tokens", "int32", 0, 2**30),
    "a length below": values("length.tokens", "int32", 0, -1),
    "an id beyond": values("token_ids", "int32", 0, 2**30),
    "an id below": values("token_ids", "int32", 0, -1),
    "a weight that is NaN": values("w.mood", "float32", 0, np.nan),
    "an infinite weight": values("w.mood", "float32", 0, np.inf),
    "a weight below 0": values("w.mood", "float32", 0, -1),
    "another label": flipped("y.mood"),
    "another token": flipped("token_ids"),
    "a label for none": flipped("has.mood"),
    "no checksum": poison(crc32=None),
    "a text as checksum": poison(crc32="1"),
    "a pipe": pipe,
    "a file as folder": instead(lambda folder: folder.write_text("x")),
    "a link to nowhere": instead(lambda folder: folder.symlink_to("nowhere")),
    "a link to another folder": instead(lambda folder: folder.symlink_to(folder.parent)),
}


@pytest.mark.parametrize("kind", POISONS)
def test_what_was_poisoned_is_made_anew(encoder, tmp_path, caplog, kind):
    source = records([{"text": t, "mood": m} for t, m in (("ab", "up"), ("a", "down"))], label="mood", fractions=None)
    source.fingerprint = "known"
    cache = tmp_path / "cache"

    def stored():
        store = prepare(source, "train", [Task("mood", Classification(["up", "down"]), source)], encoder, None, cache)
        rows = np.arange(2)
        labels = [store.values(f"{kind}.mood", rows, {}).tolist() for kind in "yw"]
        return store.values("token_ids", rows, {"tokens": 2}).tolist(), labels

    whole = stored()
    (folder,) = cache.iterdir()
    POISONS[kind](folder)
    assert stored() == whole and "is damaged" in caplog.text and caplog.records[-1].getMessage().count("\n") == 0
    caplog.clear()
    assert stored() == whole and not caplog.text
    assert [entry.name for entry in cache.iterdir()] == [folder.name]


def test_a_cache_that_cannot_be_written_names_the_variable(encoder, tmp_path):
    source = records([{"text": "ab", "mood": "up"}], label="mood", fractions=None)
    source.fingerprint = "known"
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Could not write tokenized data to '.*': Not a directory. Set MTL_CACHE_DIR or cache_dir"):
        prepare(source, "train", [Task("mood", Classification(["up", "down"]), source)], encoder, None, tmp_path / "file" / "c")
