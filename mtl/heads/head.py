"""What every head is."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from mtl.data.encoding import Encoding
from mtl.data.example import Example
from mtl.metrics.keras_metric import KerasMetric
from mtl.metrics.task_metric import TaskMetric
from mtl.utils.arguments import checked, constructor_arguments
from mtl.utils.labels import label_text
from mtl.utils.rows import given

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

    A head of one's own gives `encode`, `decode`, `call` and `loss`, with `target` where targets are no whole numbers and `labels`
    where it has classes. Its constructor keeps each argument as an attribute of the same name. `serve` is for exports.

    `features` is a dict: `sequence [B, S, H]`, `pooled [B, H]`, `padding_mask [B, S]`, `token_ids [B, S]`.

    One rule says what is not labelled: in arrays, weight 0, NaN, and the number `missing`; in sources, an absent field, None,
    NaN, "", and the number `missing` where labels are numbers and no names (`Regression`, multi-hot lists). The sources of
    Hugging Face and TFDS, whose data sets say -1, have a `missing` of their own.

    Args:
        missing: the number that means "not labelled"; `"auto"` for -1 where targets are classes, and no number where any number
            may be a label; None for no number.
        metrics: further metrics, each a `mtl.metrics.TaskMetric` or a Keras metric, such as `keras.metrics.AUC()` for
            `MultiLabel`: weighted, of the labelled rows alone, right on several replicas, and saved with the model. A Keras
            metric is shown predictions (what `activate` gives), and is for heads with one target per row; its state must add up
            over batches.
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
    #: The number that means "not labelled" where no other is set: -1 for heads of classes; None where every number is a label.
    not_labelled: float | None = None

    @checked
    def __init__(
        self,
        *,
        missing: float | str | None = "auto",
        metrics: Sequence[Any] = (),
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        if missing != "auto" and missing is not None and (isinstance(missing, (str, bool)) or not math.isfinite(missing)):
            raise ValueError(
                f"A head expects `missing` as a finite number, None or 'auto'; got {missing!r}. NaN is never a label."
            )
        self.missing: float | None = self.not_labelled if isinstance(missing, str) else missing
        made = [keras.saving.deserialize_keras_object(each) if isinstance(each, dict) else each for each in metrics]
        for metric in made:
            _copied(metric, self)  # What cannot serve is said now.
        # In a function, so that Keras does not take their state for the head's: each model makes its own.
        self._added = lambda: made
        #: Whether the name was given; one that Keras made up gives way to the task's.
        self.named = name is not None

    # Host ---------------------------------------------------------------------------------------------------------

    @property
    def labels(self) -> tuple | None:
        """The classes in the order of their ids; None where there are none, or not yet."""
        return None

    @property
    def needs_mask(self) -> str | None:
        """The mask `[B, S]` that the features need: `"word_mask"`, 1 at the tokens at which words are read; `"token_mask"`, 1 at
        the tokens that cover characters which no earlier token covers; or None."""
        return None

    @property
    def ready(self) -> bool:
        """Whether the head knows its labels (or needs none)."""
        return True

    def learn(self, values: Iterable[Any], weights: Sequence[float] | None = None) -> None:
        """Takes what the head does not know of its labels from the training split; called only where not `ready`.

        Args:
            values: the labels that the split holds.
            weights: their examples' weights, complete once `values` was read to its end; None where all weigh 1. What is counted
                or averaged counts them, so that an example of weight 2 is two examples.
        """

    @property
    def target(self) -> Target:
        """What one row's target looks like; one whole number, where a head does not say."""
        return Target()

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

    def known(self, value: Any) -> tuple[Any, int]:
        """Return what the head's vocabulary holds of a label, None for nothing, and how many labels it does not hold.

        The labels that it does not hold count neither in the graph, where they have weight 0, nor in `report`.
        """
        return value, 0

    def absent(self, value: Any) -> bool:
        """Whether a source's value means "not labelled" to this head, beside what no source gives on."""
        return False

    def report(self, gold: Sequence[Any], predicted: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
        """Metrics of a whole corpus, weighted by the examples; labels that training did not know count only as `unknown`.

        By default the `accuracy`: the share of rows whose prediction's first entry equals the label, compared as text.

        Args:
            gold: labels, as the source gave them.
            predicted: what `decode` gave for the same examples.
            examples: the examples.
        """
        rows, weights, unknown = self._judged(gold, predicted, examples)
        if not rows:
            return unknown
        right = [_text(value) == _text(next(iter(found.values()))) for value, found in rows]
        return {"accuracy": float(np.average(right, weights=weights)), **unknown}

    def _judged(
        self, gold: Sequence[Any], predicted: Sequence[Any], examples: Sequence[Example]
    ) -> tuple[list[tuple[Any, Any]], np.ndarray, dict[str, Any]]:
        """The rows that `report` counts, `(gold, prediction)`, their weights, and how many labels are `unknown`, if any are."""
        rows, weights, unknown = [], [], 0
        for i, (value, found) in enumerate(zip(gold, predicted, strict=True)):
            value, others = self.known(value)
            unknown += others
            weight = examples[i].weight if len(examples) else 1.0
            if value is not None and weight:
                rows.append((value, found))
                weights.append(weight)
        return rows, np.array(weights), {"unknown": unknown} if unknown else {}

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
                `segment_ids`, `[B, S]`; each word's `word_starts` and `word_ends` (-1 beyond a text's words) and `word_tokens`,
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

    def given(self, target: Any, weight: Any) -> Any:
        """Return the weights of a batch, 0 where the target is NaN or `missing`.

        Args:
            target: as for `loss`.
            weight: float32 `[B]` or `[B, S]`.
        """
        known = given(target, self.missing)
        for _ in range(ops.ndim(known) - ops.ndim(weight)):
            known = ops.all(known, axis=-1)
        return ops.where(known, weight, 0.0)

    def make_metrics(self) -> dict[str, Any]:
        """New metrics by name, each a `mtl.metrics.TaskMetric`."""
        return {}

    def all_metrics(self) -> dict[str, Any]:
        """New metrics by name: the head's, and those that its `metrics` argument added.

        Raises:
            ValueError: two have one name.
        """
        metrics = self.make_metrics()
        taken = {name for each in metrics.values() for name in _figures(each)} | set(metrics)
        for metric in (_copied(each, self) for each in self._added()):
            for name in dict.fromkeys((metric.name, *_figures(metric))):
                if name in taken or name == "loss":
                    raise ValueError(f"Head '{self.name}' has a figure '{name}' already. Give the metric another name=.")
            taken.update((metric.name, *_figures(metric)))
            metrics[metric.name] = metric
        return metrics

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if type(self).get_config is Head.get_config and type(self).__init__ is not Head.__init__:
            config.update(constructor_arguments(self))
        if self.missing != self.not_labelled:
            config["missing"] = self.missing
        if self._added():
            config["metrics"] = [keras.saving.serialize_keras_object(each) for each in self._added()]
        return config

    def get_build_config(self) -> dict[str, Any] | None:
        """What Keras builds a loaded head from; None for one without `build`, whose layers the model builds as it calls them."""
        return None if type(self).build is keras.layers.Layer.build else super().get_build_config()

    def prepare_batch(self, x: dict[str, np.ndarray], target: np.ndarray, weight: np.ndarray, rng: np.random.Generator) -> None:
        """Changes one batch's NumPy arrays in place before they go to the model; only for heads with `corrupts_inputs`.

        Only rows with a weight above 0 may be changed.
        """


