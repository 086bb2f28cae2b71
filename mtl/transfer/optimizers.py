"""AdamW for fine-tuning."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mtl.encoders.encoder import Encoder
from mtl.model import MultiTaskModel
from mtl.training.keras_internals.adam import AdamW
from mtl.transfer.freezing import stacks_of
from mtl.transfer.schedules import warmup_schedule
from mtl.utils import unknown_name
from mtl.utils.arguments import checked
from mtl.utils.types import Count, Positive, PositiveShare, Rate, Weight

__all__ = ["ScaledAdamW", "adamw"]


@keras.saving.register_keras_serializable("mtl")
class ScaledAdamW(AdamW):
    """AdamW with a learning rate scale per variable, and without weight decay of biases and norms.

    A variable moves by `scale * lr * (Adam's step + weight_decay * variable)`. Vectors and scalars (a norm's gamma and beta) do
    not decay, nor do variables whose path `no_decay` matches.

    Args:
        learning_rate: a number or a schedule.
        weight_decay: share of a variable that is subtracted at a learning rate of 1.
        learning_rate_scales: regular expression -> scale. The first one found in a variable's path applies; a variable that none
            matches has scale 1.
        no_decay: regular expressions; a variable does not decay if one of them is found in its path.
        **kwargs: as for `keras.optimizers.AdamW`.

    Example:

    >>> optimizer = ScaledAdamW(1e-3, learning_rate_scales={"^token_embedding/": 0.1})
    >>> keras.optimizers.deserialize(keras.optimizers.serialize(optimizer)).learning_rate_scales
    {'^token_embedding/': 0.1}

    Reference:
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
    """

    @checked
    def __init__(
        self,
        learning_rate: Any = 2e-5,
        weight_decay: Weight = 0.01,
        *,
        learning_rate_scales: Mapping[str, Weight] | None = None,
        no_decay: Sequence[str] = ("bias$",),
        **kwargs: Any,
    ):
        super().__init__(learning_rate, weight_decay, **kwargs)
        self._scale_rules = tuple((str(pattern), float(scale)) for pattern, scale in (learning_rate_scales or {}).items())
        self._no_decay = tuple(no_decay)

    @property
    def learning_rate_scales(self) -> dict[str, float]:
        """Scales of the learning rate, by regular expression."""
        return dict(self._scale_rules)

    def scale_of(self, variable: keras.Variable) -> float:
        """Return the scale of a variable's learning rate."""
        return next((scale for pattern, scale in self._scale_rules if re.search(pattern, variable.path)), 1.0)

    def decays(self, variable: keras.Variable) -> bool:
        """Return whether a variable decays."""
        return len(variable.shape) > 1 and not any(re.search(pattern, variable.path) for pattern in self._no_decay)

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        """Raise an error: the constructor takes `no_decay`, which is saved with the optimizer."""
        raise ValueError("ScaledAdamW takes what does not decay as no_decay=(PATTERN, ...): give it to the constructor.")

    def build(self, variables: list[keras.Variable]) -> None:
        if not self.built:
            # Keras would decay at the unscaled learning rate, so `update_step` decays instead.
            super().exclude_from_weight_decay(var_list=variables)
            self._rules = tuple((self.scale_of(variable), self.decays(variable)) for variable in variables)
        super().build(variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        scale, decays = self._rules[self._get_variable_index(variable)]
        learning_rate = learning_rate * scale
        if decays and self.weight_decay:
            self.assign_sub(variable, variable * ops.cast(learning_rate * self.weight_decay, variable.dtype))
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "learning_rate_scales": self.learning_rate_scales, "no_decay": list(self._no_decay)}


@checked
def adamw(
    model: MultiTaskModel | Encoder,
    learning_rate: Positive = 2e-5,
    *,
    steps: Count,
    warmup: Rate = 0.1,
    schedule: str = "linear",
    weight_decay: Weight = 0.01,
    layer_decay: PositiveShare | None = None,
    head_learning_rate: Positive | Mapping[str, Positive] | None = None,
    **options: Any,
) -> keras.optimizers.Optimizer:
    """AdamW for fine-tuning: warm-up, decay to 0, no weight decay on biases and norms, lower learning rates for lower layers.

    With `layer_decay`, the learning rate of a block is `learning_rate * layer_decay ** depth`: the highest block has depth 1, the
    one below it 2, and so on down to the embeddings. The encoder's pooling has depth 0, as the heads have.

    Args:
        model: a model, or an encoder; the optimizer identifies layers by their names.
        learning_rate: the highest learning rate of the encoder.
        steps: steps of the whole training: batches per epoch times epochs.
        warmup: share of the steps in which the learning rate rises.
        schedule: `"linear"`, `"cosine"` or `"constant"`; see `warmup_schedule`.
        weight_decay: decoupled weight decay of matrices: each step subtracts `lr * weight_decay * W`.
        layer_decay: factor above 0 and at most 1, such as 0.9; None for one learning rate for all blocks.
        head_learning_rate: learning rate of all variables outside the encoders, or task -> that of its head; by default, and for
            tasks that are not named, `learning_rate`.
        **options: arguments of `keras.optimizers.AdamW`, such as `global_clipnorm=1.0`.

    Returns:
        A `ScaledAdamW` for `model.compile`.

    Raises:
        ValueError: an argument out of its range.

    Example:

    >>> import mtl
    >>> encoder = mtl.encoders.Recurrent(vocabulary_size=50, embedding=8, units=8)
    >>> model = mtl.MultiTaskModel(encoder, mtl.Task("mood", mtl.heads.Classification(2)))
    >>> optimizer = adamw(model, 1e-3, steps=100, layer_decay=0.5, head_learning_rate=1e-2)
    >>> [round(optimizer.scale_of(layer[0].trainable_variables[0]), 3) for layer in encoder.blocks]
    [0.25, 0.5]
    >>> optimizer.scale_of(model.heads["mood"].trainable_variables[0])
    10.0

    Reference:
        Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification", ACL 2018: learning rates by layer, the
        classifier being the top. Clark et al., "ELECTRA", ICLR 2020; its authors' code begins at depth 2 for the highest block.
    """
    by_task, of_all = (head_learning_rate, None) if isinstance(head_learning_rate, Mapping) else ({}, head_learning_rate)
    rate = warmup_schedule(learning_rate, steps, warmup, schedule)
    scales: dict[str, float] = {}
    if layer_decay is not None:
        scales.update(_block_scales(model, layer_decay))
    for task, rate_of_task in by_task.items():
        heads = model.heads if isinstance(model, MultiTaskModel) else {}
        if task not in heads:
            raise unknown_name("task in head_learning_rate", task, heads)
        scales[_pattern(_names(heads[task].variables))] = rate_of_task / learning_rate
    if of_all is not None:
        inside = {id(variable) for encoder in stacks_of(model) for variable in encoder.variables}
        outside = _names([variable for variable in model.variables if id(variable) not in inside])
        if outside:
            scales[_pattern(outside)] = of_all / learning_rate
    return ScaledAdamW(rate, weight_decay, learning_rate_scales=scales, **options)


def _block_scales(model: MultiTaskModel | Encoder, decay: float) -> dict[str, float]:
    blocks = stacks_of(model)[0].blocks  # If there are several, they have the same blocks.
    scales = {}
    for depth, block in enumerate(reversed(blocks), 1):
        names = _names([variable for layer in block for variable in layer.variables])
        scales[_pattern(names)] = decay**depth
    return scales


def _names(variables: Sequence[keras.Variable]) -> list[str]:
    """Return the first components of variables' paths, each once: the names of the layers that hold them."""
    return list(dict.fromkeys(variable.path.partition("/")[0] for variable in variables))


def _pattern(names: Sequence[str]) -> str:
    return f"^({'|'.join(re.escape(name) for name in names)})/"
