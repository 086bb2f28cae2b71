"""Learning rate schedules with a warm-up."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from mtl.utils import unknown_name
from mtl.utils.arguments import checked
from mtl.utils.configs import check_config
from mtl.utils.types import Count, Positive, Rate, Size

__all__ = ["Warmup", "warmup_schedule"]

DECAYS = ("linear", "cosine", "constant")


@keras.saving.register_keras_serializable("mtl")
class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate schedule that rises linearly from 0 to another schedule's first value, and then follows it.

    `lr(t) = schedule(0) * t / steps` for `t < steps`, and `schedule(t - steps)` afterwards.

    Args:
        schedule: a Keras schedule, or a number for a constant one.
        steps: steps of the rise; 0 for none.

    Raises:
        ValueError: fewer than 0 steps.

    Example:

    >>> rise = Warmup(0.1, steps=4)
    >>> [round(float(rise(step)), 3) for step in range(6)]
    [0.0, 0.025, 0.05, 0.075, 0.1, 0.1]

    Reference:
        Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", 2017.
    """

    @checked
    def __init__(self, schedule: float | Callable[..., Any], steps: Size):
        self.schedule = schedule if callable(schedule) else float(schedule)
        self.steps = int(steps)

    def _at(self, step: Any) -> Any:
        return self.schedule(step) if callable(self.schedule) else ops.convert_to_tensor(self.schedule, "float32")

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        rise = ops.cast(ops.minimum(step / max(self.steps, 1), 1.0) if self.steps else 1.0, "float32")
        return self._at(ops.maximum(step - self.steps, 0.0)) * rise

    def get_config(self) -> dict[str, Any]:
        schedule = keras.saving.serialize_keras_object(self.schedule) if callable(self.schedule) else self.schedule
        return {"schedule": schedule, "steps": self.steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Warmup":
        check_config(config, cls.__name__)
        schedule = config["schedule"]
        return cls(keras.saving.deserialize_keras_object(schedule) if isinstance(schedule, dict) else schedule, config["steps"])


@checked
def warmup_schedule(learning_rate: Positive, steps: Count, warmup: Rate = 0.1, decay: str = "linear") -> Warmup:
    """Return a schedule that rises to the learning rate, and falls to 0 at the last step.

    Args:
        learning_rate: the highest value.
        steps: steps of the whole training.
        warmup: share of the steps in which the learning rate rises, at least 0 and below 1.
        decay: `"linear"`, `"cosine"` or `"constant"` (which does not fall).

    Raises:
        ValueError: an argument out of its range.

    Example:

    >>> rise_and_fall = warmup_schedule(1.0, steps=10, warmup=0.2)
    >>> [round(float(rise_and_fall(step)), 3) for step in (0, 1, 2, 6, 10)]
    [0.0, 0.5, 1.0, 0.5, 0.0]

    Reference:
        Devlin et al., "BERT", NAACL 2019 (linear); Loshchilov and Hutter, "SGDR", ICLR 2017 (cosine).
    """
    if decay not in DECAYS:
        raise unknown_name("schedule", decay, DECAYS)
    rising = min(round(warmup * steps), steps - 1)
    if decay == "linear":
        return Warmup(keras.optimizers.schedules.PolynomialDecay(float(learning_rate), steps - rising, 0.0), rising)
    if decay == "cosine":
        return Warmup(keras.optimizers.schedules.CosineDecay(float(learning_rate), steps - rising), rising)
    return Warmup(learning_rate, rising)
