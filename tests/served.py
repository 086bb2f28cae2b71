"""What exported models give, beside what `decode` gives."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from mtl.heads import Head
from mtl.utils.labels import label_text


def assert_served(head: Head, row: Mapping[str, np.ndarray], decoded: Mapping[str, Any], text: str) -> None:
    """One row of what `serve` gives says what `decode` says: labels exactly, scores to 1e-5."""
    scores = READERS[type(head).__name__](head, row, decoded, text)
    assert scores[0] == pytest.approx(scores[1], rel=1e-5, abs=1e-5)


def _classification(head, row, decoded, text):
    assert row["label"].decode() == label_text(decoded["label"])
    return [row["score"], *row["scores"]], [decoded["probability"], *decoded["probabilities"].values()]


def _multi_label(head, row, decoded, text):
    assert [head.labels[i] for i in np.flatnonzero(row["labels"])] == decoded["labels"]
    assert set(row["labels"].tolist()) <= {0, 1}
    return row["scores"].tolist(), list(decoded["probabilities"].values())


def _regression(head, row, decoded, text):
    return row["value"], decoded["value"]


def _tagging(head, row, decoded, text):
    def cut(names, size):
        """The parts of a row before its padding, which is "", 0 and -1."""
        for name in names:
            assert set(row[name][size:].tolist()) <= {{"S": b"", "O": b"", "f": 0.0, "i": -1}[row[name].dtype.kind]}
        return [row[name][:size].tolist() for name in names]

    pieces = decoded.get("words", decoded.get("tokens"))
    tags, score, starts, ends = cut(("tags", "score", "starts", "ends"), len(pieces))
    assert [tag.decode() for tag in tags] == decoded["tags"]
    assert [text[a:b] for a, b in zip(starts, ends, strict=True)] == pieces
    if "offsets" in decoded:
        assert [[a, b] for a, b in zip(starts, ends, strict=True)] == decoded["offsets"]
    assert ("span_types" in row) == ("spans" in decoded)
    if "spans" in decoded:
        types, starts, ends = cut(("span_types", "span_starts", "span_ends"), len(decoded["spans"]))
        spans = zip(types, starts, ends, strict=True)
        assert [{"start": a, "end": b, "type": t.decode(), "text": text[a:b]} for t, a, b in spans] == decoded["spans"]
    return score, decoded["probabilities"]


READERS = {"Classification": _classification, "MultiLabel": _multi_label, "Regression": _regression, "Tagging": _tagging}
