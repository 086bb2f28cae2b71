"""Support-vector machines on n-grams as baselines."""

from collections.abc import Sequence
from typing import Any

from mtl.data.example import Example, weights_of
from mtl.heads.classification import Classification
from mtl.heads.head import Head
from mtl.utils.arguments import checked
from mtl.utils.labels import label_text

__all__ = ["character_ngrams", "word_ngrams"]


@checked
def character_ngrams(train: Sequence[tuple[Example, Any]], test: Sequence[Example], head: Head) -> list[dict[str, Any]]:
    """Predict with a linear support-vector machine on TF-IDF of 1 to 3 characters, for `Classification`, without words.

    Args:
        train: examples and their labels.
        test: examples to predict.
        head: the task's head.

    Returns:
        Predictions in the form of `head.decode`, without probabilities.

    Raises:
        TypeError: if the head is no `Classification`.

    Example:

    >>> import mtl
    >>> train = [(mtl.data.Example("很好"), "good"), (mtl.data.Example("很差"), "bad")]
    >>> character_ngrams(train, [mtl.data.Example("好的")], mtl.heads.Classification(["bad", "good"]))
    [{'label': 'good'}]
    """
    return _classify(train, test, head, analyzer="char", ngram_range=(1, 3))


@checked
def word_ngrams(train: Sequence[tuple[Example, Any]], test: Sequence[Example], head: Head) -> list[dict[str, Any]]:
    """Predict with a linear support-vector machine on TF-IDF of 1 and 2 words, for `Classification` of texts with spaces.

    Args:
        train: examples and their labels.
        test: examples to predict.
        head: the task's head.

    Returns:
        Predictions in the form of `head.decode`, without probabilities.

    Raises:
        TypeError: if the head is no `Classification`.

    Example:

    >>> import mtl
    >>> train = [(mtl.data.Example("a good one"), "good"), (mtl.data.Example("a bad one"), "bad")]
    >>> word_ngrams(train, [mtl.data.Example("one good thing")], mtl.heads.Classification(["bad", "good"]))
    [{'label': 'good'}]
    """
    return _classify(train, test, head, analyzer="word", ngram_range=(1, 2))


def _classify(train: Sequence[tuple[Example, Any]], test: Sequence[Example], head: Head, **ngrams: Any) -> list[dict[str, Any]]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    if not isinstance(head, Classification):
        raise TypeError(f"The n-gram baselines expect a Classification head, got {type(head).__name__}; choose another baseline.")
    classifier = make_pipeline(TfidfVectorizer(sublinear_tf=True, **ngrams), LinearSVC(random_state=0))
    classifier.fit(
        [_text(example) for example, _ in train],
        [label_text(value) for _, value in train],
        linearsvc__sample_weight=weights_of(example for example, _ in train),
    )
    return [{"label": str(label)} for label in classifier.predict([_text(example) for example in test])]


def _text(example: Example) -> str:
    return example.text if example.pair is None else f"{example.text}\n{example.pair}"
