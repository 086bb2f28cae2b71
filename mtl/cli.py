"""The command `mtl`: train, evaluate, predict, export and inspect."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.markup import escape
from typer.core import TyperGroup

from mtl.commands.shown import Console

__all__ = ["app", "main"]

USER_ERRORS = (ValueError, TypeError, KeyError, ImportError, FloatingPointError, OSError)


class _Group(TyperGroup):
    """Command group that shows errors as one line, and takes `--debug` (traceback) and `--import` anywhere on the line."""

    def parse_args(self, context: Any, args: list[str]) -> list[str]:
        return super().parse_args(context, _common_first(args))

    def invoke(self, context: Any) -> Any:
        try:
            return super().invoke(context)
        except BrokenPipeError:  # The reader of the output has closed it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except KeyboardInterrupt as error:  # Ctrl-C; the error of a saved training says how to continue.
            again = "Start the same command again to go on from the last checkpoint, if there is one."
            said = str(error) or (again if context.invoked_subcommand == "train" else "")
            Console(stderr=True, soft_wrap=True).print(f"Interrupted. {escape(said)}".rstrip(), highlight=False)
            raise typer.Exit(130) from None
        except USER_ERRORS as error:
            if context.params.get("debug"):
                raise
            from mtl.utils import one_sentence

            text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
            if isinstance(error, OSError) and error.filename is None:  # Raised by `mtl`: show it without "[Errno 2]".
                text = error.strerror or text
            hint = "" if isinstance(error, (ValueError, OSError, FloatingPointError)) else f"{type(error).__name__}: "
            Console(stderr=True, soft_wrap=True).print(f"[red]{escape(one_sentence(hint + text))}[/red]", highlight=False)
            raise typer.Exit(2) from None


def _common_first(arguments: list[str]) -> list[str]:
    """Return arguments with the common options moved before the command's name, where they are parsed."""
    common, others, remaining = [], [], iter(arguments)
    for argument in remaining:
        if argument == "--":
            others += [argument, *remaining]
        elif argument == "--import":
            common.append(f"--import={next(remaining, '')}")
        elif argument == "--debug" or argument.startswith("--import="):
            common.append(argument)
        else:
            others.append(argument)
    return [*common, *others]


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change the recipe, as in train.epochs=1; repeatable.")
]
ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A model.keras, or the folder that holds it.")]
TaskNames = Annotated[list[str] | None, typer.Option("--tasks", metavar="NAMES", help="Tasks, comma-separated; all by default.")]
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures to this file as JSON.")]


