"""What a step costs beside its arithmetic: `fit`, a bare `tf.function` that does the same, and the matrix products alone.

python -m benchmarks.overhead
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
import typer

import mtl
from benchmarks import common
from mtl.training.keras_internals.adam import adam_in_one_pass

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def batch_of(rows: int, length: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    ids = rng.integers(5, common.VOCABULARY, (rows, length)).astype("int32")
    x = {"token_ids": ids, "padding_mask": np.ones_like(ids), "segment_ids": np.zeros_like(ids)}
    y = {"topic": ids[:, 0] % 5, "tags": ids % 73, "score": rng.normal(size=rows).astype("float32")}
    return x, y, {name: np.ones(y[name].shape, "float32") for name in y}


def ours(quick: bool) -> mtl.MultiTaskModel:
    """A model of MiniLM's size with three heads."""
    tasks = [
        mtl.Task("topic", mtl.heads.Classification(5)),
        mtl.Task("tags", mtl.heads.Tagging(["O", *(f"B-{number}" for number in range(72))])),
        mtl.Task("score", mtl.heads.Regression(mean=0.0, scale=1.0)),
    ]
    model = mtl.MultiTaskModel(common.minilm(quick=quick), tasks)
    model.compile(keras.optimizers.AdamW(1e-4))
    return model


def plain(quick: bool) -> tuple[keras.Model, dict[str, Any]]:
    """The same network out of Keras's own layers above the encoder, and its losses."""
    encoder = common.minilm(quick=quick)
    drop = keras.layers.Dropout(0.1)
    sizes = {"topic": ("pooled", 5), "tags": ("sequence", 73), "score": ("pooled", 1)}
    outputs = {name: keras.layers.Dense(size, name=name)(drop(encoder.output[key])) for name, (key, size) in sizes.items()}
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return keras.Model(encoder.input, outputs), {"topic": entropy, "tags": entropy, "score": keras.losses.MeanSquaredError()}


def bare(quick: bool) -> Callable[..., Any]:
    """One `tf.function`: forward, losses, gradients, the same AdamW."""
    model, losses = plain(quick)
    optimizer = keras.optimizers.AdamW(1e-4)
    variables = model.trainable_variables
    optimizer.build(variables)
    adam_in_one_pass(optimizer)

    @tf.function(autograph=False, reduce_retracing=True)
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            loss = tf.add_n([losses[name](y[name], outputs[name]) for name in losses])
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        optimizer.apply([tf.convert_to_tensor(gradient) for gradient in gradients], variables)
        return loss

    return step


