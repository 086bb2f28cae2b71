"""What every balancer is."""

from collections.abc import Sequence
from typing import Any

__all__ = ["Balancer"]


class Balancer:
    """How task losses become one update."""

    def connect(self, tasks: Sequence[str]) -> None:
        """Tells the balancer the tasks, in the order of `combine`'s losses; called by `MultiTaskModel`.

        Raises:
            ValueError: the balancer names a task that does not exist.
        """

    def combine(self, losses: Any, active: Any) -> Any:
        """One scalar from the losses of the tasks.

        Args:
            losses: float32 `[K]`; 0 for a task without a labelled row.
            active: bool `[K]`; False for a task without a labelled row.
        """
        raise NotImplementedError

    def current_weights(self) -> dict[str, float]:
        """Task -> what its loss counts now, where every task is active; empty for a balancer that has no such weights."""
        return {}

    def subset(self, tasks: Sequence[str]) -> "Balancer":
        """A new balancer of the same kind for some of the tasks."""
        return type(self).from_config(self.get_config())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Balancer":
        """The object from `get_config`."""
        return cls(**config)