def _copied(metric: Any, head: Head) -> TaskMetric:
    """Return a copy of a metric with new state, as the engine takes it.

    Raises:
        TypeError: it is no metric.
    """
    if isinstance(metric, type):
        raise TypeError(
            f"Head '{head.name}' expects metrics that are made; got the class {metric.__name__}. Call it: {metric.__name__}()."
        )
    if not isinstance(metric, keras.metrics.Metric):
        raise TypeError(
            f"Head '{head.name}' expects metrics as mtl.metrics.TaskMetric or Keras metrics; got {type(metric).__name__}. "
            "Wrap a function: keras.metrics.MeanMetricWrapper(function, name=...)."
        )
    if isinstance(metric, KerasMetric):
        metric = KerasMetric(metric.metric)
    elif isinstance(metric, TaskMetric):
        return type(metric).from_config(metric.get_config())
    else:
        metric = KerasMetric(metric)
    metric.activate = head.activate
    return metric


def _text(value: Any) -> str:
    """A label as text; numbers as `label_text` compares them."""
    return label_text(value) if isinstance(value, str | int | float | np.number) else str(value)


def _figures(metric: Any) -> list[str]:
    """Names of what a metric's result holds; none for one figure, which has the metric's name."""
    result = metric.result()
    return list(result) if isinstance(result, Mapping) else []
