"""Fair shares of the gain."""

from typing import Any

import keras

from mtl.balancing.balancer import Balancer, check_range
from mtl.balancing.solvers.bargaining import bargain
from mtl.balancing.solvers.gramian import Gramian
from mtl.utils.arguments import checked

__all__ = ["FairGrad"]


@keras.saving.register_keras_serializable("mtl")
class FairGrad(Balancer):
    """Alpha-fair shares of the gain: `G w = w^{-1 / alpha}`, so that `sum_t (g_t d)^{1 - alpha} / (1 - alpha)` is largest.

    At a stationary point, where the equation has no solution, the direction is 0; near one it is long if alpha is above 1.

    Args:
        alpha: near 0, the sum of the gains is maximised; at 1, their product (`NashMTL`); above, increasingly the smallest.

    Example:

    >>> import numpy as np, mtl
    >>> mtl.balancing.FairGrad().weights(np.array([[18.0, -22.0], [-22.0, 38.0]])).numpy().round(5).tolist()
    [0.59146, 0.40707]

    Reference:
        Ban and Ji, "Fair Resource Allocation in Multi-Task Learning", ICML 2024.
    """

    needs = "gramian"

    @checked
    def __init__(self, alpha: float = 1.0):
        self.alpha = check_range(self, "alpha", alpha, 0.0, open="(")

    def _solve(self, gramian: Gramian, losses: Any) -> Any:
        return bargain(gramian, self.alpha)
