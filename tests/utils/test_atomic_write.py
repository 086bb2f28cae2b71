import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mtl.utils.atomic_write import atomic_write, locked, made_folder, remove_rests, working_folder

LONG_AGO = time.time() - 2 * 24 * 3600
posix = pytest.mark.skipif(os.name != "posix", reason="this system does not lock folders")


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_write(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old" and beside.suffix == ".txt"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OSError, match=r"Could not write '.*a.txt': No space left on device. What was there stays") as raised:
        with atomic_write(path) as beside:
            beside.write_text("ne")
            raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.errno == errno.ENOSPC
    with pytest.raises(KeyError), atomic_write(path) as beside:
        beside.write_text("ne")
        raise KeyError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_files_of_the_users_that_are_named_like_a_part_stay(tmp_path):
    (tmp_path / ".writing.a.txt").write_text("mine")
    with atomic_write(tmp_path / "a.txt") as beside:
        beside.write_text("new")
    assert (tmp_path / ".writing.a.txt").read_text() == "mine"


def rest(folder: Path, name: str = f".writing-{'0a' * 16}") -> Path:
    (folder / name).mkdir()
    (folder / name / "part").write_text("")
    os.utime(folder / name, (LONG_AGO, LONG_AGO))
    return folder / name


@posix
def test_old_rests_that_nobody_holds_are_removed(tmp_path):
    old, held = rest(tmp_path), rest(tmp_path, f".writing-{'1b' * 16}")
    others = [rest(tmp_path, name) for name in (".writing-mine", f".writing-{'0a' * 16}.txt", f"x.writing-{'0a' * 16}")]
    new = rest(tmp_path, f".writing-{'2c' * 16}")
    os.utime(new)
    (tmp_path / f".writing-{'3d' * 16}").symlink_to(others[0])
    with locked(held), working_folder(tmp_path):
        pass
    assert not old.exists()
    assert all(path.exists() for path in (held, new, *others)) and (others[0] / "part").exists()
    remove_rests(tmp_path / "none")


KILLED = """
import sys, time
from pathlib import Path
from mtl.utils.atomic_write import working_folder
with working_folder(Path(sys.argv[1])) as folder:
    (folder / "part").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@posix
def test_the_rest_of_a_living_process_stays_and_that_of_a_killed_one_goes(tmp_path):
    writer = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.getcwd()}
    )
    assert writer.stdout and writer.stdout.readline() == b"writing\n"
    (part,) = tmp_path.iterdir()
    os.utime(part, (LONG_AGO, LONG_AGO))
    remove_rests(tmp_path)
    assert (part / "part").exists()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    remove_rests(tmp_path)
    assert not part.exists()


def test_a_forked_process_removes_nothing_of_its_parent(tmp_path, monkeypatch):
    """What a fork copies is not its own: there `os.getpid()` is another."""
    with working_folder(tmp_path) as folder:
        monkeypatch.setattr("os.getpid", lambda: -1)
    assert folder.exists()


@posix
def test_a_lock_is_one_holders(tmp_path):
    with locked(tmp_path):
        with pytest.raises(BlockingIOError), locked(tmp_path):
            pass
    with locked(tmp_path) as certain:
        assert certain


def test_a_folder_that_cannot_be_made(tmp_path):
    assert made_folder(tmp_path / "a" / "b") == made_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="Could not make the folder '.*c': Not a directory. Name another that can be written"):
        made_folder(tmp_path / "file" / "c")
