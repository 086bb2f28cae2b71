"""Losses scaled to one size, and a direction with equal projections on all gradients."""

from typing import Any

import keras

from mtl.balancing.balancer import Balancer, check_range
from mtl.balancing.methods.imtl_g import impartial
from mtl.balancing.methods.imtl_l import IMTLL
from mtl.balancing.solvers.gramian import Gramian
from mtl.utils.arguments import checked

__all__ = ["IMTL"]


@keras.saving.register_keras_serializable("mtl")
class IMTL(Balancer):
    """Impartial multi-task learning, both parts: IMTL-G's weights for the gradients of IMTL-L's scaled losses.

    `combine` returns `sum_t e^{s_t} L_t - s_t`, which trains the heads and the scales; `weights` applies to gradients of the
    unscaled losses, so each weight is `e^{s_t}` times that of the scaled loss. At a stationary point the direction is 0.

    Args:
        floor: as in `IMTLL`, the loss below which a task's scale stops growing; 0 for none.

    Raises:
        ValueError: a floor below 0.

    Example:

    >>> import mtl
    >>> balancer = mtl.balancing.IMTL()
    >>> float(balancer.combine([2.0, 4.0]))
    6.0
    >>> balancer.aggregate([[1.0, 0.0], [0.0, 1.0]]).numpy().tolist()
    [0.5, 0.5]

    Reference:
        Liu, Li, Kuang, Xue, Chen, Yang, Liao and Zhang, "Towards Impartial Multi-task Learning", ICLR 2021.
    """

    needs = "gramian"

    @checked
    def __init__(self, floor: float = 1e-3):
        self.floor = check_range(self, "floor", floor, 0.0)

    def _make_state(self, count: int) -> None:
        self._scaling = IMTLL(self.floor)
        self._scaling.bind(self.tasks)
        self.state.scaling = self._scaling.state

    def task_variables(self, task: str) -> list[Any]:
        return self._scaling.task_variables(task)

    def _combine(self, losses: Any, active: Any, training: bool) -> Any:
        return self._scaling.combine(losses, active, training=False)

    def _solve(self, gramian: Gramian, losses: Any) -> Any:
        factors = self._scaling.factors(gramian.matrix.dtype)
        return factors * impartial(gramian.scaled(factors))
