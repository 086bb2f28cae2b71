"""Word vectors from a text file, for a vocabulary."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np

__all__ = ["load_word_vectors"]


def load_word_vectors(path: str | Path, vocabulary: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors of a vocabulary's tokens from a word2vec (text) or GloVe file, `.gz` or plain.

    A line is a word and its numbers, separated by spaces; a first line of two integers (word2vec's) is skipped. A token that is
    not in the file takes the vector of its lower-case form, if there is one.

    Args:
        path: the file.
        vocabulary: tokens by id.

    Returns:
        Vectors, float32 `[V, D]`, zeros where none was found; and the mask of found tokens, bool `[V]`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line that is not a word and `D` numbers, or no line at all.

    Example:

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp(), "vectors.txt")
    >>> _ = file.write_text("the 1 2\\ncat 3 4\\n")
    >>> load_word_vectors(file, ["[PAD]", "Cat"])
    (array([[0., 0.],
           [3., 4.]], dtype=float32), array([False,  True]))
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a word2vec or GloVe text file at '{path}'; there is no such file.")
    wanted = {token for token in vocabulary if token} | {token.lower() for token in vocabulary if token}
    vectors: dict[str, np.ndarray] = {}
    width = 0
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8", errors="replace", newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            fields = line.rstrip().split(" ")
            if number == 1 and len(fields) == 2 and all(field.isdigit() for field in fields):
                continue
            width = width or len(fields) - 1
            # A word may contain spaces: its numbers are counted from the end.
            word, numbers = " ".join(fields[: len(fields) - width]), fields[len(fields) - width :]
            if not word or width < 1:
                raise ValueError(f"{path}:{number}: expected a word and {max(width, 1)} numbers; got {len(fields)} fields.")
            if word in wanted and word not in vectors:
                try:
                    vectors[word] = np.array(numbers, np.float32)
                except ValueError as error:
                    got = line.strip()[:60]
                    raise ValueError(f"{path}:{number}: expected a word and {width} numbers; got '{got}'.") from error
    if not width:
        raise ValueError(f"Expected a word2vec or GloVe text file at '{path}'; it holds no vectors.")
    rows = [vectors.get(token, vectors.get(token.lower())) for token in vocabulary]
    found = np.array([row is not None for row in rows])
    return np.stack([np.zeros(width, np.float32) if row is None else row for row in rows]), found
