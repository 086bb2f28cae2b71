"""Consoles and tables that escape control characters, so that data cannot control the terminal."""

from typing import Any

import rich.console
import rich.table

from mtl.utils import printable

__all__ = ["Console", "Table"]


class Console(rich.console.Console):
    """A console that writes control characters as escapes, in texts and in tables."""

    def render_str(self, text: str, **options: Any) -> Any:
        return super().render_str(printable(text), **options)


class Table(rich.table.Table):
    """A table whose title, columns and cells have their control characters written as escapes, on any console."""

    def __init__(self, *headers: Any, title: str | None = None, **options: Any):
        super().__init__(*headers, title=None if title is None else printable(title), **options)

    def add_column(self, header: Any = "", *others: Any, **options: Any) -> None:
        super().add_column(printable(header) if isinstance(header, str) else header, *others, **options)

    def add_row(self, *cells: Any, **options: Any) -> None:
        super().add_row(*(printable(cell) if isinstance(cell, str) else cell for cell in cells), **options)
