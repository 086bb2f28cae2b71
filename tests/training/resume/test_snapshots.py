import os

import numpy as np
import pytest

from mtl.training.resume.snapshots import newest, write

ARRAYS = {"weight": np.arange(6, dtype="float32").reshape(2, 3), "flag": np.asarray(True)}


def last(folder):
    found, _ = newest(folder)
    assert found is not None
    return found


def test_what_is_written_comes_back(tmp_path):
    folder = tmp_path / "new" / "folder"
    write(folder, "step-1", ARRAYS, {"epoch": 1, "losses": [0.1, float("inf")]}, keep=3)
    found, torn = last(folder), newest(folder)[1]
    assert (found.name, found.state, torn) == ("step-1", {"epoch": 1, "losses": [0.1, float("inf")]}, [])
    assert found.arrays.keys() == ARRAYS.keys()
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(found.arrays[name], value, strict=True)


def test_the_last_ones_stay(tmp_path):
    for i in range(4):
        write(tmp_path, f"step-{i}", ARRAYS, {"i": i}, keep=2)
    assert sorted(os.listdir(tmp_path)) == ["step-2", "step-3"]


def test_other_folders_are_somebodys_own(tmp_path):
    (tmp_path / "zoo").mkdir()
    for i in range(3):
        write(tmp_path, f"step-{i}", ARRAYS, {"i": i}, keep=1)
    found, torn = newest(tmp_path)
    assert found and (found.state, torn, sorted(os.listdir(tmp_path))) == ({"i": 2}, [], ["step-2", "zoo"])
    assert newest(tmp_path / "none") == (None, [])


@pytest.mark.parametrize("file", ["arrays.npz", "state.json", "sha256"])
@pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
def test_a_torn_one_is_left_out(tmp_path, file, harm):
    for i in range(2):
        write(tmp_path, f"step-{i}", ARRAYS, {"i": i}, keep=2)
    path = tmp_path / "step-1" / file
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if harm == "cut" else bytes([content[0] ^ 1]) + content[1:])
    found, torn = last(tmp_path), newest(tmp_path)[1]
    assert (found.state, torn) == ({"i": 0}, ["step-1"])


def test_no_code_is_loaded(tmp_path):
    """An array of objects is pickled by NumPy, and loading one would run what it says."""
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write(tmp_path, "step-0", {"evil": np.array([print], dtype=object)}, {}, keep=1)
    assert newest(tmp_path) == (None, [])


def test_a_full_disk_leaves_the_last_one(tmp_path, monkeypatch):
    write(tmp_path, "step-0", ARRAYS, {"i": 0}, keep=1)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match=r"Could not write a checkpoint to '.*': No space left on device. The last one, '.*step-0'"):
        write(tmp_path, "step-1", ARRAYS, {"i": 1}, keep=1)
    assert os.listdir(tmp_path) == ["step-0"] and last(tmp_path).state == {"i": 0}


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Could not write a checkpoint .* There is none before it"):
        write(tmp_path / "file", "step-0", ARRAYS, {}, keep=1)
