"""Base class of the heads."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mtl.data.columns import Column, Target
from mtl.data.encoding import Encoding
from mtl.data.example import Example
from mtl.metrics.keras_metric import KerasMetric
from mtl.metrics.task_metric import TaskMetric
from mtl.utils.arguments import checked, constructor_arguments
from mtl.utils.labels import label_text
from mtl.utils.rows import given

__all__ = ["Head", "Target"]


class Head(keras.layers.Layer):
    """Base class of heads, which map features to one task's prediction.

    A head holds its loss, its metrics, its label vocabulary, and the conversion of predictions to readable labels.

    On the host, once per example: `encode` (label -> target) and `decode` (prediction -> readable result); once per corpus:
    `learn` (labels of the training split) and `report` (metrics).
    In the graph, once per batch: `call` (features -> outputs), `loss`, `activate` (outputs -> prediction), `serve` (prediction ->
    strings and numbers, in exported models), and the metrics.

    A subclass implements `encode`, `decode`, `call` and `loss`, `target` where targets are not single integers, `labels` where
    it has classes, and `serve` for exports. Its constructor stores each argument as an attribute of the same name.

    `features` is a dict: `sequence [B, S, H]`, `pooled [B, H]`, `padding_mask [B, S]`, `token_ids [B, S]`.

    These values mean "not labelled": in arrays, weight 0, NaN, and the number `missing`; in sources, an absent field, None,
    NaN, "", and the number `missing` where labels are numbers rather than names (`Regression`, multi-hot lists). The sources
    for Hugging Face and TFDS, whose data sets use -1, have a separate `missing` argument.

    Args:
        missing: the number that means "not labelled"; `"auto"` for -1 where targets are classes, and no number where any number
            may be a label; None for no number.
        metrics: further metrics, each a `mtl.metrics.TaskMetric` or a Keras metric, such as `keras.metrics.AUC()` for
            `MultiLabel`. They are weighted, count labelled rows only, are correct on several replicas, and are saved with the
            model. A Keras metric receives predictions (the result of `activate`) and requires a head with one target per row;
            its state must be a sum over batches.
    """

    #: Whether `predict` runs this head; False for an objective that only serves training, such as masked language modelling.
    predicts = True
    #: Whether the head changes the inputs of its rows, which other tasks then cannot use.
    corrupts_inputs = False
    #: The arguments that `learn` determines, as error messages show them.
    learned = "labels=[...]"
    #: Whether `encode` reads the tokens' offsets. Tokenizing is faster where no head does.
    needs_offsets = True
    #: Whether a head with one target per row still reads `sequence`.
    needs_sequence = False
    #: Name of the logged metric that measures the task's progress, between 0 and 1.
    progress = "accuracy"
    #: Names of the settings that `encode` and `target` depend on; a change of any other setting keeps cached data valid. None for
    #: all settings.
    cache_key: tuple[str, ...] | None = None
    #: The default of `missing`: -1 for heads of classes; None where every number is a label.
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
            _copied(metric, self)  # Raises at once for an unusable metric.
        # Inside a function, so that Keras does not track their state as the head's: each model makes new copies.
        self._added = lambda: made
        #: Whether the user gave the name; the task's name replaces one that Keras generated.
        self.named = name is not None

    # Host ---------------------------------------------------------------------------------------------------------

    @property
    def labels(self) -> tuple | None:
        """The classes in the order of their ids; None where there are none or they are not known yet."""
        return None

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of a batch that the head reads besides those of the encoder; `features` holds them by name."""
        return ()

    @property
    def ready(self) -> bool:
        """Whether the head knows its labels (or needs none)."""
        return True

    def learn(self, values: Iterable[Any], weights: Sequence[float] | None = None) -> None:
        """Learn the label vocabulary or statistics from the training split; called only while `ready` is False.

        Args:
            values: the labels of the split.
            weights: weights of their examples, complete once `values` has been read to its end; None where all are 1. Counts
                and means use them, so that an example of weight 2 counts as two examples.
        """

    @property
    def target(self) -> Target:
        """Shape and dtype of one row's target; by default one integer."""
        return Target()

    def encode(self, value: Any, example: Example, encoding: Encoding) -> tuple[Any, Any]:
        """Return the target and weight of one label.

        Args:
            value: the label as the source yields it; never None.
            example: the example.
            encoding: its tokens.

        Returns:
            The target (of `target`'s shape) and its weight: a number, or float32 `[S]` for targets per token.

        Raises:
            ValueError: the label is not in the vocabulary, or has a form that the head does not accept.
        """
        raise NotImplementedError

    def decode(self, prediction: Any, example: Example, encoding: Encoding) -> Any:
        """Convert one row's prediction (NumPy, per-token parts cut to the row's tokens) to a readable dict that JSON accepts."""
        raise NotImplementedError

    def lost(self, value: Any, example: Example, encoding: Encoding, target: Any) -> int:
        """Return the number of labels in `value` that `decode` cannot restore from a perfect prediction of `target`.

        `mtl.data.mix` and `mtl inspect` report them.

        Args:
            value: the label as the source yields it.
            example: the example.
            encoding: its tokens.
            target: the result of `encode`.
        """
        return 0

    def known(self, value: Any) -> tuple[Any, int]:
        """Return the part of a label that the vocabulary contains (None if none) and the number of unknown labels in it.

        Unknown labels count neither in the graph, where they have weight 0, nor in `report`.
        """
        return value, 0

    def absent(self, value: Any) -> bool:
        """Return whether a value means "not labelled" to this head, beyond the values that every source skips."""
        return False

    def report(self, gold: Sequence[Any], predicted: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
        """Return metrics of a whole corpus, weighted by the examples; labels unknown to training count only as `unknown`.

        The default is `accuracy`, the share of rows whose prediction's first entry equals the label, compared as text.

        Args:
            gold: labels as the source yields them.
            predicted: the results of `decode` for the same examples.
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
        """Return the rows that `report` counts, `(gold, prediction)`, their weights, and the number of `unknown` labels."""
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
        """Receive the encoder before the head is built; for heads that share the encoder's embeddings."""

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Any:
        """Return the outputs that `loss` takes, such as logits."""
        raise NotImplementedError

    def activate(self, outputs: Any, features: Mapping[str, Any]) -> Any:
        """Return the prediction that `predict` yields, such as probabilities; not meant for differentiation."""
        return outputs

    def serve(self, prediction: Any, tokens: Mapping[str, Any]) -> dict[str, Any]:
        """Return what exported models output for a whole batch: `decode` in the graph.

        Args:
            prediction: the result of `activate`.
            tokens: int32 tensors: each token's `starts` and `ends` (characters, -1 for special tokens and padding) and
                `segment_ids`, `[B, S]`; each word's `word_starts` and `word_ends` (-1 after a text's last word) and
                `word_tokens`, the token that predicts its tag (-1 for a word without a token), `[B, W]`.

        Returns:
            Name -> dense tensor whose first axis is the batch.
        """
        raise NotImplementedError

    def loss(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return the loss summed over the batch, and the sum of weights to divide it by.

        Args:
            target: `[B]`, `[B, n]` or `[B, S]`.
            outputs: the result of `call`.
            weight: float32 `[B]` or `[B, S]`; 0 where the row has no label for this task.

        Returns:
            Two float32 scalars.
        """
        raise NotImplementedError

    def score(self, target: Any, weight: Any, features: Mapping[str, Any], training: bool) -> tuple[Any, Any, Any]:
        """Run the head for training and return `(loss_sum, weight_sum, outputs)`.

        A head with an expensive output overrides this to skip the rows of other tasks; its `outputs` are then whatever its
        metrics take.
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
        """Return new metrics by name, each a `mtl.metrics.TaskMetric`."""
        return {}

    def all_metrics(self) -> dict[str, Any]:
        """Return new metrics by name: those of the head and those of its `metrics` argument.

        Raises:
            ValueError: two metrics have the same name.
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
        """Return the shapes from which Keras builds a loaded head; None without a `build` method: the model's call builds it."""
        return None if type(self).build is keras.layers.Layer.build else super().get_build_config()

    def prepare_batch(self, x: dict[str, np.ndarray], target: np.ndarray, weight: np.ndarray, rng: np.random.Generator) -> None:
        """Change one batch's NumPy arrays in place before the model receives them; only for heads with `corrupts_inputs`.

        Only rows with a weight above 0 may be changed.
        """


def _copied(metric: Any, head: Head) -> TaskMetric:
    """Return a copy of a metric with new state, as a `TaskMetric`.

    Raises:
        TypeError: the value is not a metric.
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
    """Return a label as text; numbers as `label_text` compares them."""
    return label_text(value) if isinstance(value, str | int | float | np.number) else str(value)


def _figures(metric: Any) -> list[str]:
    """Return the names of a metric's results; empty for a single result, which has the metric's name."""
    result = metric.result()
    return list(result) if isinstance(result, Mapping) else []
