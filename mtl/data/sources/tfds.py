"""Data sets of TensorFlow Datasets."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mtl.data.source import Source
from mtl.data.sources.fields import Convert, Field, Fields, Label, Text, class_names, plain
from mtl.data.sources.files import PathLike, files_fingerprint
from mtl.data.sources.records import RecordSource
from mtl.data.sources.rows import Segment
from mtl.utils.arguments import checked

__all__ = ["tfds"]


@checked
def tfds(
    name: str,
    text: Text = "text",
    label: Label = None,
    *,
    weight: Field | None = None,
    missing: float | None = -1,
    data_dir: PathLike | None = None,
    splits: Mapping[str, str] | None = None,
    download: bool = True,
    convert: Convert | None = None,
    segment: Segment | None = None,
    on_error: str = "raise",
    **builder_kwargs: Any,
) -> Source:
    """Return a source of the examples of a data set of TensorFlow Datasets.

    Args:
        name: name in `tfds.load`, such as `"glue/sst2"`.
        text: feature of the text, or a tuple of two for pairs of texts.
        label: one feature, several, or a dict from label name to feature. Classes become their names; `missing` means
            "not labelled".
        data_dir: folder of the data. None: TFDS's default.
        splits: split -> TFDS's split expression, such as `{"train": "train[:90%]", "validation": "train[90%:]"}`. None: the
            splits of the data set.
        download: whether to download and prepare a data set that is not there yet.
        missing: number that means "not labelled", for classes and for scores; None if -1 is an ordinary score.
        weight: feature of the examples' importance, finite numbers from 0; see `mtl.data.Example`. None: weight 1.
        convert: label name -> function from the feature's value to the label's value.
        segment: function from a text to its words, or "jieba"; sets the words of the examples.
        on_error: "raise" at a malformed record, or "skip" it and count it in `source.skipped`.
        **builder_kwargs: further arguments of `tfds.builder`, such as `config`.

    Returns:
        A source.

    Raises:
        FileNotFoundError: if the data set is not there and `download=False`.
        ValueError: if a feature does not exist, or a record is malformed (raised while reading).

    Example:

    ```python
    mtl.data.tfds("glue/sst2", text="sentence", label={"sentiment": "label"})
    ```
    """
    import tensorflow_datasets

    builder = tensorflow_datasets.builder(name, data_dir=data_dir, **builder_kwargs)
    if not builder.is_prepared():
        if not download:
            raise FileNotFoundError(f"Expected the data set '{name}' in '{builder.data_path}', got nothing; allow download=True.")
        builder.download_and_prepare()
    features = builder.info.features
    fields = Fields(text, label, convert, lambda field, value: class_names(features[field], plain(value), missing), weight)
    fields.check(name, features)
    found = dict(splits) if splits is not None else {split: split for split in builder.info.splits}

    def start(split: str) -> Iterable[Mapping[Field, Any]]:
        config = tensorflow_datasets.ReadConfig(try_autocache=False)
        return tensorflow_datasets.as_numpy(builder.as_dataset(split=split, shuffle_files=False, read_config=config))

    folder = Path(builder.data_path)
    files = {"": sorted(entry for entry in folder.rglob("*") if entry.is_file())}
    arguments = (builder.info.full_name, text, label, weight, missing, found, convert, segment, on_error)
    return RecordSource(
        builder.info.full_name, found, fields, start,
        segment=segment, fractions=None, seed=0, on_error=on_error,
        fingerprint=files_fingerprint(files, arguments) if files[""] else None,
    )  # fmt: skip
