"""Ways in which tasks share encoders."""

from mtl.sharing.hard import Hard
from mtl.sharing.sharing import Part, Sharing
from mtl.sharing.soft import Soft

__all__ = ["Hard", "Part", "Sharing", "Soft"]
