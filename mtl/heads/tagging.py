"""One tag for each word or token of a text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from mtl.data.annotation import OVERLAPS, annotated_types, annotated_units
from mtl.data.columns import TOKEN_MASK, WORD_MASK, Column
from mtl.data.encoding import Encoding
from mtl.data.example import Example
from mtl.data.spans import allowed_transitions, scheme_labels, tags_of_spans
from mtl.data.tag_units import lost_labels, tag_units
from mtl.data.tokenizers.in_graph.alignment import own_characters
from mtl.data.tokenizers.in_graph.spans import widened_tags
from mtl.data.unknown_tags import unknown_tags
from mtl.heads.head import Head, Target
from mtl.heads.tag_report import tag_report
from mtl.layers.crf import crf_log_likelihood, crf_marginals, crf_viterbi
from mtl.layers.readout import Readout
from mtl.losses.cross_entropy import cross_entropy, smoothed_weights
from mtl.metrics.span_f1 import SpanF1
from mtl.metrics.token_accuracy import TokenAccuracy
from mtl.utils import unknown_name
from mtl.utils.arguments import checked
from mtl.utils.labels import Labels
from mtl.utils.rows import known_ids, labelled
from mtl.utils.tags import SCHEMES, split_tag
from mtl.utils.types import Rate, Size, Weight

__all__ = ["Tagging"]


@keras.saving.register_keras_serializable("mtl")
class Tagging(Head):
    """One tag for each word or token of a text: named entities, slots, parts of speech, word segmentation.

    A label is a list of tags, one per word (one per character, where the example has no words), or a list of
    `(start, end, type)` spans of characters. With a scheme, tags in BIO, IOB1, BIOES, BILOU and BMES are all accepted and
    converted to that scheme; prefixes alone, such as `B M E S` in word segmentation, denote spans of the type `""`.

    A token that covers several words has the label of the word in which it starts, and each of these words receives the
    token's type. A span continues over words without a token. `lost` counts the labels that tokens cannot express.

    With a scheme or a CRF the prediction is the best sequence of tags (Viterbi), found among those that the scheme allows; the
    loss ignores the scheme's rules. The CRF's loss is each row's negative log-likelihood; the sum of weights that divides
    it is that of the tagged tokens, so that it is comparable to the loss of independent tags.

    Args:
        labels: the tags in the order of their ids; None to learn them from the training split (with a scheme all its tags for the
            types that occur, `O` first; else sorted); a number `n` for the tags `0 ... n - 1` of tokens, which means
            `level="token"` and no scheme.
        level: `"word"`: one token of each word carries its tag (see `Encoding.word_tokens`), and its other tokens have none;
            `"token"`: each token of the first text that covers characters which no earlier token covers has a tag; of several
            tokens for one character, such as its bytes, only the first has one.
        scheme: `"BIO"`, `"BIOES"`, `"BILOU"`, `"BMES"`, or None for tags that do not denote spans.
        crf: whether a linear-chain CRF scores the sequence of tags.
        label_smoothing: the share of each target that is spread evenly over the tags; only without a CRF, like the next two.
        class_weights: tag -> weight (default 1), or a list of one weight per tag; they count in the sum of weights too.
        focal: exponent of the focal loss, which down-weights tokens that are already right; 0 for plain cross-entropy.
        dropout: the share of the features dropped in training.
        hidden: the width of a tanh layer before the tags; 0 for none.
        unknown: `"raise"` for an error where a tag is not among the labels, `"ignore"` to treat its token as not labelled.
        overlaps: `"raise"` for an error where spans of one label overlap or are nested, `"longest"` or `"shortest"` to keep the
            longest or shortest of them (the first of equals); the others count as lost.

    Returns:
        Scores, float32 `[B, S, C]`. `loss` takes tag ids `[B, S]`. `activate` returns a dict of the best tags' ids, `tags` int32
        `[B, S]`, and their `probability` float32 `[B, S]` (0 at tokens that carry no tag), or, without scheme and CRF,
        probabilities `[B, S, C]`. `decode` returns `words` (or `tokens`, with their `offsets`), `tags`, `probabilities`, and with
        a scheme `spans`; truncated words, and words without a token outside all spans, have the tag `O`.

    Raises:
        ValueError: a tag that is unknown or not in the scheme, a label that does not fit the text, or a bad argument.

    Example:

    >>> import numpy as np
    >>> head = Tagging(["O", "B-X", "I-X"])
    >>> features = {"sequence": np.ones([2, 5, 4], "float32"), "padding_mask": np.ones([2, 5], "int32")}
    >>> scores = head(features)
    >>> loss_sum, weight_sum = head.loss(np.zeros([2, 5], "int32"), scores, np.eye(2, 5, dtype="float32"), features)
    >>> tuple(scores.shape), tuple(head.activate(scores, features)["tags"].shape), float(weight_sum)
    ((2, 5, 3), (2, 5), 2.0)

    Reference:
        Lafferty, McCallum and Pereira, "Conditional Random Fields", ICML 2001; Lample et al., "Neural Architectures for Named
        Entity Recognition", NAACL 2016; first-token alignment: Devlin et al., "BERT", NAACL 2019.
    """

    cache_key = ("labels", "level", "scheme", "unknown", "overlaps")
    not_labelled = -1

    @checked
    def __init__(
        self,
        labels: int | Iterable[Any] | None = None,
        *,
        level: str | None = None,
        scheme: str | None = "BIO",
        crf: bool = False,
        label_smoothing: Rate = 0.0,
        class_weights: Mapping[Any, float] | Sequence[float] | None = None,
        focal: Weight = 0.0,
        dropout: Rate = 0.1,
        hidden: Size = 0,
        unknown: Literal["raise", "ignore"] = "raise",
        overlaps: str = "raise",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if isinstance(labels, int):
            level, scheme = level or "token", None
            if level != "token":
                raise ValueError(f"Tagging({labels}) takes a tag for each token; got level='{level}'. Leave it out.")
        level = level or "word"
        if level not in ("word", "token"):
            raise unknown_name("level of tags", level, ["word", "token"])
        if scheme is not None and scheme not in SCHEMES:
            raise unknown_name("tag scheme", scheme, SCHEMES)
        if overlaps not in OVERLAPS:
            raise unknown_name("way with overlapping spans", overlaps, OVERLAPS)
        if crf and (label_smoothing or focal or class_weights is not None):
            raise ValueError("A CRF scores whole sequences: leave out label_smoothing, class_weights and focal, or the CRF.")
        self.level = level
        self.scheme = scheme
        self.crf = crf
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.focal = focal
        self.dropout = dropout
        self.hidden = hidden
        self.unknown = unknown
        self.overlaps = overlaps
        self._labels: Labels | None = None
        self._weights: tuple[float, ...] | None = None
        self._edge_ids: tuple[int, ...] = ()
        if labels is not None:
            self._take(Labels(labels))

    # Labels -------------------------------------------------------------------------------------------------------

    @property
    def labels(self) -> tuple | None:
        """The tags in the order of their ids; None before they are known."""
        return None if self._labels is None else self._labels.names

    @property
    def ready(self) -> bool:
        return self._labels is not None

    @property
    def structured(self) -> bool:
        """Whether tags are predicted as a sequence."""
        return self.crf or self.scheme is not None

    @property
    def columns(self) -> tuple[Column, ...]:
        """Mask of the tokens that carry tags, where tags are predicted as a sequence; without it all tokens form it."""
        return ((WORD_MASK if self.level == "word" else TOKEN_MASK),) if self.structured else ()

    def learn(self, values: Iterable[Any], weights: Sequence[float] | None = None) -> None:
        types = set().union(*(annotated_types(value, self.scheme) for value in values))
        if types:
            self._take(Labels(scheme_labels(types, self.scheme)) if self.scheme else Labels.learn(types))

    def _take(self, labels: Labels) -> None:
        if self.scheme is not None:
            for tag in labels.texts:
                if (prefix := split_tag(tag)[0]) not in ("O", *SCHEMES[self.scheme]):
                    others = [f"scheme='{name}'" for name, prefixes in SCHEMES.items() if prefix in prefixes]
                    raise ValueError(f"Expected labels of {self.scheme}, got '{tag}'; pass {' or '.join(others)}.")
            rules = allowed_transitions(labels.texts)
        else:
            size = len(labels)
            rules = np.ones((size, size), bool), np.ones(size, bool), np.ones(size, bool)
        self._rules = tuple(np.where(rule, 0.0, -1e4).astype("float32") for rule in rules)
        self._labels = labels
        if self.class_weights is not None:
            self._weights = labels.numbers("class_weights", self.class_weights)

    def _known(self) -> Labels:
        if self._labels is None:
            raise ValueError(f"Head '{self.name}' does not know its labels yet: pass `labels`, or give its task a source with a "
                             "training split to learn them from.")  # fmt: skip
        return self._labels

    # Host ---------------------------------------------------------------------------------------------------------

    @property
    def target(self) -> Target:
        return Target(("tokens",), "int32")

    def encode(self, value: Any, example: Example, encoding: Encoding) -> tuple[np.ndarray, np.ndarray]:
        labels = self._known()
        target, weight = np.zeros(len(encoding), np.int32), np.zeros(len(encoding), np.float32)
        found = tag_units(example, encoding, self.level)
        known = set(labels.texts)
        tags = annotated_units(value, example, found.units[found.first], self.scheme, self.overlaps)
        for tag, position in zip(tags, found.positions, strict=True):
            if tag is None or (self.unknown == "ignore" and tag not in known):
                continue
            target[position], weight[position] = labels.id(tag), 1.0
        return target, weight

    def decode(self, prediction: Any, example: Example, encoding: Encoding) -> dict[str, Any]:
        labels = self._known()
        if isinstance(prediction, Mapping):
            ids, probabilities = prediction["tags"], prediction["probability"]
        else:
            ids, probabilities = prediction.argmax(-1), prediction.max(-1)
        found = tag_units(example, encoding, self.level)
        texts = [example.text[a:b] for a, b in found.units]
        words = self.level == "word"
        result: dict[str, Any] = {"words": texts} if words else {"tokens": texts, "offsets": found.units.tolist()}
        tags = [labels.texts[ids[position]] for position in found.positions]
        result["tags"] = found.spread(tags, "O")
        result["probabilities"] = found.spread([float(probabilities[position]) for position in found.positions], 0.0)
        if self.scheme is not None:
            spans = found.spans(tags)
            result["tags"] = tags_of_spans(spans, len(texts), self.scheme)
            result["spans"] = [
                {"start": a, "end": b, "type": kind, "text": example.text[a:b]} for a, b, kind in found.characters(spans)
            ]
        return result

    def lost(self, value: Any, example: Example, encoding: Encoding, target: np.ndarray) -> int:
        """Return the number of spans (without a scheme, of tags) of known types that `decode` cannot restore."""
        found = tag_units(example, encoding, self.level)
        names = self._known().texts
        return lost_labels(value, example, found, [names[target[i]] for i in found.positions], names, self.scheme, self.overlaps)

    def report(
        self, gold: Sequence[Any], predicted: Sequence[Any], examples: Sequence[Example], *, per_class: bool = False
    ) -> dict[str, float]:
        """Return the accuracy of words or tokens and, with a scheme, precision, recall and F1 of the spans.

        Spans are compared by their characters and type. `type_accuracy` is the share of gold spans whose first character lies in
        a predicted span of the same type.

        Args:
            gold: labels.
            predicted: the results of `decode`.
            examples: the examples.
            per_class: whether to add each type's F1 as `span_f1:TYPE`.
        """
        known = None if self._labels is None else self._labels.texts
        return tag_report(gold, predicted, examples, self.level, known, self.scheme, self.overlaps, per_class=per_class)

    def known(self, value: Any) -> tuple[Any, int]:
        return value, unknown_tags(value, self._known().texts, self.scheme)

    # Graph --------------------------------------------------------------------------------------------------------

    def attach(self, encoder: Any) -> None:
        tokenizer = encoder.tokenizer
        if tokenizer is not None:
            edges = (tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id)
            self._edge_ids = tuple(i for i in edges if i is not None)

    def build(self, features_shape: Mapping[str, tuple]) -> None:
        size = len(self._known())
        self.readout = Readout(size, self.hidden, self.dropout, dtype=self.dtype_policy, name="readout")
        self.readout.build(features_shape["sequence"])
        if self.crf:
            self.transitions = self.add_weight(name="transitions", shape=(size, size), initializer="zeros", dtype="float32")
            self.start = self.add_weight(name="start", shape=(size,), initializer="zeros", dtype="float32")
            self.end = self.add_weight(name="end", shape=(size,), initializer="zeros", dtype="float32")

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Any:
        return self.readout(features["sequence"], training=training)

    def compute_output_shape(self, features_shape: Mapping[str, tuple]) -> tuple:
        return (*features_shape["sequence"][:-1], len(self._known()))

    def compute_output_spec(self, features: Mapping[str, Any], training: bool | None = None) -> keras.KerasTensor:
        return self.readout.compute_output_spec(features["sequence"])

    def activate(self, outputs: Any, features: Mapping[str, Any]) -> Any:
        outputs = ops.cast(outputs, "float32")
        if not self.structured:
            return ops.softmax(outputs, axis=-1)
        mask = self._sequence_mask(features)
        tags = crf_viterbi(outputs, mask, *self._scores(rules=True))
        probabilities = crf_marginals(outputs, mask, *self._scores()) if self.crf else ops.softmax(outputs, axis=-1)
        probability = ops.take_along_axis(probabilities, tags[..., None], axis=-1)[..., 0]
        return {"tags": tags, "probability": ops.where(mask, probability, 0.0)}

    def serve(self, prediction: Any, tokens: Mapping[str, Any]) -> dict[str, Any]:
        """Return each word's or token's `tags` (strings), `score`, `starts` and `ends` (characters), `[B, N]`, and with a scheme
        each span's `span_types`, `span_starts` and `span_ends`, `[B, M]`, padded with "", 0 and -1."""
        if isinstance(prediction, Mapping):
            ids, score = prediction["tags"], prediction["probability"]
        else:
            ids, score = tf.argmax(prediction, -1, tf.int32), tf.reduce_max(prediction, -1)
        if self.level == "word":
            positions, starts, ends = (tokens[name] for name in ("word_tokens", "word_starts", "word_ends"))
        else:
            positions, starts, ends = own_characters(tokens)
        there, index = positions >= 0, tf.maximum(positions, 0)
        ids = tf.gather(ids, index, batch_dims=1)
        score = tf.where(there, tf.gather(score, index, batch_dims=1), 0.0)
        if self.scheme is None:
            tags = tf.where(there, tf.gather(self._known().texts, ids), "O")
        else:
            tags, types, first, last = widened_tags(ids, positions, self._known().texts, self.scheme)
        result = {"tags": tf.where(starts >= 0, tags, ""), "score": score, "starts": starts, "ends": ends}
        if self.scheme is not None:
            parts = {"types": (types, first, ""), "starts": (starts, first, -1), "ends": (ends, last, -1)}
            for name, (values, edges, filler) in parts.items():
                result[f"span_{name}"] = tf.ragged.boolean_mask(values, edges).to_tensor(filler)
        return result

    def loss(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> tuple[Any, Any]:
        weight = ops.cast(weight, "float32")
        outputs, target = labelled(weight, outputs), labelled(weight, target)
        target = known_ids(ops.cast(target, "int32"), len(self._known()), f"head '{self.name}'")
        if self.crf:
            rows = _labelled_rows(weight)
            target, outputs, own = (ops.take(x, rows, axis=0) for x in (target, outputs, weight))
            likelihood = crf_log_likelihood(outputs, target, own > 0, *self._scores())
            tokens = ops.sum(ops.cast(own > 0, "float32"), axis=1)
            return -ops.sum(likelihood * ops.sum(own, axis=1) / tokens), ops.sum(weight)
        options: dict[str, Any] = {"label_smoothing": self.label_smoothing, "class_weights": self._weights, "focal": self.focal}
        loss_sum = ops.sum(cross_entropy(target, outputs, **options) * weight)
        if self._weights is not None:
            weight = weight * ops.take(smoothed_weights(self._weights, self.label_smoothing), target)
        return loss_sum, ops.sum(weight)

    def score(self, target: Any, weight: Any, features: Mapping[str, Any], training: bool) -> tuple[Any, Any, Any]:
        """Run the head as `Head.score` does; in evaluation of tags predicted as a sequence, the outputs are ids, `[B, S]`."""
        outputs = self(features, training=training)
        losses = self.loss(target, outputs, weight, features)
        if self.structured and not training:
            rows = _labelled_rows(weight)
            mask = ops.take(self._sequence_mask(features), rows, axis=0)
            tags = crf_viterbi(ops.take(outputs, rows, axis=0), mask, *self._scores(rules=True))
            outputs = ops.scatter(rows[:, None], tags, ops.shape(weight))
        return (*losses, outputs)

    @property
    def progress(self) -> str:  # type: ignore[override]
        """Name of the progress metric: `span_f1` with a scheme, else `accuracy`."""
        return "accuracy" if self.scheme is None else "span_f1"

    def make_metrics(self) -> dict[str, Any]:
        metrics: dict[str, Any] = {"accuracy": TokenAccuracy()}
        if self.scheme is not None:
            metrics["spans"] = SpanF1(self._known().texts)
        return metrics

    def _scores(self, rules: bool = False) -> list[Any]:
        """Return the CRF's scores of transitions, starts and ends, plus, with `rules`, -1e4 for what the scheme forbids."""
        learned = [self.transitions, self.start, self.end] if self.crf else [0.0, 0.0, 0.0]
        fixed = self._rules if rules else [0.0, 0.0, 0.0]
        return [ops.add(a, b) for a, b in zip(learned, fixed, strict=True)]

    def _sequence_mask(self, features: Mapping[str, Any]) -> Any:
        """Return the mask of the tokens that form the sequence of tags: bool `[B, S]`."""
        if self.level == "word" and "word_mask" in features:
            return ops.cast(features["word_mask"], "bool")
        mask = ops.cast(features["padding_mask"], "bool")
        if "segment_ids" in features:
            mask &= ops.equal(features["segment_ids"], 0)
        for edge in self._edge_ids:
            mask &= ops.not_equal(features["token_ids"], edge)
        return mask & ops.cast(features["token_mask"], "bool") if "token_mask" in features else mask

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "labels": None if self.labels is None else list(self.labels),
            "level": self.level,
            "scheme": self.scheme,
            "crf": self.crf,
            "label_smoothing": self.label_smoothing,
            "class_weights": self.class_weights,
            "focal": self.focal,
            "dropout": self.dropout,
            "hidden": self.hidden,
            "unknown": self.unknown,
            "overlaps": self.overlaps,
        }


def _labelled_rows(weight: Any) -> Any:
    """Return the indices of the rows that carry a label: int32 `[N]`."""
    return ops.cast(ops.nonzero(ops.any(ops.convert_to_tensor(weight) > 0, axis=1))[0], "int32")
