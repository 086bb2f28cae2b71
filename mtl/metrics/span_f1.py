"""Precision, recall and F1 of the spans that tags denote."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mtl.metrics.task_metric import TaskMetric
from mtl.utils.arguments import checked
from mtl.utils.sequences import front_order
from mtl.utils.tags import tag_parts

__all__ = ["SpanF1", "span_scores"]


@keras.saving.register_keras_serializable("mtl")
class SpanF1(TaskMetric):
    """Micro precision, recall and F1 of spans, each correct only if both ends and the type are.

    Spans are read as the CoNLL evaluation reads them, from tags of BIO (also IOB1), BIOES, BILOU or BMES, valid or not. A
    span begins at `B` and `S`, after `O`, `E` and `S`, and where the type changes. It ends before the next `O` or the next
    beginning (`L` is read as `E`, `U` as `S`).
    Positions with weight 0 are left out, at the end or between others.

    Args:
        labels: the tags, in the order of their ids.

    Returns:
        `result()`: a dict of float32 scalars `span_f1`, `span_precision`, `span_recall`; a division by zero gives 0, and all
        are NaN without tokens.

    Example:

    >>> import numpy as np
    >>> metric = SpanF1(["O", "B-X", "I-X"])
    >>> metric.update_state(np.array([[1, 2, 0, 1]]), np.array([[1, 2, 0, 0]]), np.ones([1, 4]), {})
    >>> float(metric.result()["span_precision"]), float(metric.result()["span_recall"])
    (1.0, 0.5)

    Reference:
        Tjong Kim Sang and De Meulder, "Introduction to the CoNLL-2003 Shared Task", CoNLL 2003.
    """

    @checked
    def __init__(self, labels: Sequence[str], name: str = "span_f1", **kwargs: Any):
        super().__init__(shape=(4,), name=name, **kwargs)
        self.labels = list(labels)
        self._outside, self._opens, self._closes, self._kind = tag_parts(self.labels)

    def statistics(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> Any:
        """Return the weights of correct, predicted and gold spans, and of tokens, `[4]`.

        Args:
            target: tag ids `[B, S]`.
            outputs: tag ids `[B, S]` or logits `[B, S, C]`.
            weight: `[B, S]`; a span has the weight of its first token.
            features: not used.
        """
        if ops.ndim(outputs) > ops.ndim(target):
            outputs = ops.argmax(outputs, axis=-1)
        marked = ops.convert_to_tensor(weight) > 0
        order = front_order(marked)
        here = ops.take_along_axis(marked, order, axis=1)
        weight = ops.take_along_axis(ops.cast(weight, "float32"), order, axis=1)

        def spans(tags: Any) -> tuple[Any, Any, Any]:
            tags = ops.where(marked, ops.cast(tags, "int32"), 0)
            return self._spans(ops.take_along_axis(tags, order, axis=1), here)

        (begins, kind, end), (begins_too, kind_too, end_too) = spans(target), spans(outputs)
        right = begins & begins_too & ops.equal(kind, kind_too) & ops.equal(end, end_too)
        return ops.stack([ops.sum(ops.where(spans, weight, 0.0)) for spans in (right, begins_too, begins, here)])

    def _spans(self, tags: Any, here: Any) -> tuple[Any, Any, Any]:
        """Return a mask of the beginnings of spans, and the type and last position of the span at each: three `[B, S]`."""
        outside = ops.take(self._outside, tags) | ~here
        kind = ops.where(outside, -1, ops.take(self._kind, tags))
        open_before = _shift(~outside & ~ops.take(self._closes, tags))
        begins = ~outside & (ops.take(self._opens, tags) | ~open_before | ops.not_equal(kind, _shift(kind)))
        ends = ~outside & ~ops.flip(_shift(ops.flip(~outside & ~begins, axis=1)), axis=1)
        # The n-th span of a row ends at the n-th end.
        length = ops.shape(tags)[1]
        last = ops.sort(ops.where(ends, ops.arange(length, dtype="int32"), length), axis=1)
        number = ops.maximum(ops.cumsum(ops.cast(begins, "int32"), axis=1) - 1, 0)
        return begins, kind, ops.take_along_axis(last, number, axis=1)

    def scores(self, state: Any) -> dict[str, Any]:
        right, predicted, gold, _ = ops.unstack(state, num=4)
        return {
            "span_f1": ops.divide_no_nan(2.0 * right, predicted + gold),
            "span_precision": ops.divide_no_nan(right, predicted),
            "span_recall": ops.divide_no_nan(right, gold),
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "labels": self.labels}


def span_scores(
    gold: Iterable[Sequence[tuple]],
    predicted: Iterable[Sequence[tuple]],
    per_type: bool = False,
    weights: Iterable[float] | None = None,
) -> dict[str, float]:
    """Return micro precision, recall and F1 of a corpus's spans, on the host.

    Args:
        gold: each example's spans, `(start, end, type)`.
        predicted: each example's predicted spans, in the same form.
        per_type: whether to add each type's F1, as `span_f1:TYPE`.
        weights: each example's weight; None for ones.

    Example:

    >>> span_scores([[(0, 2, "X"), (3, 4, "Y")]], [[(0, 2, "X")]])
    {'span_f1': 0.6666666666666666, 'span_precision': 1.0, 'span_recall': 0.5}
    """
    counts: dict[str, np.ndarray] = {}
    gold = list(gold)
    for mine, theirs, weight in zip(gold, predicted, [1.0] * len(gold) if weights is None else weights, strict=True):
        mine_set, theirs_set = set(map(tuple, mine)), set(map(tuple, theirs))
        for spans, column in ((mine_set & theirs_set, 0), (theirs_set, 1), (mine_set, 2)):
            for _, _, kind in spans:
                counts.setdefault(kind, np.zeros(3))[column] += weight
    right, found, real = sum(counts.values(), np.zeros(3))
    scores = {"span_f1": _ratio(2 * right, found + real)}
    scores |= {"span_precision": _ratio(right, found), "span_recall": _ratio(right, real)}
    if per_type:
        scores.update({f"span_f1:{kind}": _ratio(2 * n[0], n[1] + n[2]) for kind, n in sorted(counts.items()) if kind})
    return scores


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def _shift(x: Any) -> Any:
    """Return each row shifted one position to the right, filled with False or 0."""
    return ops.concatenate([ops.zeros_like(x[:, :1]), x[:, :-1]], axis=1)
