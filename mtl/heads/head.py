"""What every head is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from mtl.data.encoding import Encoding
from mtl.data.example import Example

__all__ = ["Head", "Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """What one row's target looks like.

    Args:
        shape: `()`, `(n,)`, or `("tokens",)` for one value a token.
        dtype: NumPy's name of its type.
    """

    shape: tuple = ()
    dtype: str = "int32"

    @property
    def per_token(self) -> bool:
        """Whether there is one value a token."""
        return self.shape[:1] == ("tokens",)


class Head(keras.layers.Layer):
    """Features -> one task's prediction.

    A head owns its loss, its metrics, its label vocabulary, and the way back from numbers to what a person reads.

    On the host, once an example: `learn` (labels of the training split), `encode` (label -> target), `decode`
    (prediction -> what a person reads), `report` (metrics of a whole corpus).
    In the graph, once a batch: `call` (features -> outputs), `loss`, `activate` (outputs -> prediction), `serve` (prediction ->
    strings and numbers, in exported models), and the metrics.

    `features` is a dict: `sequence [B, S, H]`, `pooled [B, H]`, `padding_mask [B, S]`, `token_ids [B, S]`.
    """

    #: Whether `predict` runs this head. An objective that only serves training, such as masked language modelling, says False.
    predicts = True
    #: Whether the head changes its rows' inputs, and so needs rows of its own.
    corrupts_inputs = False
    #: The arguments that `learn` finds, as errors show them.
    learned = "labels=[...]"
    #: Whether `encode` reads where tokens stand in the text. Tokenizing is faster where no head does.
    needs_offsets = True
    #: Whether a head without a target a token takes the features' `sequence` all the same.
    needs_sequence = False
    #: The metric in logs that says how far the task has come, between 0 and 1.
    progress = "accuracy"
    #: Names of the settings that `encode` and `target` depend on: prepared data is found again whatever the others are. None for
    #: all of them.
    cache_key: tuple[str, ...] | None = None

    def __init__(self, *, name: str | None = None, **kwargs: Any):
        super().__init__(name=name, **kwargs)
        #: Whether the name was given; one that Keras made up gives way to the task's.
        self.named = name is not None

    # Host ---------------------------------------------------------------------------------------------------------

    @property
    def labels(self) -> tuple | None:
        """The classes in the order of their ids; None where there are none, or not yet."""
        return None

    @property
    def needs_word_mask(self) -> bool:
        """Whether the features need a `word_mask [B, S]`, 1 at the tokens at which words are read."""
        return False

    @property
    def ready(self) -> bool:
        """Whether the head knows its labels (or needs none)."""
        return True

    def learn(self, values: Iterable[Any]) -> None:
        """Takes the label vocabulary from the values that the training split holds; called only where not `ready`."""

    @property
    def target(self) -> Target:
        """What one row's target looks like."""
        raise NotImplementedError

    def encode(self, value: Any, example: Example, encoding: Encoding) -> tuple[Any, Any]:
        """One label as numbers.

        Args:
            value: the label, as the source gave it; never None.
            example: the example.
            encoding: its tokens.

        Returns:
            The target (of `target`'s shape) and its weight: a number, or float32 `[S]` for targets that are per token.

        Raises:
            ValueError: the label is not in the vocabulary, or is not of the form that the head takes.
        """
        raise NotImplementedError

    def decode(self, prediction: Any, example: Example, encoding: Encoding) -> Any:
        """One row's prediction (NumPy, per-token parts cut to the row's tokens) as a person reads it: a JSON-ready dict."""
        raise NotImplementedError

    def lost(self, value: Any, example: Example, encoding: Encoding, target: Any) -> int:
        """The number of labels in `value` that `decode` cannot give back, however well `target` is predicted.

        `mtl.data.mix` and `mtl inspect` report them.

        Args:
            value: the label, as the source gave it.
            example: the example.
            encoding: its tokens.
            target: what `encode` gave.
        """
        return 0

    def report(self, gold: Sequence[Any], predicted: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
        """Metrics of a whole corpus.

        Args:
            gold: labels, as the source gave them.
            predicted: what `decode` gave for the same examples.
            examples: the examples.
        """
        raise NotImplementedError

    # Graph --------------------------------------------------------------------------------------------------------

    def attach(self, encoder: Any) -> None:
        """Shows the head its encoder, before it is built; for heads that share the encoder's embeddings."""

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Any:
        """Outputs that the loss takes, such as logits."""
        raise NotImplementedError

    def activate(self, outputs: Any, features: Mapping[str, Any]) -> Any:
        """The prediction that `predict` gives, such as probabilities; differentiable use is not intended."""
        return outputs

    def serve(self, prediction: Any, tokens: Mapping[str, Any]) -> dict[str, Any]:
        """`decode` in the graph, for a whole batch, as exported models give it.

        Args:
            prediction: what `activate` gave.
            tokens: int32 tensors: each token's `starts` and `ends` (characters, -1 for special tokens and padding) and
                `segment_ids`, `[B, S]`; each word's `word_starts` and `word_ends` (-1 beyond a text's words) and `first_tokens`,
                the token at which it is read (-1 for a word without one), `[B, W]`.

        Returns:
            Name -> dense tensor whose first axis is the batch.
        """
        raise NotImplementedError

    def loss(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> tuple[Any, Any]:
        """Loss summed over the batch, and the sum of weights to divide it by.

        Args:
            target: `[B]`, `[B, n]` or `[B, S]`.
            outputs: what `call` gave.
            weight: float32 `[B]` or `[B, S]`; 0 where the row has no label for this task.

        Returns:
            Two float32 scalars.
        """
        raise NotImplementedError

    def score(self, target: Any, weight: Any, features: Mapping[str, Any], training: bool) -> tuple[Any, Any, Any]:
        """Runs the head for training: `(loss_sum, weight_sum, outputs)`.

        A head with an expensive output overrides this, to do no work for rows that are not its own; its `outputs` are then
        whatever its metrics take.
        """
        outputs = self(features, training=training)
        return (*self.loss(target, outputs, weight, features), outputs)

    def make_metrics(self) -> dict[str, Any]:
        """New metrics by name, each a `mtl.metrics.TaskMetric`."""
        return {}

    def prepare_batch(self, x: dict[str, np.ndarray], target: np.ndarray, weight: np.ndarray, rng: np.random.Generator) -> None:
        """Changes one batch's NumPy arrays in place before they go to the model; only for heads with `corrupts_inputs`.

        Only rows with a weight above 0 may be changed.
        """