@app.callback()
def common(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    imports: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="MODULE", help="Import a module whose classes recipes and models name; repeatable."),
    ] = None,
) -> None:
    """Multi-task learning on text. --debug and --import may stand anywhere on the line."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    context.obj = tuple(imports or ())  # The names of the modules, which commands read.


@app.command()
def train(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, a YAML file.")],
    settings: Settings = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The folder of the results.")] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Where it trains: one (device), mirrored (all GPUs), multiworker (processes), tpu.")
    ] = None,
    json_file: JsonFile = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Remove the run that the folder holds, and begin anew.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing.")] = False,
) -> None:
    """Train a recipe, and compare the result with its baselines. A training that was ended goes on where it was."""
    from mtl.commands.training_run import check_json, write_json

    check_json(json_file, of_training=True)
    settings = [*(settings or ()), *([f"train.strategy={strategy}"] if strategy else ())]
    results = _recipe(recipe, settings, context.obj).train(output, console=Console(quiet=quiet), fresh=fresh)
    if json_file and results:
        write_json(json_file, results, of_training=True)


@app.command()
def evaluate(
    context: typer.Context,
    model: ModelPath,
    recipe: Annotated[Path | None, typer.Option("--recipe", "-r", help="By default the one beside the model.")] = None,
    settings: Settings = None,
    data: Annotated[
        list[str] | None, typer.Option("--data", metavar="[TASK=]FILE", help="A CSV, TSV, JSONL, CoNLL or CoNLL-U file.")
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(metavar="FIELD[,FIELD]", help="The text's field, or two, in --data files, if not as trained."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="The split of the recipe's data; test by default.")] = None,
    tasks: TaskNames = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many examples a task.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts in a batch.")] = 64,
    json_file: JsonFile = None,
) -> None:
    """Show a model's figures on a whole split, or on files."""
    from mtl.commands.data_files import tasks_of_files
    from mtl.commands.training_run import check_json, show_results, write_json

    check_json(json_file)
    if data and split:
        raise ValueError(f"--data names files, which have no splits; got --split {split} as well. Leave one of them out.")
    if text and not data:
        raise ValueError(f"--text names the text's field in the files of --data; got --text {text} alone. Add --data FILE.")
    loaded, folder = _load(model, context.obj)
    if data:
        found = tasks_of_files(loaded, data, text, _recipe_of_files(recipe, folder, settings or (), context.obj))
    else:
        found = _tasks_of_recipe(loaded, recipe or folder / "recipe.yaml", settings or (), context.obj)
    names = _names(tasks, [task.name for task in found])
    for task in found:  # A saved model has no sources.
        mine = next(each for each in loaded.tasks if each.name == task.name)
        mine.sources, mine.label = task.sources, task.label
    scores = loaded.report(split := split or "test", names, batch_size, limit=limit)
    show_results({"split": split, "scores": scores}, Console())
    if json_file:
        write_json(json_file, scores)


@app.command()
def predict(
    context: typer.Context,
    model: ModelPath,
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="A text a line, UTF-8; - is standard input.")] = "-",
    tasks: TaskNames = None,
    pairs: Annotated[bool, typer.Option("--pairs", help="A line is two texts with a tab between them.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts in a batch.")] = 32,
) -> None:
    """Write a line of JSON for each line of text, in the same order; an empty line gives predictions of null."""
    from mtl.data.sources.files import existing
    from mtl.utils import regular_file

    path = Path("-") if file == "-" else existing(file)
    if file != "-":
        regular_file(path)
    loaded, _ = _load(model, context.obj)
    names = _names(tasks, [task.name for task in loaded.tasks if task.head.predicts])
    if file == "-":
        _predict(loaded, sys.stdin.buffer, "standard input", names, pairs, batch_size, batch_size)
    else:
        with path.open("rb") as lines:
            _predict(loaded, lines, file, names, pairs, batch_size, 16 * batch_size)


@app.command()
def export(
    context: typer.Context,
    model: ModelPath,
    out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="The folder to write.")],
    tasks: TaskNames = None,
) -> None:
    """Write a SavedModel that takes texts."""
    loaded, _ = _load(model, context.obj)
    loaded.export_text(out_dir, _names(tasks, [task.name for task in loaded.tasks if task.head.predicts]))
    Console().print(f"Written: {out_dir}", highlight=False)


@app.command()
def inspect(
    context: typer.Context,
    what: Annotated[Path, typer.Argument(metavar="RECIPE|MODEL", help="A recipe, or a model.")],
    settings: Settings = None,
    rows: Annotated[int, typer.Option(min=0, help="Rows shown of the first batch.")] = 3,
    labels: Annotated[int, typer.Option(min=1, help="Labels shown of a task.")] = 20,
) -> None:
    """Show a recipe's data before any training, or what a model holds."""
    from mtl.commands.inspection_tables import inspect_model, inspect_recipe

    if what.suffix in (".yaml", ".yml"):
        inspect_recipe(_recipe(what, settings, context.obj), Console(), labels, rows)
    else:
        inspect_model(_load(what, context.obj)[0], Console())


def _recipe(path: Path, settings: Iterable[str] | None, imports: Sequence[str]) -> Any:
    """Return a recipe that may name the classes of imported modules."""
    from mtl.recipe import Recipe

    return Recipe.load(path, settings or (), imports)


