"""Export of a model as a SavedModel that takes texts."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from mtl.data.columns import Column, columns_of
from mtl.data.encoding import Encoding, encode_examples
from mtl.data.example import Example, split_words
from mtl.data.tokenizers.in_graph.alignment import align_words
from mtl.encoders.encoder import Encoder
from mtl.heads.head import Head
from mtl.predicting import PredictingModel, pad
from mtl.utils import expanded
from mtl.utils.arguments import checked
from mtl.utils.atomic_write import made_folder, working_folder
from mtl.utils.labels import label_text
from mtl.version import __version__

__all__ = ["export"]

FORMAT = 1
DESCRIPTION = "signature.json"
SIGNATURES = {"serving_default": ("texts",), "serve_pairs": ("texts", "pairs")}

#: Texts on which every export is checked, besides one made of the tokenizer's vocabulary.
TEXTS = (
    "The cat sat on the mat, didn't it?",
    "",
    " \t\n ",
    "我爱北京天安门。今天天气真好！",
    "Tokyo 東京 2024-05-01, Zürich naïve café №5 ½ ﬁne ＡＢＣ！",
    "e\u0301 \u00a0 \u200b \u2026 \u0130 ß ﷺ العربية हिन्दी 한국어",
    "👩‍👩‍👧 😀😀 🇨🇭 ok 👍🏽",
    "[CLS] [SEP] [MASK] <s> </s> ##ing ▁a Ġb",
    "a" * 300 + " " + "1234567890" * 15,
    "Ham\u00adburg New\u200bYork می\u200cخواهم ☀\ufe0f 葛\U000e0100城 دلّ दिल्लि Zu\u0308rich",
    "I'm we'll THEY'VE  two  spaces...!? (x_y) a@b.com https://example.org/a?b=c#d",
)


class TextModel(PredictingModel, Protocol):
    """Protocol of a model that can be exported; a `mtl.MultiTaskModel` has it."""

    @property
    def encoder(self) -> Encoder: ...
    def _chosen(self, tasks: str | Iterable[str] | None) -> list[str]: ...
    def _flatten_layers(self) -> Iterable[Any]: ...


@checked
def export(model: TextModel, path: str | os.PathLike, tasks: str | Iterable[str] | None = None) -> Path:
    """Write a SavedModel that takes texts and returns each task's labels and scores.

    Loading it requires `tensorflow` and `tensorflow_text`, but neither Keras nor `mtl`. Its signatures are
    `serving_default(texts)` and `serve_pairs(texts, pairs)`, of UTF-8 strings `[B]`. They return a dict of tensors named
    `TASK/NAME`, as defined by each head's `serve`: `Classification` `label`, `score` and `scores`; `MultiLabel` `labels` and
    `scores`; `Regression` `value`; `Tagging` `tags`, `score`, `starts` and `ends`, and with a scheme `span_types`, `span_starts`
    and `span_ends`. Starts and ends count characters, not bytes.

    The file `signature.json` in the folder lists the outputs' shapes, the tasks' labels in the order of their ids, the versions
    of the packages, and an example.

    The export is checked before it gets its name: its outputs for a list of difficult texts must equal those of the model.

    Args:
        model: a `mtl.MultiTaskModel`, whose encoder has a tokenizer. `model.export_text(path)` is the same.
        path: the folder to write. An earlier export is replaced once the new one is complete.
        tasks: names of the tasks to export; all that predict by default.

    Returns:
        The folder.

    Raises:
        ValueError: an unknown task, no tokenizer, or one that TensorFlow's operations cannot reproduce.
        FileExistsError: the path is a file, or a folder that holds other files than an export.
        RuntimeError: the outputs of the SavedModel for a text differ from those of the model.

    Example:

    >>> import mtl, tempfile
    >>> tokenizer = mtl.data.Tokenizer.learn("word", ["so good", "so bad"])
    >>> encoder = mtl.encoders.Recurrent(tokenizer, embedding=4, units=4)
    >>> model = mtl.MultiTaskModel(encoder, mtl.Task("mood", mtl.heads.Classification(["down", "up"])))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     served = tf.saved_model.load(model.export_text(f"{folder}/mood"))
    >>> outputs = served.signatures["serving_default"](texts=tf.constant(["so good", "not bad"]))
    >>> {name: tuple(value.shape) for name, value in sorted(outputs.items())}
    {'mood/label': (2,), 'mood/score': (2,), 'mood/scores': (2, 2)}
    """
    if model.encoder.tokenizer is None:
        raise ValueError("An export takes texts and expects an encoder that has a tokenizer; this one has none.")
    names = model._chosen(tasks)
    for name in names:
        kind = type(model.head_of(name))
        if kind.serve is Head.serve:
            raise ValueError(
                f"export expects heads with `serve`; got task '{name}' with {kind.__name__}, which has none. "
                "Write its `serve`, or name the other tasks with tasks=[...]."
            )
    columns = columns_of(model.encoder, [model.head_of(name) for name in names])
    path = expanded(path).resolve()
    _settle(path)
    _check_replaceable(path)
    made_folder(path.parent)
    with working_folder(path.parent) as around:
        work = around / path.name
        server = _Server(model, names, columns)
        signatures = {name: getattr(server, name) for name in SIGNATURES}
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        with _quiet():
            tf.saved_model.save(server, str(work), signatures=signatures, options=options)
        served = tf.saved_model.load(str(work)).signatures
        _verify(model, columns, server, served)
        description = {**_describe(model, names, served), "files": _files(work)}
        (work / DESCRIPTION).write_text(json.dumps(description, ensure_ascii=False, indent=2), "utf-8")
        _replace(work, path)
    return path


class _Server(tf.Module):
    """Module that computes the outputs of the model's heads from texts."""

    def __init__(self, model: TextModel, tasks: Sequence[str], columns: Mapping[str, Column]):
        super().__init__()
        self.tokenizer = model.encoder.tokenizer.graph()
        max_length = model.encoder.max_length
        fillers = {"starts": -1, "ends": -1, **{name: column.filler for name, column in columns.items()}}
        strings = tf.TensorSpec([None], tf.string)

        def read(texts: tf.Tensor, pairs: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
            tokens = self.tokenizer(texts, pairs, max_length)
            missing = tf.maximum(1 - tf.shape(tokens["token_ids"])[1], 0)  # There is always at least one column.
            tokens = {
                name: tf.pad(value, [[0, 0], [0, missing]], constant_values=fillers.get(name, 0))
                for name, value in tokens.items()
            }
            return {**tokens, **align_words(tokens, *self.tokenizer.word_spans(texts))}

        def outputs(tokens: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            shared = model.trunk({name: tokens[name] for name in columns}, training=False)
            result = {}
            for task in tasks:
                features, head = model.branch(task, shared, training=False), model.head_of(task)
                prediction = head.activate(head(features, training=False), features)
                result.update({f"{task}/{name}": value for name, value in head.serve(prediction, tokens).items()})
            return result

        def traced(function: Callable[..., Any], **arguments: Any) -> Any:
            return tf.function(function, autograph=False).get_concrete_function(**arguments)

        made = traced(read, texts=strings).structured_outputs
        for name in columns:
            if name not in made:
                raise ValueError(
                    f"An export makes the tasks' columns of texts in TensorFlow's graph, which gives {sorted(made)}; the column "
                    f"'{name}' is made on the host. Export the tasks that do without it, or predict with predict_text."
                )
        self.read = read
        with _without_cudnn(model):
            self.outputs = traced(outputs, tokens={name: tf.TensorSpec([None, None], tf.int32) for name in made})
        # Only the layers that the outputs depend on: neither the optimizer nor the heads of other tasks.
        self.weights = list(self.outputs.graph.variables)
        self.serving_default = traced(lambda texts: self.outputs(tokens=read(texts)), texts=strings)
        self.serve_pairs = traced(lambda texts, pairs: self.outputs(tokens=read(texts, pairs)), texts=strings, pairs=strings)


@contextmanager
def _without_cudnn(model: TextModel) -> Iterator[None]:
    """Context in which recurrent layers are traced as operations that run on every device."""
    before = {layer: layer.use_cudnn for layer in model._flatten_layers() if hasattr(layer, "use_cudnn")}
    try:
        for layer in before:
            layer.use_cudnn = False
        yield
    finally:
        for layer, value in before.items():
            layer.use_cudnn = value


@contextmanager
def _quiet() -> Iterator[None]:
    """Context in which TensorFlow reports no progress, as it would name a temporary folder."""
    logger = tf.get_logger()
    before = logger.level
    logger.setLevel("WARNING")
    try:
        yield
    finally:
        logger.setLevel(before)


def _verify(model: TextModel, columns: Mapping[str, Column], server: _Server, served: Mapping[str, Any]) -> None:
    """Compare the outputs of the SavedModel for texts with those of the tokenizer and the model."""
    tokenizer, max_length = model.encoder.tokenizer, model.encoder.max_length
    vocabulary = [token for i, token in enumerate(tokenizer.vocabulary()) if token and i not in tokenizer.special_ids]
    length = (max_length or 256) + 8
    spread = vocabulary[:: max(1, len(vocabulary) // length)]
    texts = [*TEXTS, " ".join(islice(cycle(spread), length))]
    for name, examples in (
        ("serving_default", [Example(text) for text in texts]),
        ("serving_default", [Example("")]),
        ("serve_pairs", [Example(text, pair) for text, pair in zip(texts, texts[3:] + texts[:3], strict=True)]),
    ):
        arguments = {"texts": tf.constant([example.text for example in examples])}
        if name == "serve_pairs":
            arguments["pairs"] = tf.constant([example.pair for example in examples])
        tokens = server.read(**arguments)
        encodings = encode_examples(examples, tokenizer, max_length)
        for i, (example, encoding) in enumerate(zip(examples, encodings, strict=True)):
            if not _same_tokens({key: value[i].numpy() for key, value in tokens.items()}, encoding):
                raise RuntimeError(
                    f"TensorFlow's operations cut the text {_shown(example)} into other tokens than the tokenizer does, so "
                    "that no task's predictions can be relied on. Nothing was written; use `predict_text`, or another tokenizer."
                )
        x = pad(encodings, examples, columns)
        expected = server.outputs(tokens={**tokens, **{key: tf.constant(value) for key, value in x.items()}})
        for key, value in served[name](**arguments).items():
            for example, one, other in zip(examples, value.numpy(), expected[key].numpy(), strict=True):
                if not _same(one, other):
                    raise RuntimeError(
                        f"For the text {_shown(example)} the SavedModel gives another {key} for task '{key.partition('/')[0]}' "
                        f"than the model: {_short(one)}, not {_short(other)}. Nothing was written; use `predict_text`."
                    )


def _same_tokens(tokens: Mapping[str, np.ndarray], encoding: Encoding) -> bool:
    """Return whether one row's tokens, and the words they begin, are those of an encoding."""
    real, words = tokens["padding_mask"] == 1, tokens["word_starts"] >= 0
    spans = split_words(encoding.text)
    return all(
        np.array_equal(*pair)
        for pair in (
            (tokens["token_ids"][real], encoding.token_ids),
            (tokens["segment_ids"][real], encoding.segment_ids),
            (np.stack([tokens["starts"], tokens["ends"]], 1)[real], encoding.offsets),
            (np.stack([tokens["word_starts"], tokens["word_ends"]], 1)[words], np.array(spans).reshape(-1, 2)),
            (tokens["word_tokens"][words], encoding.word_tokens(spans)),
        )
    )


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype.kind == "f":
        return one.shape == other.shape and np.allclose(one, other, rtol=1e-5, atol=1e-5, equal_nan=True)
    return np.array_equal(one, other)


def _shown(example: Example) -> str:
    return " with ".join(f"'{text[:60]}'" for text in (example.text, example.pair) if text is not None)


def _short(value: Any) -> str:
    return " ".join(str(value).split())[:80]


def _describe(model: TextModel, tasks: Sequence[str], served: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contents of `signature.json`."""
    specs = served["serving_default"].structured_outputs
    texts = [TEXTS[0], TEXTS[3]]
    outputs = served["serving_default"](texts=tf.constant(texts))
    described = {}
    for task in tasks:
        head = model.head_of(task)
        labels = head.labels
        described[task] = {
            "head": type(head).__name__,
            "labels": None if labels is None else [label_text(label) for label in labels],
            "outputs": {
                name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}
                for name, spec in sorted(specs.items())
                if name.startswith(f"{task}/")
            },
        }
    return {
        "mtl_export": FORMAT,
        "versions": {"mtl": __version__, **{name: version(name) for name in ("keras", "tensorflow", "tensorflow-text")}},
        "loader_imports": ["tensorflow", "tensorflow_text"],
        "max_length": model.encoder.max_length,
        "signatures": {name: list(arguments) for name, arguments in SIGNATURES.items()},
        "tasks": described,
        "example": {"texts": texts, "outputs": {name: _plain(value) for name, value in sorted(outputs.items())}},
    }


def _plain(value: tf.Tensor) -> Any:
    return np.char.decode(value.numpy().astype("S"), "utf-8").tolist() if value.dtype == tf.string else value.numpy().tolist()


def _check_replaceable(path: Path) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    kind = "a file"
    if path.is_dir():
        if not (others := set(_files(path)) - _exported(path)):
            return
        kind = f"a folder that holds something else: '{min(others)}'"
    raise FileExistsError(f"Expected a new folder or an earlier export to replace; '{path}' is {kind}. Choose another path.")


def _exported(path: Path) -> set[str]:
    """Return the files that an export wrote to a folder, as its description lists them."""
    try:
        description = json.loads((path / DESCRIPTION).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return set()
    if not isinstance(description, dict) or "mtl_export" not in description:
        return set()
    return {DESCRIPTION, *filter(lambda name: isinstance(name, str), description.get("files") or ())}


def _files(path: Path) -> list[str]:
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_symlink() or not file.is_dir())


def _replaced(path: Path) -> Path:
    """Return the path of an earlier export while the new one replaces it."""
    return path.with_name(f".{path.name}.replaced")


def _settle(path: Path) -> None:
    """Finish a killed replacement: restore the earlier export, or remove it if the new one has its name."""
    old = _replaced(path)
    if old.is_dir() and not set(_files(old)) - _exported(old):
        if path.exists():
            with working_folder(path.parent) as rest:  # Its name marks it as a leftover even if its removal is killed.
                os.replace(old, rest / path.name)
        else:
            os.replace(old, path)


def _replace(new: Path, path: Path) -> None:
    """Replace a folder by another, so that no half-written folder ever has its name."""
    old = _replaced(path)
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(new, path)
    except OSError:
        if old.exists():
            os.replace(old, path)
        raise
    _settle(path)