def products(rows: int, length: int, quick: bool) -> Callable[[], Any]:
    """The matrix products of a step and nothing else: those forward, and twice as many back."""
    size = common.TINY if quick else common.MINILM
    width, heads, inner = size["width"], size["heads"], size["feedforward"]
    x, wide = tf.random.normal([rows * length, width]), tf.random.normal([rows * length, inner])
    square, up, down = tf.random.normal([width, width]), tf.random.normal([width, inner]), tf.random.normal([inner, width])
    query = tf.random.normal([rows, heads, length, width // heads])
    weights = tf.random.normal([rows, heads, length, length])
    small = [lambda: (query, query, {"transpose_b": True}), lambda: (weights, query, {})]
    small += [lambda: (weights, query, {"transpose_a": True})] * 2 + [lambda: (query, query, {"transpose_b": True}), small[1]]
    back = {"transpose_b": True}
    each = [(x, square, {}), (x, square, back), (x, x, {"transpose_a": True})] * 4
    each += [(x, up, {}), (wide, up, back), (x, wide, {"transpose_a": True})]
    each += [(wide, down, {}), (x, down, back), (wide, x, {"transpose_a": True})]
    each += [make() for make in small]

    @tf.function(autograph=False)
    def run(scale: tf.Tensor) -> tf.Tensor:
        # Each product has a factor of its own that is not known beforehand: none is the same as another, or as in another step.
        total = tf.constant(0.0)
        for number, (a, b, options) in enumerate(each * size["layers"]):
            if b.shape.num_elements() < a.shape.num_elements():
                b *= scale + number
            else:
                a *= scale + number
            total += tf.reduce_sum(tf.matmul(a, b, **options)[..., :1, :1])
        return total

    return lambda: float(run(tf.constant(1.0)))


def first_step(quick: bool, rows: int, length: int) -> dict[str, float]:
    """Seconds from the call to the end of the first step: our `fit`, Keras's own, and a bare function."""
    x, y, weight = batch_of(rows, length)
    result = {}

    class First(keras.callbacks.Callback):
        ended = 0.0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.ended = time.perf_counter()

    model, losses = plain(quick)
    stock = keras.Model(model.input, model.output)
    stock.compile(keras.optimizers.AdamW(1e-4), loss=losses)
    function = bare(quick)
    began = time.perf_counter()
    float(function(x, y))
    result["bare tf.function"] = time.perf_counter() - began
    for name, each, arguments in (("mtl", ours(quick), (x, y, weight)), ("keras", stock, (x, y))):
        callback, data = First(), tf.data.Dataset.from_tensors(arguments)
        began = time.perf_counter()
        each.fit(data, shuffle=False, verbose=0, callbacks=[callback])
        result[name] = callback.ended - began
    return result


@app.command()
def overhead(
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each side.")] = 10,
    steps: Annotated[int, typer.Option(min=1, help="Steps in a turn.")] = 5,
    memory_steps: Annotated[int, typer.Option(min=0, help="Steps over which memory is watched; 0 for none.")] = 0,
    quick: Annotated[bool, typer.Option(help="A tiny model and two rounds: shows that it runs.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures there.")] = None,
) -> None:
    """A step through `fit`, a bare `tf.function`, and matrix products alone; the first step; memory."""
    rounds, steps, rows, length = (2, 2, 4, 8) if quick else (rounds, steps, 32, 64)
    x, y, weight = batch_of(rows, length)
    figures: dict[str, Any] = {"first step": first_step(quick, rows, length)}
    began = figures["first step"]
    table = [
        ["first step, s (Keras's fit: {keras:.1f})".format(**began), f"{began['mtl']:.1f}", f"{began['bare tf.function']:.1f}"]
    ]
    for kind in ("float32", "bfloat16"):
        before = mtl.bfloat16_products(kind == "bfloat16")
        model, function, alone = ours(quick), bare(quick), products(rows, length, quick)
        data = tf.data.Dataset.from_tensors((x, y, weight)).repeat()
        tensors = tf.nest.map_structure(tf.constant, (x, y))

        def through_fit(model: Any = model, data: Any = data) -> None:
            model.fit(data, steps_per_epoch=steps, verbose=0)

        def through_function(function: Any = function, tensors: Any = tensors) -> None:
            for _ in range(steps):
                float(function(*tensors))

        def through_products(alone: Any = alone) -> None:
            for _ in range(steps):
                alone()

        sides = {"fit": through_fit, "tf.function": through_function, "products": through_products}
        for side in sides.values():
            side()
        seconds = common.paired(sides, rounds)
        mtl.bfloat16_products(before)
        cells = [common.cell(common.spread(seconds[name]), 1, 1000 / steps) for name in sides]
        of = {name: common.ratios(seconds["fit"], seconds[name]) for name in ("tf.function", "products")}
        table.append([f"a step in {kind}, ms", *cells, *(common.cell(each) for each in of.values())])
        figures[kind] = {"seconds": {name: [each / steps for each in taken] for name, taken in seconds.items()}, "ratios": of}
    if memory_steps:
        figures["memory"] = memory(quick, memory_steps)
        table.append([f"MB after 50 and after {memory_steps} steps", *(f"{each:.0f}" for each in figures["memory"])])
    columns = ["", "fit", "tf.function", "products", "fit / tf.function", "fit / products"]
    common.finish("What a step costs, median (least to greatest)", columns, table, figures, json_file)


def memory(quick: bool, steps: int) -> tuple[float, float]:
    """Memory after 50 steps and after many more, over batches of eight lengths."""
    model = ours(quick)
    batches = [batch_of(2, 8 * (1 + number % 8)) for number in range(8)]
    spec = tf.nest.map_structure(lambda each: tf.TensorSpec([None] * each.ndim, each.dtype), batches[0])
    data = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec).repeat()
    model.fit(data, steps_per_epoch=50, verbose=0)
    early = common.resident()
    model.fit(data, steps_per_epoch=max(1, steps - 50), verbose=0)
    return early, common.resident()


if __name__ == "__main__":
    app()
