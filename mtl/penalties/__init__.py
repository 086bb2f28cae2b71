"""Terms added to the loss that depend on weights only."""

from mtl.penalties.l2_sp import L2SP
from mtl.penalties.penalty import Penalty
from mtl.penalties.towards_mean import TowardsMean

__all__ = ["L2SP", "Penalty", "TowardsMean"]
