"""How tasks share encoders."""

from mtl.sharing.hard import Hard
from mtl.sharing.sharing import Sharing
from mtl.sharing.soft import Soft

__all__ = ["Hard", "Sharing", "Soft"]
