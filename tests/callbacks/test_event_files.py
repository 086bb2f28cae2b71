import numpy as np
import pytest

from mtl.callbacks.event_files import event_files, foreign_projector, remove_logs, suffix_of
from mtl.callbacks.projector import write_projector


def touch(folder, *names):
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return paths


def test_event_files_of_a_training(tmp_path):
    first, second = (f"events.out.tfevents.1.host.2.0{suffix_of(training)}" for training in ("0123abcd", "9876fedc"))
    mine = touch(tmp_path, f"train/{first}", f"train/{second}", f"validation/{first}")
    touch(tmp_path, f"test/{first}", "train/events.out.tfevents.1.host.2.0.v2", "train/notes.mtl-0123abcd", f"train/{first}.bak")
    assert event_files(tmp_path) == mine
    assert event_files(tmp_path, "0123abcd") == [mine[0], mine[2]]
    assert event_files(tmp_path / "none") == []


def test_only_what_mtl_wrote_is_removed(tmp_path):
    event = f"events.out.tfevents.1.host.2.0{suffix_of('0123abcd')}"
    touch(tmp_path / "all", f"train/{event}", f"validation/{event}")
    write_projector(tmp_path / "all" / "validation", {"pooled": np.eye(2)}, {"text": ["a", "b"]})
    remove_logs(tmp_path / "all")
    assert not (tmp_path / "all").exists()

    others = touch(tmp_path / "some", "app.log", "train/events.out.tfevents.1.host.2.0.v2", "validation/projector/mine.tsv")
    write_to = tmp_path / "some" / "validation"
    with pytest.raises(FileExistsError, match="place of '.*projector', which mtl did not write. Move it away"):
        write_projector(write_to, {"pooled": np.eye(2)}, {"text": ["a", "b"]})
    others[-1].unlink()
    write_projector(write_to, {"pooled": np.eye(2)}, {"text": ["a", "b"]})
    touch(tmp_path / "some", f"train/{event}", "validation/projector/mine.tsv")
    remove_logs(tmp_path / "some")
    assert sorted(path for path in (tmp_path / "some").rglob("*") if path.is_file()) == sorted(others)
    remove_logs(tmp_path / "none")


@pytest.mark.parametrize("content", [b"embeddings { }\n", b"\xff"])
def test_another_projector_stays(tmp_path, content):
    (tmp_path / "projector_config.pbtxt").write_bytes(content)
    assert foreign_projector(tmp_path) == tmp_path / "projector_config.pbtxt"
    with pytest.raises(FileExistsError, match="projector_config.pbtxt', which mtl did not write"):
        write_projector(tmp_path, {"pooled": np.eye(2)}, {"text": ["a", "b"]})
    remove_logs(tmp_path)
    assert (tmp_path / "projector_config.pbtxt").read_bytes() == content
