"""Cross-entropy of one class out of several."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

__all__ = ["class_distribution", "cross_entropy", "smoothed_weights"]


def cross_entropy(
    target: Any,
    logits: Any,
    *,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
    focal: float = 0.0,
) -> Any:
    """Return the cross-entropy of each row, in float32 and exact for logits of any size.

    `-sum_c w_c t_c (1 - p_c)^focal log p_c`, with `p = softmax(logits)` and `t` smoothed to
    `(1 - label_smoothing) t + label_smoothing / C`.

    For a weighted mean over rows with class weights, divide the sum of losses by the rows' sum of `sum_c w_c t_c`.

    Args:
        target: class ids `[...]` or `[..., 1]`, or one-hot or soft classes `[..., C]`. The loss of an id outside
            `0 ... C - 1` is NaN.
        logits: `[..., C]`.
        label_smoothing: the share of each target that is spread evenly over the classes.
        class_weights: `w`, one number per class; None for ones.
        focal: exponent that down-weights rows that are already right; 0 for plain cross-entropy.

    Returns:
        float32 `[...]`.

    Example:

    >>> import numpy as np
    >>> cross_entropy(np.array([0, 1]), np.array([[1000.0, 0.0], [1000.0, 0.0]])).numpy().tolist()
    [-0.0, 1000.0]

    Reference:
        Smoothing: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016.
        Focal: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017.
    """
    logits = ops.cast(logits, "float32")
    target = class_distribution(target, logits)
    if label_smoothing:
        target = (1.0 - label_smoothing) * target + label_smoothing / logits.shape[-1]
    log_p = ops.where(ops.equal(target, 0.0), 0.0, ops.log_softmax(logits, axis=-1))
    terms = target * log_p
    if focal:
        # Kept above 0, where a power below 1 has no derivative.
        terms *= ops.maximum(-ops.expm1(log_p), 1e-12) ** focal
    if class_weights is not None:
        terms *= ops.convert_to_tensor(class_weights, "float32")
    return -ops.sum(terms, axis=-1)


def class_distribution(target: Any, logits: Any) -> Any:
    """Return targets of any form as one distribution over the classes per row.

    Args:
        target: class ids `[...]` or `[..., 1]`, or one-hot or soft classes `[..., C]`, which are unchanged.
        logits: `[..., C]`.

    Returns:
        float32 `[..., C]`; NaN for an id outside `0 ... C - 1`.

    Example:

    >>> import numpy as np
    >>> class_distribution(np.array([1]), np.zeros([1, 3])).numpy().tolist()
    [[0.0, 1.0, 0.0]]
    """
    classes = logits.shape[-1]
    if ops.ndim(target) == ops.ndim(logits):
        if target.shape[-1] != 1 or classes == 1:
            return ops.cast(target, "float32")
        target = ops.squeeze(target, -1)
    ids = ops.expand_dims(ops.cast(target, "int32"), -1)
    one_hot = ops.cast(ops.equal(ids, ops.arange(classes, dtype="int32")), "float32")
    return ops.where((ids >= 0) & (ids < classes), one_hot, float("nan"))


def smoothed_weights(class_weights: Sequence[float], label_smoothing: float) -> np.ndarray:
    """Return the weight of a smoothed target of each class, `sum_c w_c t_c`: float32 `[C]`.

    Example:

    >>> [round(weight, 3) for weight in smoothed_weights([1.0, 4.0], 0.2).tolist()]
    [1.3, 3.7]
    """
    weights = np.asarray(class_weights, "float32")
    return (1.0 - label_smoothing) * weights + label_smoothing * weights.mean()
