"""Layers inside a model, their losses and their random generators."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

__all__ = ["advance_generators", "draw_per_replica", "layers_in", "layers_with_losses", "seed_offset"]

#: A large distance between the replicas' seeds, so that no two generators of a model draw the same numbers.
_SEED_STEP = 1_000_003


def layers_in(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the model, and all layers inside it."""
    return list(model._flatten_layers())


def layers_with_losses(model: keras.Model) -> list[str]:
    """Return names of the layers that added a loss in their last call."""
    return [layer.name for layer in layers_in(model) if layer._losses]


def draw_per_replica(model: keras.Model) -> None:
    """Let replicas draw different random numbers from equal states; replica 0 draws the numbers of a single device."""
    for layer in layers_in(model):
        for generator in layer._seed_generators:
            generator.next = _next_of_replica.__get__(generator)


def _next_of_replica(generator: Any, ordered: bool = True) -> Any:
    seed = type(generator).next(generator, ordered)
    return seed + seed_offset(seed.dtype)


def seed_offset(dtype: Any) -> tf.Tensor:
    """Return the difference between the seeds of this replica and replica 0, `[2]`."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return tf.zeros([2], dtype)
    return tf.cast(context.replica_id_in_sync_group, dtype) * tf.constant([_SEED_STEP, 0], dtype)


@contextmanager
def advance_generators(model: keras.Model, times: int) -> Iterator[None]:
    """Context in which random generators advance by a number of draws that does not depend on the data.

    Inside, numbers are drawn in conditions and loops that replicas run different numbers of times. On exit, each generator has
    advanced as if every branch had run `times` times, so that the replicas' states stay equal.
    """
    generators = list({id(generator): generator for layer in layers_in(model) for generator in layer._seed_generators}.values())
    states = [tf.identity(generator.state.value) for generator in generators]
    rebound = [vars(generator).get("next") for generator in generators]
    draws = [0] * len(generators)

    def counted(index: int, draw: Callable[..., Any]) -> Callable[..., Any]:
        def counted_draw(*args: Any, **kwargs: Any) -> Any:
            draws[index] += 1
            return draw(*args, **kwargs)

        return counted_draw

    for index, generator in enumerate(generators):
        generator.next = counted(index, generator.next)
    try:
        yield
    finally:
        for generator, method in zip(generators, rebound, strict=True):
            if method is None:
                del generator.next
            else:
                generator.next = method
    for generator, state, count in zip(generators, states, draws, strict=True):
        generator.state.assign(state + tf.constant([0, times * count], state.dtype))
