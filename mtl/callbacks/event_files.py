"""Names of the files that a training writes for TensorBoard, by which it recognizes them."""

import contextlib
import re
from pathlib import Path

__all__ = ["event_files", "foreign_projector", "remove_logs", "suffix_of"]

#: The folders of one training, below its `log_dir`.
RUNS = ("train", "validation")
EVENT_FILE = re.compile(r"events\.out\.tfevents\..*\.mtl-[0-9a-f]{8}")
#: The first line of a projector's configuration that `mtl` wrote, and the files beside it.
PROJECTOR_MARK = "# Written by mtl."
PROJECTOR_CONFIG, PROJECTOR = "projector_config.pbtxt", "projector"


def suffix_of(training: str) -> str:
    """Return the suffix of the names of a training's event files.

    Args:
        training: eight hexadecimal digits.
    """
    return f".mtl-{training}"


def event_files(log_dir: Path, training: str | None = None) -> list[Path]:
    """Return the event files that a training wrote, or, by default, those that all trainings of `mtl` wrote there."""
    found = [path for run in RUNS for path in sorted((log_dir / run).glob("events.out.tfevents.*")) if path.is_file()]
    ending = "" if training is None else suffix_of(training)
    return [path for path in found if EVENT_FILE.fullmatch(path.name) and path.name.endswith(ending)]


def foreign_projector(folder: Path) -> Path | None:
    """Return a file with the name of a projector's file that `mtl` did not write; None if there is none."""
    config, files = folder / PROJECTOR_CONFIG, folder / PROJECTOR
    if config.exists():
        with contextlib.suppress(OSError, ValueError):
            if config.read_text("utf-8").startswith(PROJECTOR_MARK):
                return None
        return config
    return files if files.exists() and (not files.is_dir() or any(files.iterdir())) else None


def remove_logs(log_dir: Path) -> None:
    """Remove the files that trainings of `mtl` wrote for TensorBoard, and the folders that are then empty."""
    for path in event_files(log_dir):
        path.unlink()
    for run in (log_dir / name for name in RUNS):
        config = run / PROJECTOR_CONFIG
        if config.exists() and foreign_projector(run) is None:
            for name in re.findall(r'_path: "projector/(\w+\.tsv)"', config.read_text("utf-8")):
                (run / PROJECTOR / name).unlink(missing_ok=True)
            config.unlink()
        for folder in (run / PROJECTOR, run):
            with contextlib.suppress(OSError):  # It is not empty, or does not exist.
                folder.rmdir()
    with contextlib.suppress(OSError):
        log_dir.rmdir()