def _load(path: Path, imports: Sequence[str]) -> tuple[Any, Path]:
    """Return a saved model, and its folder."""
    file = path / "model.keras" if path.is_dir() else path
    if not file.exists():
        raise FileNotFoundError(f"No model '{file}'. Give a .keras file, or a folder that holds model.keras.")
    if file.suffix != ".keras":
        raise ValueError(f"Expected a model as a .keras file; got '{file}'.")
    import keras

    from mtl.commands.imported_modules import classes_of, import_modules
    from mtl.loading import load_model

    with keras.saving.custom_object_scope(classes_of(import_modules(imports))):
        return load_model(file), file.parent


def _names(given: list[str] | None, known: list[str]) -> list[str]:
    from mtl.utils import unknown_name

    names = [name.strip() for each in given or () for name in each.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise unknown_name("task", name, known)
    return names or known


def _tasks_of_recipe(model: Any, path: Path, settings: Any, imports: Sequence[str]) -> list[Any]:
    """Return a recipe's tasks, without those that serve training only.

    Raises:
        ValueError: the model has no such task.
    """
    from mtl.utils import unknown_name

    if not path.exists():
        raise FileNotFoundError(f"No recipe '{path}', which would say where the data is. Give --recipe RECIPE or --data FILE.")
    recipe = _recipe(path, settings, imports)
    tasks = recipe.build_tasks(recipe.build_sources()).values()
    for task in tasks:
        if task.name not in model.task_names:
            raise unknown_name("task of the model", task.name, model.task_names)
    return [task for task in tasks if task.head.predicts]


def _recipe_of_files(given: Path | None, folder: Path, settings: Any, imports: Sequence[str]) -> Any:
    """Return the recipe for reading files: the given one, or the one in the folder of the model, or None."""
    beside = folder / "recipe.yaml"
    if given or beside.exists():
        return _recipe(given or beside, settings, imports)
    if settings:
        raise ValueError(f"--set changes a recipe, and there is none beside the model, '{beside}'. Give --recipe RECIPE.")
    return None


def _predict(model: Any, lines: BinaryIO, name: str, tasks: list[str], pairs: bool, batch_size: int, chunk_size: int) -> None:
    from mtl.utils.brief import json_line

    numbered = enumerate(lines, 1)
    malformed: ValueError | None = None  # Raised after the lines before it are predicted.
    while malformed is None and (chunk := list(islice(numbered, chunk_size))):
        texts: list[Any] = []
        for number, line in chunk:
            try:
                texts.append(_text(line, number, name, pairs))
            except ValueError as error:
                malformed = error
                break
        filled = [text for text in texts if text is not None]
        predicted = model.predict_text(filled, tasks, batch_size) if filled else {}
        rows: Iterator[dict[str, Any]] = iter([{task: predicted[task][i] for task in tasks} for i in range(len(filled))])
        for text in texts:
            row: dict[str, Any] = {"text": text or ""}
            if isinstance(text, tuple):
                row = {"text": text[0], "pair": text[1]}
            row["predictions"] = None if text is None else next(rows)
            sys.stdout.buffer.write(f"{json_line(row)}\n".encode())
        sys.stdout.buffer.flush()
    if malformed is not None:
        raise malformed


def _text(line: bytes, number: int, name: str, pairs: bool) -> str | tuple[str, str] | None:
    """Return the text of a line; None for an empty one."""
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name}, line {number}: expected UTF-8 text; got the byte 0x{line[error.start]:02x}. Convert it, such as with iconv."
        ) from error
    if not text.strip():
        return None
    if not pairs:
        return text
    first, tab, second = text.partition("\t")
    if not tab:
        raise ValueError(f"{name}, line {number}: expected two texts with a tab between them; got no tab. Put one there.")
    return first, second


def main(command: str | None = None) -> None:
    """Run the command line.

    Args:
        command: the command, for scripts that run only one; None reads it from the command line.
    """
    app(args=[*([command] if command else []), *sys.argv[1:]], prog_name="mtl")
