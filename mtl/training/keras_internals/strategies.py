"""Internals of Keras and TensorFlow about strategies and processes."""

import random
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.common.global_state import set_global_attribute
from keras.src.saving.saving_lib import get_attr_skipset
from tensorflow.python.eager.context import context_safe, global_seed

from mtl.training.keras_internals.optimizer_internals import optimizers_in

__all__ = ["agree_on_shuffling", "check_scope", "prepare_saving", "several_processes", "strategy_of", "tensorflow_in_use"]


def strategy_of(model: keras.Model) -> Any:
    """Return the strategy in whose scope a model was made, or None."""
    return model._distribute_strategy


def several_processes(strategy: Any) -> bool:
    """Return whether some replicas of a strategy run in other processes."""
    return strategy is not None and strategy.num_replicas_in_sync > len(strategy.extended.worker_devices)


def check_scope(model: keras.Model) -> None:
    """Check that a model and its optimizer were made under the current strategy.

    Raises:
        ValueError: the model was made outside the current scope, or its optimizer outside the scope of the model.
    """
    strategy = strategy_of(model)
    if tf.distribute.has_strategy() and strategy is not tf.distribute.get_strategy():
        raise ValueError(
            "The model was made outside the scope of this strategy, so its variables are on one device. "
            "Make the encoder, the tasks and the model inside `with strategy.scope():`."
        )
    if strategy is not None and model.optimizer is not None:
        for optimizer in optimizers_in(model.optimizer):
            if optimizer._distribution_strategy is not strategy:
                raise ValueError(
                    f"The optimizer '{optimizer.name}' was made outside the scope of the model's strategy. "
                    "Make it inside `with strategy.scope():`, or give compile its name."
                )


def prepare_saving() -> None:
    """Create in every process the reference optimizer that Keras creates when it first saves an optimizer.

    The variables of that optimizer are broadcast to all processes, which would not take part if only the chief saves. Keras
    stores the result under another name than the one it looks up, so it would create the optimizer at each save.
    """
    set_global_attribute("saving_attr_skiplist_Optimizer", get_attr_skipset("Optimizer"))


def tensorflow_in_use() -> bool:
    """Return whether TensorFlow has started its threads in this process, or in its parent before a fork."""
    return getattr(context_safe(), "_initialized", False)


def agree_on_shuffling(strategy: Any) -> None:
    """Set the same seed in all processes, unless one was set, so that they shuffle arrays in the same order."""
    if global_seed() is not None:
        return
    seed = random.getrandbits(30)

    def seed_of_first_replica() -> Any:
        context = tf.distribute.get_replica_context()
        summand = tf.where(tf.equal(context.replica_id_in_sync_group, 0), seed, 0)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, summand)

    tf.random.set_seed(int(strategy.experimental_local_results(strategy.run(seed_of_first_replica))[0]))
