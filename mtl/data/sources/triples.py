"""Parallel files of words, slot tags and intents."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from mtl.data.example import Example
from mtl.data.source import Source
from mtl.data.sources.files import FileSource, PathLike, by_split, existing, files_fingerprint, read_lines, undecodable
from mtl.data.sources.rows import FRACTIONS, Malformed, Row, named_splits
from mtl.data.sources.weights import weight_of
from mtl.utils.arguments import checked
from mtl.utils.types import Size

__all__ = ["triples"]

FILES = ("seq.in", "seq.out", "label")


@checked
def triples(
    path: PathLike | Mapping[str, PathLike],
    *,
    weight: str | None = None,
    encoding: str = "utf-8",
    fractions: Mapping[str, float] | None = FRACTIONS,
    seed: Size = 0,
    on_error: str = "raise",
) -> Source:
    r"""Return a source of utterances with one intent and one slot tag per word, from files `seq.in`, `seq.out` and `label`.

    Args:
        path: a folder with the three files, a folder with one such folder per split (train, valid, test), or a dict from split
            to such a folder. Files may be gzip-compressed.
        weight: name of another parallel file with each utterance's importance, a finite number from 0; see
            `mtl.data.Example`. None: weight 1.
        encoding: encoding of files without a byte order mark.
        fractions: split -> share of the texts, if `path` is one folder with the three files. None: all texts are in "train".
        seed: seed of the split; another seed gives another split.
        on_error: "raise" at a malformed record, or "skip" it and count it in `source.skipped`.

    Returns:
        A source with the labels "intent" (a string) and "slots" (a list of tags, one per word). An empty line in `label` or
        `seq.out` means "not labelled".

    Raises:
        FileNotFoundError: if a file or folder does not exist.
        ValueError: if the numbers of words and tags, or of the files' lines, differ (raised while reading).

    Reference:
        Goo et al., "Slot-Gated Modeling for Joint Slot Filling and Intent Prediction", NAACL 2018.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for file, line in zip(FILES, ["play jazz", "O B-genre", "PlayMusic"]):
    ...         _ = Path(folder, file).write_text(line + "\n")
    ...     [(example.text, example.labels) for example in triples(folder, fractions=None).examples("train")]
    [('play jazz', {'intent': 'PlayMusic', 'slots': ['O', 'B-genre']})]
    """
    folders = _folders(path)
    names = FILES if weight is None else (*FILES, weight)
    files = [existing(folder / file) for folder in folders.values() for file in names]
    # The file of words represents its folder, so that splits work as in any source of files.
    words = {split: folder / FILES[0] for split, folder in folders.items()}
    one = words.pop("", None)

    def parse(file: Path) -> Iterator[Row]:
        return _parse(file.parent, names, encoding)

    return FileSource(
        one or words, parse, ("intent", "slots"), ("triples", weight, files_fingerprint({"": files}, ())),
        encoding=encoding, fractions=fractions, seed=seed, on_error=on_error,
        name=one.absolute().parent.name if one else None,
    )  # fmt: skip


def _folders(path: PathLike | Mapping[str, PathLike]) -> dict[str, Path]:
    """Return the folder of each split, or one folder under the name "" whose examples are split later."""
    if isinstance(path, Mapping):
        return {split: existing(folder) for split, folder in named_splits(path).items()}
    path = existing(path)
    if any((path / file).exists() for file in FILES):
        return {"": path}
    found = by_split(entry for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else {}
    if not found:
        raise FileNotFoundError(
            f"Expected the files {', '.join(FILES)} in '{path}', or folders train, valid and test with them, got neither; "
            "give the folder that holds them."
        )
    if any(len(folders) > 1 for folders in found.values()):
        raise ValueError(f"Expected one folder a split in '{path}', got several for one; give a dict from split to folder.")
    return {split: folders[0] for split, folders in found.items()}


def _parse(folder: Path, names: Sequence[str], encoding: str) -> Iterator[Row]:
    paths = [folder / file for file in names]
    for number, lines in enumerate(zip_longest(*(read_lines(path, encoding) for path in paths)), 1):
        if any(line and line.strip() for line in lines):
            try:
                yield _utterance(paths, number, lines, encoding)
            except Malformed as error:
                yield error


def _utterance(paths: Sequence[Path], number: int, lines: Sequence[str | None], encoding: str) -> Example:
    """Return the example made from one line of each file."""
    places = [f"{path}, line {number}" for path in paths]
    for path, place, line in zip(paths, places, lines, strict=True):
        if line is None:
            longer = next(other.name for other, found in zip(paths, lines, strict=True) if found)
            raise Malformed(
                f"{place}: expected a line, since {longer} has one, got the file's end",
                f"give {', '.join(path.name for path in paths)} the same number of lines",
            )
        if problem := undecodable(path, number, line, encoding):
            raise problem
    words, tags = ([part for part in str(line).replace("\t", " ").split(" ") if part] for line in lines[:2])
    if not words:
        raise Malformed(f"{places[0]}: expected words, got an empty line")
    if tags and len(tags) != len(words):
        raise Malformed(f"{places[1]}: expected {len(words)} tags, one a word, got {len(tags)}")
    labels = {"intent": str(lines[2]).strip(), "slots": tags}
    weight = 1.0
    if len(lines) > len(FILES):
        try:
            weight = weight_of(str(lines[-1]).strip())
        except Malformed as error:
            raise error.at(places[-1]) from None
    return Example.from_words(words, None, {name: value for name, value in labels.items() if value}, places[0], weight)
