"""Pooled features for TensorBoard's projector."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf

from mtl.callbacks.event_files import PROJECTOR, PROJECTOR_CONFIG, PROJECTOR_MARK, foreign_projector
from mtl.data.example import Example
from mtl.model import MultiTaskModel
from mtl.predicting import predict_examples
from mtl.utils.atomic_write import atomic_write, made_folder
from mtl.utils.one_line import one_line

__all__ = ["pooled_features", "write_projector"]


def pooled_features(model: MultiTaskModel, examples: Sequence[Example], batch_size: int = 64) -> dict[str, np.ndarray]:
    """Return the pooled features of examples, float32 `[N, H]`.

    Returns:
        `{"pooled": ...}` if the tasks share their features, otherwise one entry `pooled_TASK` per task.
    """
    inputs = {tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs}
    names: list[str] = []

    @tf.function(input_signature=[inputs], autograph=False)
    def features(x: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        trunk = model.trunk(x, training=False)
        by_task = {task: model.branch(task, trunk, training=False)["pooled"] for task in model.task_names}
        shared = len({id(tensor) for tensor in by_task.values()}) == 1
        named = {"pooled": next(iter(by_task.values()))} if shared else {f"pooled_{task}": t for task, t in by_task.items()}
        names[:] = named
        return {name: tf.cast(tensor, tf.float32) for name, tensor in named.items()}

    features.get_concrete_function()
    as_it_is = SimpleNamespace(decode=lambda vector, *_: vector)
    rows: dict[str, Any] = predict_examples(
        examples, model.encoder, dict.fromkeys(names, as_it_is), model.columns, features, batch_size
    )
    return {name: np.stack(vectors) for name, vectors in rows.items()}


def write_projector(folder: str | os.PathLike, vectors: Mapping[str, np.ndarray], columns: Mapping[str, Sequence[Any]]) -> None:
    """Write vectors and their metadata in the format of TensorBoard's projector.

    Args:
        folder: a folder with event files, which is a run for TensorBoard.
        vectors: name (letters, digits and `_`) -> `[N, H]`.
        columns: name -> N values; the first column must not be empty in any row.

    Raises:
        FileExistsError: there is a projector's configuration, or a folder `projector`, that `mtl` did not write.

    Example:

    >>> import numpy as np
    >>> write_projector("run", {"pooled": np.eye(2)}, {"text": ["one", "two"], "mood": ["up", ""]})
    >>> Path("run/projector/metadata.tsv").read_text()
    'text\\tmood\\none\\tup\\ntwo\\t\\n'
    """
    if other := foreign_projector(Path(folder)):
        raise FileExistsError(f"The projector's files take the place of '{other}', which mtl did not write. Move it away.")
    config = Path(folder, PROJECTOR_CONFIG)
    made_folder(config.parent)
    description = f"{PROJECTOR_MARK}\n"
    for name, array in vectors.items():
        rows_and_width = "".join(f"  tensor_shape: {size}\n" for size in array.shape)
        paths = f'  tensor_path: "{PROJECTOR}/{name}.tsv"\n  metadata_path: "{PROJECTOR}/metadata.tsv"\n'
        description += f'embeddings {{\n  tensor_name: "{name}"\n{rows_and_width}{paths}}}\n'
    with atomic_write(config) as beside:  # First, because it marks the files as those of `mtl`.
        beside.write_text(description, "utf-8")
    files = Path(folder, PROJECTOR)
    files.mkdir(exist_ok=True)
    rows = [[one_line(value, 100) if value != "" else "" for value in row] for row in zip(*columns.values(), strict=True)]
    header = [list(columns)] if len(columns) > 1 else []  # The projector expects no header for a single column.
    lines = ["\t".join(row) + "\n" for row in header + rows]
    with atomic_write(files / "metadata.tsv") as beside:
        beside.write_text("".join(lines), "utf-8")
    for name, array in vectors.items():
        with atomic_write(files / f"{name}.tsv") as beside:
            np.savetxt(beside, array, fmt="%.6g", delimiter="\t")
