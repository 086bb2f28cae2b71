"""Masked language modelling."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mtl.data.annotation import words_of
from mtl.data.encoding import Encoding
from mtl.data.example import Example, split_words
from mtl.data.masking import choose_groups, hide_tokens
from mtl.data.spans import cover
from mtl.heads.head import Head, Target
from mtl.metrics.perplexity import Perplexity
from mtl.metrics.token_accuracy import TokenAccuracy
from mtl.utils.arguments import checked
from mtl.utils.types import Between, Count, Share

__all__ = ["MaskedLM"]

_UNATTACHED = "Head '{}' shares its encoder's embeddings and tokenizer: call attach(encoder), or make the model, before its use."


@keras.saving.register_keras_serializable("mtl")
class MaskedLM(Head):
    """Masked language modelling: tokens are hidden and predicted from the others. It needs no labels.

    `logits = E LayerNorm(gelu(W h + a)) + b`, where `E` is the matrix of the encoder's token embeddings; logits are computed at
    the hidden tokens only. Tokens are chosen anew for each batch.

    Args:
        rate: the share of the tokens that is predicted; special tokens never are.
        whole_words: whether all tokens of a word are hidden together; words are those of the example, or else those that
            its text is split into.
        keep: the share of the chosen tokens that stays visible.
        random: the share of the chosen tokens that a random token replaces; the mask token replaces the others.
        embedding_shape: the shape of the encoder's token embeddings, `(V, E)`; None to take it from the encoder.

    Returns:
        The transformed features, `[B, S, E]`, from which `loss` and `score` compute the logits.

    Raises:
        ValueError: shares out of range, or an encoder whose tokenizer has no mask token.

    Example:

    >>> MaskedLM(rate=0.2).get_config()["rate"]
    0.2

    Reference:
        Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", NAACL 2019; whole words: its authors' code, and
        Cui et al., "Pre-Training with Whole Word Masking for Chinese BERT", 2019. Unlike that code, a word longer than the rest
        of the row's share is still chosen where at least half of it fits.
    """

    predicts = False
    corrupts_inputs = True
    cache_key = ("whole_words",)

    @checked
    def __init__(
        self,
        *,
        rate: Between = 0.15,
        whole_words: bool = True,
        keep: Share = 0.1,
        random: Share = 0.1,
        embedding_shape: Sequence[Count] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if keep + random > 1:
            raise ValueError(f"`keep` and `random` add up to at most 1, got {keep} and {random}.")
        self.rate = rate
        self.whole_words = whole_words
        self.keep = keep
        self.random = random
        self.embedding_shape = None if embedding_shape is None else tuple(embedding_shape)
        self._embeddings: Callable[[], Any] | None = None

    # Host ---------------------------------------------------------------------------------------------------------

    @property
    def target(self) -> Target:
        return Target(("tokens",), "int32")

    def encode(self, value: Any, example: Example, encoding: Encoding) -> tuple[np.ndarray, np.ndarray]:
        """Return each token's word, with weight 1 at tokens that may be hidden; `prepare_batch` replaces words by token ids."""
        real = encoding.offsets[:, 0] >= 0
        if not self.whole_words:
            return np.arange(len(encoding), dtype=np.int32), real.astype(np.float32)
        first = encoding.segment_ids == 0
        word = np.where(first, cover(encoding.offsets, words_of(example)), -1)
        if example.pair is not None:
            second = cover(encoding.offsets, split_words(example.pair))
            word = np.where(first | (second < 0), word, second + word.max(initial=-1) + 1)
        weight = (real & (word >= 0)).astype(np.float32)
        return np.maximum(word, 0).astype(np.int32), weight

    def prepare_batch(self, x: dict[str, np.ndarray], target: np.ndarray, weight: np.ndarray, rng: np.random.Generator) -> None:
        if self._embeddings is None:
            raise ValueError(_UNATTACHED.format(self.name))
        allowed = weight > 0
        chosen = choose_groups(target, allowed, self.rate, rng)
        target[:] = np.where(allowed, x["token_ids"], target)
        weight[:] = np.where(chosen, weight, 0.0)
        x["token_ids"][:] = hide_tokens(x["token_ids"], chosen, self._mask_id, self._replacements, self.keep, self.random, rng)

    # Graph --------------------------------------------------------------------------------------------------------

    def attach(self, encoder: Any) -> None:
        tokenizer = encoder.tokenizer
        if tokenizer is None or tokenizer.mask_id is None:
            raise ValueError("Masked language modelling expects an encoder whose tokenizer has a mask token; this one has none.")
        if self.built and self._embeddings is not None and self._embeddings() is not encoder.token_embedding.embeddings:
            raise ValueError(f"Head '{self.name}' belongs to a model with another encoder. Make a new MaskedLM for this one.")
        self._mask_id = tokenizer.mask_id
        self._replacements = np.setdiff1d(np.arange(tokenizer.vocabulary_size), tokenizer.special_ids)
        # Inside a function, so that Keras does not track the encoder's variables as the head's.
        self._embeddings = lambda: encoder.token_embedding.embeddings
        self.embedding_shape = tuple(self._embeddings().shape)

    def build(self, features_shape: Mapping[str, tuple]) -> None:
        if self.embedding_shape is None:
            raise ValueError(_UNATTACHED.format(self.name))
        vocabulary, width = self.embedding_shape
        self.dense = keras.layers.Dense(width, "gelu", dtype=self.dtype_policy, name="dense")
        self.dense.build(features_shape["sequence"])
        self.norm = keras.layers.LayerNormalization(epsilon=1e-12, dtype=self.dtype_policy, name="norm")
        self.norm.build((None, width))
        self.bias = self.add_weight(name="bias", shape=(vocabulary,), initializer="zeros", dtype="float32")

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Any:
        return self.norm(self.dense(features["sequence"]))

    def compute_output_shape(self, features_shape: Mapping[str, tuple]) -> tuple:
        return (*features_shape["sequence"][:-1], self.dense.units)

    def loss(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> tuple[Any, Any]:
        positions = _positions(weight)
        losses, _ = self._predict(_at(target, positions), _at(outputs, positions))
        weights = ops.cast(_at(weight, positions), "float32")
        return ops.sum(losses * weights), ops.sum(weights)

    def score(self, target: Any, weight: Any, features: Mapping[str, Any], training: bool) -> tuple[Any, Any, Any]:
        """Run the head at the hidden tokens only; the outputs are their predicted `ids` and their `loss`, both `[B, S]`."""
        if not self.built:
            self.build({name: value.shape for name, value in features.items()})
        positions = _positions(weight)
        hidden = self.norm(self.dense(_at(features["sequence"], positions)))
        losses, ids = self._predict(_at(target, positions), hidden)
        weights = ops.cast(_at(weight, positions), "float32")

        def everywhere(values: Any) -> Any:
            flat = ops.scatter(positions[:, None], values, ops.reshape(ops.size(weight), (1,)))
            return ops.reshape(flat, ops.shape(weight))

        outputs = {"ids": everywhere(ids), "loss": everywhere(ops.stop_gradient(losses))}
        return ops.sum(losses * weights), ops.sum(weights), outputs

    def _predict(self, target: Any, hidden: Any) -> tuple[Any, Any]:
        """Return each hidden token's cross-entropy and likeliest id, both `[N]`, from `[N]` and `[N, E]`."""
        if self._embeddings is None:
            raise ValueError(_UNATTACHED.format(self.name))
        matrix = ops.cast(self._embeddings(), hidden.dtype)
        logits = ops.cast(ops.matmul(hidden, ops.transpose(matrix)), "float32") + self.bias
        losses = ops.sparse_categorical_crossentropy(ops.cast(target, "int32"), logits, from_logits=True)
        return losses, ops.cast(ops.argmax(logits, axis=-1), "int32")

    def make_metrics(self) -> dict[str, Any]:
        return {"accuracy": TokenAccuracy(), "perplexity": Perplexity()}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rate": self.rate,
            "whole_words": self.whole_words,
            "keep": self.keep,
            "random": self.random,
            "embedding_shape": self.embedding_shape,
        }


def _positions(weight: Any) -> Any:
    """Return the positions in the flattened batch whose weight is above 0: int32 `[N]`."""
    return ops.cast(ops.nonzero(ops.reshape(ops.convert_to_tensor(weight), (-1,)) > 0)[0], "int32")


def _at(array: Any, positions: Any) -> Any:
    """Return the entries of `[B, S, ...]` at the flat positions: `[N, ...]`."""
    array = ops.convert_to_tensor(array)
    return ops.take(ops.reshape(array, (-1, *array.shape[2:])), positions, axis=0)
