"""Freezing and unfreezing of an encoder's blocks."""

from collections.abc import Sequence
from typing import Any, Literal

import keras

from mtl.encoders.encoder import Encoder
from mtl.model import MultiTaskModel
from mtl.training.keras_internals.optimizer_internals import trained_by
from mtl.training.task_variables import slots_of
from mtl.utils.arguments import checked
from mtl.utils.types import Count

__all__ = ["stacks_of", "freeze", "unfreeze"]


@checked
def freeze(model: MultiTaskModel | Encoder, layers: Literal["all"] | Count = "all") -> None:
    """Freeze an encoder, or its lowest blocks.

    Neither gradients nor weight decay change a frozen layer. Block 0 is the embeddings, so `freeze(model, 1)` freezes only them.
    The other blocks and the heads are not changed.

    Frozen batch normalization uses its stored statistics and does not update them. Dropout stays active in training, in frozen
    layers too, as in Keras: its noise makes the heads robust. To train without it, make the encoder with `dropout=0`, or train
    on the features of `mtl.transfer.extract`.

    Pass the model if there is one: a compiled model is compiled again with the same settings, and the optimizer keeps the state
    of the variables that are still trained. If only its encoder is passed, compile the model afterwards. The `.keras` file
    records which layers are frozen.

    Args:
        model: a `MultiTaskModel`, whose encoders are all frozen, or an encoder.
        layers: `"all"`, or the number of blocks from the lowest; see `Encoder.blocks`.

    Raises:
        ValueError: `layers` is not "all" nor a number of blocks that the encoder has.

    Example:

    >>> import mtl
    >>> encoder = mtl.encoders.Recurrent(vocabulary_size=50, embedding=8, units=8, layers=2)
    >>> freeze(encoder, 2)
    >>> sorted({variable.path.split("/")[0] for variable in encoder.trainable_variables})
    ['backward_1', 'forward_1']

    Reference:
        Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification", ACL 2018.
    """
    for encoder in stacks_of(model):
        count = _count(encoder, layers)
        chosen = encoder.layers if count is None else [layer for block in encoder.blocks[:count] for layer in block]
        _set(encoder, chosen, False)
    _compile_again(model)


@checked
def unfreeze(model: MultiTaskModel | Encoder, layers: Literal["all"] | Count = "all") -> None:
    """Unfreeze an encoder, or its highest blocks and the layers above them.

    For gradual unfreezing, freeze all blocks and call this with 1, 2, ... after each epoch, for instance in a callback.

    Args:
        model: as for `freeze`.
        layers: `"all"`, or the number of blocks from the highest.

    Raises:
        ValueError: `layers` is not "all" nor a number of blocks that the encoder has.

    Example:

    >>> import mtl
    >>> encoder = mtl.encoders.Recurrent(vocabulary_size=50, embedding=8, units=8, layers=2)
    >>> freeze(encoder)
    >>> unfreeze(encoder, 1)
    >>> sorted({variable.path.split("/")[0] for variable in encoder.trainable_variables})
    ['backward_1', 'forward_1']

    Reference:
        Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification", ACL 2018.
    """
    for encoder in stacks_of(model):
        count = _count(encoder, layers)
        below = [] if count is None else [layer for block in encoder.blocks[: len(encoder.blocks) - count] for layer in block]
        _set(encoder, [layer for layer in encoder.layers if all(layer is not lower for lower in below)], True)
    _compile_again(model)


def stacks_of(model: MultiTaskModel | Encoder) -> list[Any]:
    """Return the objects with `layers`, `blocks` and `variables` that compute a model's features; an encoder itself.

    Raises:
        TypeError: the argument is neither a model nor an encoder.
    """
    if isinstance(model, Encoder):
        return [model]
    if not isinstance(model, MultiTaskModel):
        raise TypeError(f"Expected a MultiTaskModel or an encoder; got {type(model).__name__}.")
    return model.sharing.stacks()


def _count(encoder: Any, layers: str | int) -> int | None:
    """Return the number of blocks; None for all."""
    if layers == "all":
        return None
    number = len(encoder.blocks)
    if isinstance(layers, bool) or not isinstance(layers, int) or not 1 <= layers <= number:
        raise ValueError(f"Expected 'all' or a number of blocks from 1 to {number} (block 0 is the embeddings); got {layers!r}.")
    return layers


def _set(encoder: Any, layers: Sequence[keras.layers.Layer], trainable: bool) -> None:
    if trainable and not encoder.trainable:  # Its layers are trained only if it is trainable itself.
        encoder.trainable = True
        for layer in encoder.layers:
            layer.trainable = False
    for layer in layers:
        layer.trainable = trainable


def _compile_again(model: Any) -> None:
    """Create optimizer and train function again, as the present ones would go on training the earlier variables."""
    if isinstance(model, Encoder) or not model.compiled:
        return
    before, running = model.optimizer, model.train_function is not None
    with model.distribute_strategy.scope():
        model.compile_from_config(model.get_compile_config())
    if before.built:
        _carry(before, model.optimizer)
    if running:
        model.make_train_function()


def _carry(before: keras.optimizers.Optimizer, after: keras.optimizers.Optimizer) -> None:
    """Copy an optimizer's state to another of its class: that of the variables that both train, and that of no variable."""
    known = {id(variable) for variable in trained_by(before)}
    for variable in trained_by(after):
        if id(variable) in known:
            for old, new in zip(slots_of(before, [variable]), slots_of(after, [variable]), strict=True):
                new.assign(old)
    slots = {id(slot) for optimizer in (before, after) for slot in slots_of(optimizer, trained_by(optimizer))}
    general = {variable.path: variable for variable in before.variables if id(variable) not in slots}
    for variable in after.variables:
        if id(variable) not in slots and variable.path in general:
            variable.assign(general[variable.path])
