"""Plain text files with one unlabelled text per line."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from mtl.data.example import Example
from mtl.data.source import Source
from mtl.data.sources.files import FileSource, Paths, read_lines, undecodable
from mtl.data.sources.rows import FRACTIONS, Row, Segment
from mtl.utils.arguments import checked
from mtl.utils.types import Size

__all__ = ["lines"]


@checked
def lines(
    path: Paths,
    *,
    segment: Segment | None = None,
    encoding: str = "utf-8",
    fractions: Mapping[str, float] | None = FRACTIONS,
    seed: Size = 0,
    on_error: str = "raise",
) -> Source:
    r"""Return a source of unlabelled texts, one per line, such as for masked language modelling; blank lines are left out.

    Args:
        path: a file (gzip-compressed or not), a list or glob of files, a dict from split to file(s), or a folder of files named
            after splits.
        segment: function from a text to its words, or "jieba"; sets the words of the examples.
        encoding: encoding of files without a byte order mark.
        fractions: split -> share of the texts, if `path` names no splits. None: all texts are in "train".
        seed: seed of the split; another seed gives another split.
        on_error: "raise" at a line that does not decode, or "skip" it and count it in `source.skipped`.

    Returns:
        A source.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a line does not decode (raised while reading).

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "corpus.txt")
    ...     _ = path.write_text("One text.\n\nAnother.\n")
    ...     [example.text for example in lines(path, fractions=None).examples("train")]
    ['One text.', 'Another.']
    """

    def parse(file: Path) -> Iterator[Row]:
        for number, line in enumerate(read_lines(file, encoding), 1):
            if problem := undecodable(file, number, line, encoding):
                yield problem
            elif line := line.strip():
                yield Example(line, place=f"{file}, line {number}")

    return FileSource(
        path, parse, (), ("lines",),
        encoding=encoding, fractions=fractions, seed=seed, on_error=on_error, segment=segment,
    )  # fmt: skip
