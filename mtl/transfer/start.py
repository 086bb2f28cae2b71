"""Loading of trained encoders."""

from pathlib import Path

from mtl.encoders.encoder import Encoder
from mtl.loading import load_saved
from mtl.model import MultiTaskModel
from mtl.utils import unknown_name
from mtl.utils.arguments import checked

__all__ = ["load_encoder"]


@checked
def load_encoder(path: str | Path, task: str | None = None) -> Encoder:
    """Return the encoder of a saved model, with its weights and its tokenizer.

    No code in the file is run: a layer that would need it is an error.

    Args:
        path: a `.keras` file that holds a `MultiTaskModel` or an encoder.
        task: the task whose encoder is returned, for a model with one encoder per task.

    Returns:
        An encoder for a new model.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds something else, an unknown task, or several encoders and no task was named.

    Example:

    >>> import pathlib, tempfile, mtl
    >>> encoder = mtl.encoders.Recurrent(vocabulary_size=50, embedding=8, units=8)
    >>> model = mtl.MultiTaskModel(encoder, mtl.Task("mood", mtl.heads.Classification(2)))
    >>> file = pathlib.Path(tempfile.mkdtemp(), "moods.keras")
    >>> model.save(file)
    >>> again = load_encoder(file)
    >>> model = mtl.MultiTaskModel(again, mtl.Task("topic", mtl.heads.Classification(5)))
    """
    model = load_saved(path, compile=False)
    if not isinstance(model, MultiTaskModel | Encoder):
        raise ValueError(f"Expected a MultiTaskModel or an encoder in '{path}'; it holds a {type(model).__name__}.")
    if isinstance(model, MultiTaskModel):
        if task is not None and task not in model.task_names:
            raise unknown_name(f"task of '{path}'", task, model.task_names)
        if task is None and any(len(part.tasks) < len(model.task_names) for part in model.sharing.parts().values()):
            raise ValueError(
                f"'{path}' holds weights of the encoder per task. Say whose is wanted: task='{model.task_names[0]}'."
            )
        encoder = model.sharing.whole_encoder(task or model.task_names[0])
    else:
        if task is not None:
            raise ValueError(f"'{path}' holds an encoder and no tasks; got task='{task}'. Leave it out.")
        return model
    # A copy, so that nothing of the saved model's graph stays with it.
    return encoder.copy(encoder.name)
