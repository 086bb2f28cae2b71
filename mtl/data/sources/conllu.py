"""CoNLL-U files of Universal Dependencies."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mtl.data.example import Example
from mtl.data.source import Source
from mtl.data.sources.files import FileSource, Paths, blocks, undecodable
from mtl.data.sources.rows import FRACTIONS, Malformed, Row, shown
from mtl.data.sources.weights import weight_of
from mtl.utils import unknown_name
from mtl.utils.arguments import checked
from mtl.utils.types import Size

__all__ = ["conllu"]

COLUMNS = {"lemma": 2, "upos": 3, "xpos": 4, "feats": 5, "head": 6, "deprel": 7}


@checked
def conllu(
    path: Paths,
    labels: str | Sequence[str] = ("upos", "xpos", "feats", "lemma", "deprel", "head"),
    *,
    sent_id_prefix: str | Sequence[str] | None = None,
    weight: str | None = None,
    encoding: str = "utf-8",
    fractions: Mapping[str, float] | None = FRACTIONS,
    seed: Size = 0,
    on_error: str = "raise",
) -> Source:
    r"""Return a source of the sentences of CoNLL-U files.

    Comments, multiword tokens and empty nodes are left out. Words are joined as in `join_words`, whatever `SpaceAfter` says, so
    that each word has its own tokens.

    Args:
        path: a file (gzip-compressed or not), a list or glob of files, a dict from split to file(s), or a folder of files named
            after splits.
        labels: the labels to read, of "upos", "xpos", "feats", "lemma", "deprel" and "head".
        sent_id_prefix: only sentences whose `sent_id` begins with this prefix (or one of several), such as `"weblog"`.
        weight: key of the comment with a sentence's importance, such as "weight" for `# weight = 0.5`; see
            `mtl.data.Example`. None: weight 1.
        encoding: encoding of files without a byte order mark.
        fractions: split -> share of the texts, if `path` names no splits. None: all texts are in "train".
        seed: seed of the split; another seed gives another split.
        on_error: "raise" at a malformed sentence, or "skip" it and count it in `source.skipped`.

    Returns:
        A source; its labels are lists with one value per word: strings, and for "head" the number of the head's word, counted
        from 1, or 0 for the root. A column of only `_` means "not labelled", except for "feats", where it means "no features".

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a label is unknown, or a sentence is malformed (raised while reading).

    Reference:
        Nivre et al., "Universal Dependencies v2", LREC 2020.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "tree.conllu")
    ...     _ = path.write_text("1\tIt\tit\tPRON\t_\t_\t2\tnsubj\t_\t_\n2\trains\train\tVERB\t_\t_\t0\troot\t_\t_\n\n")
    ...     source = conllu(path, ["upos", "head"], fractions=None)
    ...     [(example.text, example.labels) for example in source.examples("train")]
    [('It rains', {'upos': ['PRON', 'VERB'], 'head': [2, 0]})]
    """
    wanted = (labels,) if isinstance(labels, str) else tuple(labels)
    for label in wanted:
        if label not in COLUMNS:
            raise unknown_name("label of CoNLL-U", label, COLUMNS)
    prefixes: tuple[str, ...] | None = None
    if sent_id_prefix is not None:
        prefixes = (sent_id_prefix,) if isinstance(sent_id_prefix, str) else tuple(sent_id_prefix)

    def parse(file: Path) -> Iterator[Row]:
        for block in blocks(file, encoding):
            if prefixes is None or _comment(block, "sent_id").startswith(prefixes):
                words = [(number, line) for number, line in block if not line.startswith("#")]
                if words:
                    row = _sentence(file, words, wanted, encoding)
                    yield row if weight is None or isinstance(row, Malformed) else _weighted(row, block, weight)

    return FileSource(
        path, parse, wanted, ("conllu", wanted, prefixes, weight),
        encoding=encoding, fractions=fractions, seed=seed, on_error=on_error,
    )  # fmt: skip


def _comment(block: list[tuple[int, str]], wanted: str) -> str:
    """Return the value of a comment such as `# sent_id = 5`; "" if there is none."""
    for _, line in block:
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            if key.strip() == wanted:
                return value.strip()
    return ""


def _weighted(example: Example, block: list[tuple[int, str]], key: str) -> Row:
    try:
        return replace(example, weight=weight_of(_comment(block, key)))
    except Malformed as error:
        return error.at(f"{example.place}, comment '{key}'")


def _sentence(file: Path, lines: list[tuple[int, str]], wanted: Sequence[str], encoding: str) -> Row:
    rows: list[tuple[int, list[str]]] = []
    for number, line in lines:
        place = f"{file}, line {number}"
        if problem := undecodable(file, number, line, encoding):
            return problem
        cells = line.split("\t")
        if len(cells) != 10:
            return Malformed(f"{place}: expected 10 columns with tabs between them, got {len(cells)}")
        if "-" in cells[0] or "." in cells[0]:
            continue
        if cells[0] != str(len(rows) + 1):
            return Malformed(f"{place}: expected the word number {len(rows) + 1}, got {shown(cells[0])}")
        if not all(cells):
            return Malformed(f"{place}: expected a value in every column, got nothing in one", "write _ for what is not known")
        rows.append((number, cells))
    if not rows:
        return Malformed(f"{file}, line {lines[0][0]}: expected words, got only multiword tokens or empty nodes")
    labels: dict[str, Any] = {}
    for name in wanted:
        values = [cells[COLUMNS[name]] for _, cells in rows]
        if name == "feats" or any(value != "_" for value in values):
            labels[name] = values
    if "head" in labels:
        for (number, _), head in zip(rows, labels["head"], strict=True):
            if not (head.isascii() and head.isdigit() and int(head) <= len(rows)):
                return Malformed(f"{file}, line {number}: expected a head from 0 to {len(rows)}, got {shown(head)}")
        labels["head"] = [int(head) for head in labels["head"]]
    return Example.from_words([cells[1] for _, cells in rows], None, labels, f"{file}, line {lines[0][0]}")
