"""Mean gradient, projected so that it harms no task."""

from typing import Any

import keras

from mtl.balancing.balancer import Balancer, check_range
from mtl.balancing.solvers.gramian import Gramian
from mtl.balancing.solvers.quadratic import least_above
from mtl.utils.arguments import checked

__all__ = ["DualProj"]


@keras.saving.register_keras_serializable("mtl")
class DualProj(Balancer):
    """The mean gradient projected on the dual cone `J d >= 0`: `w = argmin_v v^T G v`, `v_t >= 1 / K`.

    At a stationary point the direction raises no loss, and is 0 where none can fall.

    Args:
        regularization: share of G's trace that is added to its diagonal; with 0 the projection is exact.

    Example:

    >>> import numpy as np, mtl
    >>> mtl.balancing.DualProj().weights(np.array([[18.0, -22.0], [-22.0, 38.0]])).numpy().round(5).tolist()
    [0.61111, 0.5]

    Reference:
        Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017.
    """

    needs = "gramian"

    @checked
    def __init__(self, regularization: float = 0.0):
        self.regularization = check_range(self, "regularization", regularization, 0.0)

    def _solve(self, gramian: Gramian, losses: Any) -> Any:
        return least_above(gramian.regularised(self.regularization), gramian.share[None])[0]
