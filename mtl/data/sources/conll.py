"""Columns of words and tags, with a blank line between sentences."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mtl.data.example import Example
from mtl.data.source import Source
from mtl.data.sources.files import FileSource, Paths, blocks, undecodable
from mtl.data.sources.rows import FRACTIONS, Malformed, Row, shown

__all__ = ["conll"]


def conll(
    path: Paths,
    columns: Mapping[str, int] | Sequence[str | None] | None = None,
    *,
    word: int = 0,
    separator: str | None = None,
    comments: str | None = None,
    encoding: str = "utf-8",
    fractions: Mapping[str, float] | None = FRACTIONS,
    seed: int = 0,
    on_error: str = "raise",
) -> Source:
    r"""Tagged sentences: a word and its tags a line, a blank line after each sentence. `-DOCSTART-` lines are left out.

    Args:
        path: a file (gzip or not), a list or glob of files, a dict from split to file(s), or a folder that holds files named
            after splits.
        columns: label name -> column, as in `{"pos": 1, "ner": 3}`; or the names of all columns in order, None for one that is
            not wanted. Columns count from 0, or with negative numbers from the end. None: the last column, as "tags".
        word: the column of the words.
        separator: what stands between two columns. None: runs of spaces and tabs.
        comments: lines that begin so are left out, such as "#". None: no line is, since "#" is a word in many corpora; a comment
            with as many columns as the other lines is then read as a word.
        encoding: of files without a byte order mark.
        fractions: split -> share of the texts, where `path` says nothing of splits. None: all are "train".
        seed: another seed is another split.
        on_error: "raise" at a malformed sentence, or "skip" it and count it in `source.skipped`.

    Returns:
        A source; its labels are lists with one tag a word. A sentence without a single tag in a column is not labelled there.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: while reading, a sentence is malformed.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "sentences.txt")
    ...     _ = path.write_text("in IN O\nRome NNP B-LOC\n\n")
    ...     source = conll(path, {"pos": 1, "ner": 2}, fractions=None)
    ...     [(example.text, example.labels) for example in source.examples("train")]
    [('in Rome', {'pos': ['IN', 'NNP'], 'ner': ['O', 'B-LOC']})]
    """
    if columns is None:
        columns = {"tags": -1}
    elif not isinstance(columns, Mapping):
        columns = {name: column for column, name in enumerate(columns) if name is not None and column != word}
    if word < 0 or word in columns.values():
        raise ValueError(
            f"Expected a column of words apart from the columns of labels, got word={word} and {dict(columns)}; "
            "give the words' column, counted from 0."
        )
    labels = dict(columns)
    left_out = ("-DOCSTART-", comments) if comments else ("-DOCSTART-",)
    needed = 1 + max([word, *(column if column >= 0 else -column for column in labels.values())])

    def parse(file: Path) -> Iterator[Row]:
        first: tuple[int, int, str] | None = None  # The number of the file's first line, its number of columns, and the line.

        def sentence(lines: list[tuple[int, str]]) -> Row:
            nonlocal first
            rows: list[list[str]] = []
            for number, line in lines:
                place = f"{file}, line {number}"
                cells = line.split(separator) if separator else re.split("[ \t]+", line.strip(" \t"))
                if problem := undecodable(file, number, line, encoding):
                    return problem
                if len(cells) < needed:
                    expected = f"{needed} columns or more (words {word}, labels {labels})"
                    return _wrong_columns(f"{place}: expected {expected}, got {len(cells)}", lines[0][1])
                first = first or (number, len(cells), line)
                if len(cells) != first[1]:
                    expected = f"{first[1]} columns as on line {first[0]}"
                    return _wrong_columns(f"{place}: expected {expected}, got {len(cells)}", lines[0][1], first[2])
                if not cells[word]:
                    return Malformed(f"{place}: expected a word in column {word}, got nothing")
                rows.append(cells)
            tags = {name: [cells[column] for cells in rows] for name, column in labels.items()}
            labelled = {name: values for name, values in tags.items() if any(values)}
            return Example.from_words([cells[word] for cells in rows], None, labelled, f"{file}, line {lines[0][0]}")

        for block in blocks(file, encoding):
            if lines := [(number, line) for number, line in block if not line.startswith(left_out)]:
                yield sentence(lines)

    return FileSource(
        path, parse, labels, ("conll", list(labels.items()), word, separator, comments),
        encoding=encoding, fractions=fractions, seed=seed, on_error=on_error,
    )  # fmt: skip


def _wrong_columns(problem: str, *starts: str) -> Malformed:
    """The problem, with a remedy of its own where the sentence or the file starts with what may be a comment."""
    for line in starts:
        if line.startswith("# "):
            return Malformed(problem, f"give comments='#' if {shown(line, 40)} is a comment")
    return Malformed(problem)
