"""Classical models of the package snownlp as baselines: `pip install keras-mtl[demo]`."""

import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from mtl.baselines.tagged import decoded, tagging_head, typed_spans
from mtl.data.annotation import annotated_spans, annotated_units, words_of
from mtl.data.example import Example
from mtl.data.sources.demo import package_folder
from mtl.data.spans import spans_of_tags
from mtl.heads.head import Head
from mtl.utils.arguments import checked

__all__ = ["character_model", "tnt"]


@checked
def tnt(train: Sequence[tuple[Example, Any]], test: Sequence[Example], head: Head) -> list[dict[str, Any]]:
    """Tag words with TnT, a trigram hidden Markov model, which is given the words of the test examples and not only their text.

    Args:
        train: examples and their labels.
        test: examples to predict.
        head: the task's `Tagging` head.

    Returns:
        Predictions in the form of `head.decode`, without probabilities.

    Raises:
        TypeError: if the head is of another class.
        ValueError: if there are too few training texts.
        ModuleNotFoundError: if the package `snownlp` is not installed.

    Example:

    >>> from mtl.data.example import Example
    >>> from mtl.heads.tagging import Tagging
    >>> texts = [Example.from_words(words) for words in (["我", "看", "书"], ["他", "看", "我"])]
    >>> train = list(zip(texts, [["r", "v", "n"], ["r", "v", "r"]]))
    >>> tnt(train, [Example.from_words(["他", "看", "书"])], Tagging(["n", "r", "v"], scheme=None))[0]["tags"]
    ['r', 'v', 'n']

    Reference:
        Brants, "TnT: A Statistical Part-of-Speech Tagger", ANLP 2000.
    """
    head = tagging_head(head, "tnt")
    model = _snownlp("utils.tnt").TnT()

    def tagged_words(example: Example, value: Any) -> list[tuple[str, str]]:
        units = words_of(example)
        tags = annotated_units(value, example, units, head.scheme, head.overlaps)
        return [(example.text[start:end], tag) for (start, end), tag in zip(units, tags, strict=True) if tag is not None]

    sentences = [tagged_words(example, value) for example, value in train]
    try:
        model.train(sentences)
    except (ValueError, ZeroDivisionError) as error:  # The weight of single tags is 0.
        count = sum(map(len, sentences))
        raise ValueError(
            f"Baseline 'tnt' expects training texts in which tags stand in many orders, got {count} words; give it more texts."
        ) from error
    # Among equally probable tags the model takes the first; sorting gives the same order in every process.
    model.status = sorted(model.status)
    model.word = {word: sorted(tags) for word, tags in model.word.items()}
    results = []
    for example in test:
        units = words_of(example)
        tags = [tag for _, tag in model.tag([example.text[start:end] for start, end in units])] if units else []
        results.append(decoded(typed_spans(units, tags, head.scheme), example, head))
    return results


@checked
def character_model(train: Sequence[tuple[Example, Any]], test: Sequence[Example], head: Head) -> list[dict[str, Any]]:
    """Cut texts into words with a generative trigram model of characters and their places in words.

    Args:
        train: examples and their labels, the words as spans of one type.
        test: examples to predict.
        head: the task's `Tagging` head.

    Returns:
        Predictions in the form of `head.decode`, without probabilities.

    Raises:
        TypeError: if the head is of another class.
        ValueError: if the spans have several types.
        ModuleNotFoundError: if the package `snownlp` is not installed.

    Example:

    >>> from mtl.data.example import Example
    >>> from mtl.heads.tagging import Tagging
    >>> texts = [Example.from_words(words) for words in (["我们", "看", "书"], ["我们", "看", "书"], ["书", "我们", "看"])]
    >>> train = [(text, [(*word, "word") for word in text.words]) for text in texts]
    >>> head = Tagging(["O", "B-word", "I-word"], level="token")
    >>> [span["text"] for span in character_model(train, [Example("我们看我们")], head)[0]["spans"]]
    ['我们', '看', '我们']

    Reference:
        Wang, Zong and Su, "Which is More Suitable for Chinese Word Segmentation, the Generative Model or the Discriminative
        One?", PACLIC 2009.
    """
    head = tagging_head(head, "character_model")
    spans = [annotated_spans(value, example, head.overlaps) for example, value in train]
    kinds = sorted({kind for words in spans for *_, kind in words})
    if len(kinds) != 1:
        raise ValueError(f"Baseline 'character_model' expects spans of one type, words, got {kinds}; choose another baseline.")
    model = _snownlp("seg.y09_2047").CharacterBasedGenerativeModel()
    model.train(list(_places(example.text, words)) for (example, _), words in zip(train, spans, strict=True))
    results = []
    for example in test:
        found = []
        for run in re.finditer(r"\S+", example.text):
            tags = [_TAG_OF_PLACE[place] for _, place in model.tag(run.group())]
            found += [(run.start() + start, run.start() + end, kinds[0]) for start, end, _ in spans_of_tags(tags)]
        results.append(decoded(found, example, head))
    return results


#: The model's name of a character's place in its word -> the equivalent tag.
_TAG_OF_PLACE = {"b": "B-word", "m": "I-word", "e": "E-word", "s": "S-word"}


def _places(text: str, words: Sequence[tuple[int, int, str]]) -> Iterator[tuple[str, str]]:
    for start, end, _ in words:
        last = end - start - 1
        for i, character in enumerate(text[start:end]):
            yield character, "s" if last == 0 else "b" if i == 0 else "e" if i == last else "m"


def _snownlp(module: str) -> ModuleType:
    """Return a module of snownlp without running its packages' `__init__`, which load models for seconds.

    Under the name `_mtl_snownlp`, the packages are registered as empty modules with only a path.
    """
    folder = package_folder("snownlp")
    for part in ("", *module.split(".")[:-1]):
        name = f"_mtl_snownlp.{part}".rstrip(".")
        if name not in sys.modules:
            package = ModuleType(name)
            package.__path__ = [str(folder / part)]
            sys.modules[name] = package
    return importlib.import_module(f"_mtl_snownlp.{module}")
