"""Shortest convex combination of the gradients."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer
from mtl.balancing.solvers.gramian import Gramian
from mtl.balancing.solvers.quadratic import least_norm
from mtl.utils import unknown_name
from mtl.utils.arguments import checked

__all__ = ["MGDA"]

NORMALIZATIONS = ("none", "l2", "loss", "loss+")


@keras.saving.register_keras_serializable("mtl")
class MGDA(Balancer):
    """Multiple gradient descent: the weights of the shortest convex combination, `argmin_w w^T G w`, `w >= 0`, `sum_t w_t = 1`.

    Without normalisation the direction lowers every loss, or is 0 at a stationary point, where no loss can fall without
    another one rising; with normalisation the direction there need not be 0, and may raise a loss.

    Args:
        normalization: divisor of the gradients in the minimisation; the returned weights apply to the original gradients:
            `"none"`, `"l2"` (their norm), `"loss"` (the loss), or `"loss+"` (both).

    Example:

    >>> import numpy as np, mtl
    >>> mtl.balancing.MGDA().aggregate(np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])).numpy().round(5).tolist()
    [0.0, 1.0, 1.0]

    Reference:
        Désidéri, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", Comptes Rendus Mathématique, 2012.
        Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018, whose code has the normalisations;
        the minimum is found exactly, where theirs iterates.
    """

    needs = "gramian"

    @checked
    def __init__(self, normalization: str = "none"):
        if normalization not in NORMALIZATIONS:
            raise unknown_name("normalization of MGDA", normalization, NORMALIZATIONS)
        self.normalization = normalization
        self.uses_losses = normalization.startswith("loss")

    def _solve(self, gramian: Gramian, losses: Any) -> Any:
        scaled = gramian
        if self.normalization in ("l2", "loss+"):
            scaled = scaled.scaled(gramian.inverse_norms)
        if self.uses_losses:
            losses = tf.where(gramian.active & (losses > 0), losses, tf.ones_like(losses))
            scaled = scaled.scaled(1.0 / losses)
        return least_norm(scaled)
