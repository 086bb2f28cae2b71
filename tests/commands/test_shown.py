import io

import pytest
import rich.console

from mtl.commands.shown import Console, Table


@pytest.mark.parametrize("kind", [Console, rich.console.Console])
def test_tables_write_what_steers_a_terminal_as_escapes(kind) -> None:
    file = io.StringIO()
    console = kind(file=file, width=100, force_terminal=False)
    table = Table(title="a\x1b[2J", show_header=True)
    table.add_column("b\x9b1m")
    table.add_column()
    table.add_row("北京\x07 \x1b]8;;http://x\x1b\\", "\u202eabc")
    console.print(table)
    shown = file.getvalue()
    assert r"a\x1b[2J" in shown and r"b\x9b1m" in shown and r"北京\x07 \x1b]8;;http://x\x1b" in shown and r"\u202eabc" in shown
    assert not set("\x1b\x07\x9b\u202e") & set(shown)


def test_a_console_writes_lines_so_too() -> None:
    file = io.StringIO()
    console = Console(file=file, width=100)
    console.print("[yellow]a\x1b[31m[/yellow] b\nc")
    assert file.getvalue() == "a\\x1b[31m b\nc\n"
