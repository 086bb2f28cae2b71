"""CoNLL files: columns of words and tags, with a blank line between sentences."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from mtl.data.example import Example
from mtl.data.source import Source
from mtl.data.sources.files import FileSource, Paths, blocks, undecodable
from mtl.data.sources.rows import FRACTIONS, Malformed, Row, peek, shown
from mtl.data.sources.weights import weight_of
from mtl.utils.arguments import checked
from mtl.utils.types import Size

__all__ = ["conll"]


@checked
def conll(
    path: Paths,
    columns: Mapping[str, int] | Sequence[str | None] | None = None,
    *,
    word: int = 0,
    weight: int | None = None,
    separator: str | None = None,
    comments: str | None = None,
    encoding: str = "utf-8",
    fractions: Mapping[str, float] | None = FRACTIONS,
    seed: Size = 0,
    on_error: str = "raise",
) -> Source:
    r"""Return a source of tagged sentences: one word with its tags per line, a blank line after each sentence.

    `-DOCSTART-` lines are left out.

    Args:
        path: a file (gzip-compressed or not), a list or glob of files, a dict from split to file(s), or a folder of files named
            after splits.
        columns: label name -> column, as in `{"pos": 1, "ner": 3}`; or the names of all columns in order, None for a column to
            ignore. Columns count from 0, or with negative numbers from the end. None: the last column, as "tags". Every line
            must have as many columns as are named in order, or else as most of the first thousand sentences have.
        word: column of the words.
        weight: column of the sentence's importance, the same on each of its lines; see `Example.weight`. None: weight 1.
        separator: separator of columns. None: runs of spaces and tabs.
        comments: prefix of lines to leave out, such as "#". None: no line is left out, since "#" is a word in many corpora; a
            line that looks like a comment is then an error: its tags occur on no other line of the file, and it begins a sentence
            with "#", "%", ";" or "//", or its word is "#". "": no line is left out, and none is an error.
        encoding: encoding of files without a byte order mark.
        fractions: split -> share of the texts, if `path` names no splits. None: all texts are in "train".
        seed: seed of the split; another seed gives another split.
        on_error: "raise" at a malformed sentence, or "skip" it and count it in `source.skipped`.

    Returns:
        A source; its labels are lists with one tag per word. A sentence without any tag in a column is unlabelled there.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a sentence is malformed (raised while reading).

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "sentences.txt")
    ...     _ = path.write_text("in IN O\nRome NNP B-LOC\n\n")
    ...     source = conll(path, {"pos": 1, "ner": 2}, fractions=None)
    ...     [(example.text, example.labels) for example in source.examples("train")]
    [('in Rome', {'pos': ['IN', 'NNP'], 'ner': ['O', 'B-LOC']})]
    """
    width: int | None = None
    if columns is None:
        columns = {"tags": -1}
    elif not isinstance(columns, Mapping):
        width = len(columns)
        columns = {name: column for column, name in enumerate(columns) if name is not None and column not in (word, weight)}
    if word < 0 or word in (*columns.values(), weight) or weight in columns.values():
        raise ValueError(
            f"Expected a column of words apart from the columns of labels, got word={word} and {dict(columns)}"
            + (f", weight={weight}" if weight is not None else "")
            + "; give the words' column, counted from 0."
        )
    layout = _Layout(dict(columns), word, weight, separator, width)
    left_out = ("-DOCSTART-", comments) if comments else ("-DOCSTART-",)

    def read(file: Path) -> Iterator[Lines]:
        return filter(None, ([line for line in block if not line[1].startswith(left_out)] for block in blocks(file, encoding)))

    def parse(file: Path) -> Iterator[Row]:
        head, sentences = peek(read(file))
        columns = layout.width_of(head)
        layout.check(file, columns)
        known = cache(lambda: layout.tags_of(read(file)))  # Read only if a line looks like a comment.
        for lines in sentences:
            yield layout.example(file, lines, columns, known if comments is None else None, encoding)

    arguments = ("conll", list(columns.items()), width, word, weight, separator, comments)
    return FileSource(
        path, parse, columns, arguments,
        encoding=encoding, fractions=fractions, seed=seed, on_error=on_error,
    )  # fmt: skip


Lines = Sequence[tuple[int, str]]
#: Prefixes of comments.
_SIGNS = ("#", "%", ";", "//")


class _Layout:
    """Assignment of columns to words and labels.

    Args:
        labels: label name -> column.
        word: column of the words.
        weight: column of the sentences' weights, or None.
        separator: separator of columns; None for runs of spaces and tabs.
        width: number of columns; None for the number that most sentences have.
    """

    def __init__(self, labels: Mapping[str, int], word: int, weight: int | None, separator: str | None, width: int | None):
        self.labels, self.word, self.weight, self.separator, self.width = labels, word, weight, separator, width
        wanted = [word, *labels.values(), *(() if weight is None else (weight,))]
        self.needed = 1 + max(column if column >= 0 else -column for column in wanted)

    def cells(self, line: str) -> list[str]:
        """Return the values of a line."""
        return line.split(self.separator) if self.separator else re.split("[ \t]+", line.strip(" \t"))

    def width_of(self, sentences: Sequence[Lines]) -> int:
        """Return the number of columns that most sentences have on all lines; ties go to `needed`, then to more lines."""
        if self.width is not None:
            return self.width
        votes: Counter[int] = Counter()
        lines: Counter[int] = Counter()
        for sentence in sentences:
            widths = {len(self.cells(line)) for _, line in _without_comments(sentence)}
            if len(widths) == 1 and (width := widths.pop()) >= self.needed:
                votes[width] += 1
                lines[width] += len(sentence)
        return max(votes, key=lambda width: (votes[width], width == self.needed, lines[width]), default=self.needed)

    def check(self, file: Path, width: int) -> None:
        """Raise a `ValueError` if one column would have two uses, since some are counted from the end."""
        apart = {"words": self.word} if self.weight is None else {"words": self.word, "weight": self.weight}
        for what, column in apart.items():
            for name, other in self.labels.items():
                if column % width == other % width:
                    raise ValueError(
                        f"{file}: expected {what} and '{name}' in two of its {width} columns, got column {column} for both; "
                        "give columns=, label name -> column."
                    )

    def tags_of(self, sentences: Iterable[Lines]) -> set[str]:
        """Return the tags of all lines that cannot be comments."""
        tags = {"O", "_"}
        for sentence in sentences:
            for cells in (self.cells(line) for _, line in _without_comments(sentence)):
                if cells[0] != "#":
                    tags.update(cells[column] for column in self.labels.values() if -len(cells) <= column < len(cells))
        return tags

    def example(self, file: Path, lines: Lines, width: int, known: Callable[[], set[str]] | None, encoding: str) -> Row:
        """Return a sentence's example, or its error.

        Args:
            file: the file, for messages.
            lines: the sentence's lines with their numbers.
            width: number of columns per line.
            known: returns the tags that distinguish a word "#" from a comment; None if every line holds a word.
            encoding: the encoding of the file, for messages.
        """
        rows: list[list[str]] = []
        for number, line in lines:
            place = f"{file}, line {number}"
            cells = self.cells(line)
            if problem := undecodable(file, number, line, encoding):
                return problem
            sign = next((sign for sign in _SIGNS if line.startswith(sign)), "")
            comment = f"give comments={sign!r} if {shown(line, 40)} is a comment" if sign else ""
            if len(cells) < self.needed:
                wanted = f"words {self.word}, labels {dict(self.labels)}"
                return _malformed(f"{place}: expected {self.needed} columns or more ({wanted}), got {len(cells)}", comment)
            if len(cells) != width:
                source = "as named in columns=" if self.width is not None else "as most sentences have"
                return _malformed(f"{place}: expected {width} columns {source}, got {len(cells)}", comment)
            if not cells[self.word]:
                return Malformed(f"{place}: expected a word in column {self.word}, got nothing")
            doubtful = sign and not rows or cells[0] == "#"
            if doubtful and known is not None and self.labels and self._strange(cells, known()):
                got = f"{shown(line, 40)}, whose tags stand on no other line"
                return Malformed(f"{place}: expected a word and its tags, got {got}", f"{comment}, comments='' if it is a word")
            rows.append(cells)
        place = f"{file}, line {lines[0][0]}"
        weight = 1.0
        if self.weight is not None:
            try:
                given = {weight_of(cells[self.weight]) for cells in rows}
            except Malformed as error:
                return error.at(place)
            if len(given) > 1:
                return Malformed(f"{place}: expected one weight for the sentence, got {shown(sorted(given))}")
            weight = given.pop()
        tags = {name: [cells[column] for cells in rows] for name, column in self.labels.items()}
        labelled = {name: values for name, values in tags.items() if any(values)}
        return Example.from_words([cells[self.word] for cells in rows], None, labelled, place, weight)

    def _strange(self, cells: list[str], known: set[str]) -> bool:
        """Return whether all tags of a line are unknown and differ from its word."""
        tags = [cells[column] for column in self.labels.values()]
        return not any(not tag or tag in known or tag == cells[self.word] for tag in tags)


def _without_comments(sentence: Lines) -> Lines:
    """Return the lines from the first one that cannot be a comment."""
    start = next((i for i, (_, line) in enumerate(sentence) if not line.startswith(_SIGNS)), len(sentence))
    return sentence[start:]


def _malformed(problem: str, remedy: str) -> Malformed:
    return Malformed(problem, remedy) if remedy else Malformed(problem)
