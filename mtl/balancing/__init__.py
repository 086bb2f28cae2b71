"""How task losses or gradients become one update."""

from mtl.balancing.balancer import Balancer
from mtl.balancing.static import Static

__all__ = ["Balancer", "Static"]
