"""Cross-entropy of several yes-or-no classes."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from mtl.utils.rows import labelled

__all__ = ["binary_cross_entropy"]


def binary_cross_entropy(
    target: Any,
    logits: Any,
    *,
    label_smoothing: float = 0.0,
    pos_weights: Sequence[float] | None = None,
    focal: float = 0.0,
    weights: Any = None,
) -> Any:
    """Return the binary cross-entropy of each row, averaged over the classes, in float32 and exact for logits of any size.

    `-mean_c [w_c t_c (1 - p_c)^focal log p_c + (1 - t_c) p_c^focal log(1 - p_c)]`, with `p = sigmoid(logits)` and `t` smoothed to
    `(1 - label_smoothing) t + label_smoothing / 2`. Classes whose target is NaN are left out; with `weights` the mean is
    weighted.

    Args:
        target: `[..., C]`, 1 where the class holds, 0 where not, or a probability; NaN where unknown.
        logits: `[..., C]`.
        label_smoothing: the strength of the smoothing towards 1/2.
        pos_weights: `w`, one number per class, above 1 for a higher recall of the class; None for ones.
        focal: exponent that down-weights classes that are already right; 0 for plain cross-entropy.
        weights: the weight of each class of each row, `[..., C]`; None for ones.

    Returns:
        float32 `[...]`; 0 where all classes have weight 0.

    Example:

    >>> import numpy as np
    >>> binary_cross_entropy(np.array([[1, 0]]), np.array([[1000.0, 1000.0]])).numpy().tolist()
    [500.0]
    >>> round(float(binary_cross_entropy(np.array([1.0, np.nan]), np.array([0.0, 5.0]))), 4)  # log 2
    0.6931

    Reference:
        Focal: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017.
    """
    target = ops.cast(target, "float32")
    known = ops.logical_not(ops.isnan(target))
    weights = ops.cast(known, "float32") if weights is None else ops.where(known, ops.cast(weights, "float32"), 0.0)
    target, logits = labelled(weights, target), labelled(weights, ops.cast(logits, "float32"))
    if label_smoothing:
        target = (1.0 - label_smoothing) * target + 0.5 * label_smoothing
    minus_log_p, minus_log_q = ops.softplus(-logits), ops.softplus(logits)
    positive = target * minus_log_p
    negative = (1.0 - target) * minus_log_q
    if focal:
        positive *= ops.exp(-focal * minus_log_q)
        negative *= ops.exp(-focal * minus_log_p)
    if pos_weights is not None:
        positive *= ops.convert_to_tensor(pos_weights, "float32")
    return ops.divide_no_nan(ops.sum((positive + negative) * weights, axis=-1), ops.sum(weights, axis=-1))
