import os

import numpy as np
import pytest

from mtl.training.resume.snapshots import ARRAYS as ARRAYS_FILE
from mtl.training.resume.snapshots import STATE, SUM, _sum, last_name, name_of, newest, remove_all, write

ARRAYS = {"weight": np.arange(6, dtype="float32").reshape(2, 3), "flag": np.asarray(True)}

STEP = [name_of(0, step) for step in range(4)]


def last(folder):
    found, _ = newest(folder)
    assert found is not None
    return found


def test_what_is_written_comes_back(tmp_path):
    folder = tmp_path / "new" / "folder"
    write(folder, STEP[1], ARRAYS, {"epoch": 1, "losses": [0.1, float("inf")]}, keep=3)
    found, torn = last(folder), newest(folder)[1]
    assert (found.name, found.state, torn) == (STEP[1], {"epoch": 1, "losses": [0.1, float("inf")]}, [])
    assert found.arrays.keys() == ARRAYS.keys()
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(found.arrays[name], value, strict=True)


def test_as_many_stay_as_are_to(tmp_path):
    for i in range(3):
        write(tmp_path, STEP[i], ARRAYS, {"i": i}, keep=9)
    assert sorted(os.listdir(tmp_path)) == STEP[:3]
    remove_all(tmp_path, keep=1)
    assert last_name(tmp_path) == STEP[2] and os.listdir(tmp_path) == [STEP[2]]


def test_the_last_ones_stay(tmp_path):
    for i in range(4):
        write(tmp_path, STEP[i], ARRAYS, {"i": i}, keep=2)
    assert sorted(os.listdir(tmp_path)) == [STEP[2], STEP[3]]


def test_other_folders_are_somebodys_own(tmp_path):
    (tmp_path / "zoo").mkdir()
    for i in range(3):
        write(tmp_path, STEP[i], ARRAYS, {"i": i}, keep=1)
    found, torn = newest(tmp_path)
    assert found and (found.state, torn, sorted(os.listdir(tmp_path))) == ({"i": 2}, [], [STEP[2], "zoo"])
    assert newest(tmp_path / "none") == (None, [])


@pytest.mark.parametrize("file", ["arrays.npz", "state.json", SUM])
@pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
def test_a_torn_one_is_left_out(tmp_path, file, harm):
    for i in range(2):
        write(tmp_path, STEP[i], ARRAYS, {"i": i}, keep=2)
    path = tmp_path / STEP[1] / file
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if harm == "cut" else bytes([content[0] ^ 1]) + content[1:])
    found, torn = last(tmp_path), newest(tmp_path)[1]
    assert (found.state, torn) == ({"i": 0}, [STEP[1]])


def test_no_code_is_loaded(tmp_path):
    """An array of objects is pickled by NumPy, and loading one would run what it says."""
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write(tmp_path, STEP[0], {"evil": np.array([print], dtype=object)}, {}, keep=1)
    assert newest(tmp_path) == (None, [])


def test_a_full_disk_leaves_the_last_one(tmp_path, monkeypatch):
    write(tmp_path, STEP[0], ARRAYS, {"i": 0}, keep=1)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(
        OSError, match=r"Could not write a checkpoint to '.*': No space left on device. The last one, '.*00000000'"
    ):
        write(tmp_path, STEP[1], ARRAYS, {"i": 1}, keep=1)
    assert os.listdir(tmp_path) == [STEP[0]] and last(tmp_path).state == {"i": 0}


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Could not write a checkpoint .* There is none before it"):
        write(tmp_path / "file", STEP[0], ARRAYS, {}, keep=1)


def test_only_snapshots_are_read_and_removed(tmp_path):
    """Exact names with the mark; names that look like them, and their own files beside a snapshot's, stay."""
    others = ["zz-step-precious", "epoch-000009-step-precious", "epoch-9-step-1", "my-epoch-000009-step-00000001"]
    for name in others:
        (tmp_path / name).mkdir()
        (tmp_path / name / SUM).write_text("mine")
    (tmp_path / name_of(9, 1)).mkdir()
    (tmp_path / name_of(9, 1) / "notes.txt").write_text("mine")
    (tmp_path / name_of(8, 1)).write_text("a file")
    for i in range(3):
        write(tmp_path, STEP[i], ARRAYS, {"i": i}, keep=1)
        (tmp_path / STEP[i] / "notes.txt").write_text("mine")
    found, torn = newest(tmp_path)
    assert found and (found.state, torn) == ({"i": 2}, [])
    remove_all(tmp_path)
    assert newest(tmp_path)[0] is None
    assert all((tmp_path / name / SUM).read_text() == "mine" for name in others)
    assert all((tmp_path / name / "notes.txt").read_text() == "mine" for name in [*STEP[:3], name_of(9, 1)])
    assert (tmp_path / name_of(8, 1)).read_text() == "a file"


def test_a_folder_that_has_a_snapshots_name_stays(tmp_path):
    (tmp_path / STEP[0]).mkdir()
    (tmp_path / STEP[0] / "notes.txt").write_text("mine")
    with pytest.raises(OSError, match="Could not write a checkpoint .*: Directory not empty"):
        write(tmp_path, STEP[0], ARRAYS, {}, keep=1)
    assert (tmp_path / STEP[0] / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (ARRAYS_FILE, b"no archive"),
        (ARRAYS_FILE, b"PK\x03\x04 and no more"),
        (STATE, b"[" * 100_000),
        (STATE, b"\xff"),
        (STATE, b""),
    ],
    ids=["text", "cut", "deep", "bytes", "empty"],
)
def test_a_valid_sum_of_broken_content(tmp_path, file, content):
    for i in range(2):
        write(tmp_path, STEP[i], ARRAYS, {"i": i}, keep=2)
    (tmp_path / STEP[1] / file).write_bytes(content)
    (tmp_path / STEP[1] / SUM).write_text(_sum(tmp_path / STEP[1]))
    assert last(tmp_path).state == {"i": 0} and newest(tmp_path)[1] == [STEP[1]]


def test_what_a_check_refuses_is_passed_over(tmp_path):
    for i in range(2):
        write(tmp_path, STEP[i], ARRAYS, {"i": i}, keep=2)

    def check(snapshot):
        if snapshot.state["i"]:
            raise ValueError

    found, torn = newest(tmp_path, check)
    assert found and (found.name, torn) == (STEP[0], [STEP[1]])


def test_a_file_is_no_folder_of_checkpoints(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="Expected a folder of checkpoints; '.*file' is a file. Move it away"):
        newest(tmp_path / "file")
