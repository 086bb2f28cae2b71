"""Figures kept in a file while a long benchmark runs, so that it goes on where it was stopped."""

import json
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Records", "machine"]

Figures = dict[str, Any]


class Records:
    """A file of JSON lines, each a setting and its figures.

    Args:
        file: the file, which need not exist yet; None to keep nothing.

    Raises:
        ValueError: a line of the file is not such a record.
    """

    def __init__(self, file: Path | None):
        self.file = file
        self.found: dict[str, Figures] = {}
        lines = file.read_text("utf-8").splitlines() if file is not None and file.exists() else []
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                self.found[_key(record["setting"])] = record["figures"]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{file}, line {number}: expected a setting and its figures; delete the line.") from error

    def get(self, setting: Mapping[str, Any], measure: Callable[[], Figures]) -> Figures:
        """The figures of a setting: those in the file, or else what `measure` gives, which is then written there."""
        key = _key(setting)
        if key not in self.found:
            self.found[key] = measure()
            if self.file is not None:
                with self.file.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps({"setting": dict(setting), "figures": self.found[key]}) + "\n")
        return self.found[key]


def _key(setting: Mapping[str, Any]) -> str:
    return json.dumps(setting, sort_keys=True)


def machine() -> Figures:
    """What the figures were taken on."""
    return {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "processor": platform.processor() or platform.machine()}
