"""Data sets by their name in TensorFlow Datasets."""

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
    """Examples of a data set of TensorFlow Datasets.

    Args:
        name: as in `tfds.load`, such as `"glue/sst2"`.
        text: the text's feature, or a tuple of two for pairs of texts.
        label: a feature, several, or a dict from label name to feature. Classes become their names; `missing` is "not labelled".
        data_dir: where the data are kept. None: TFDS's own place.
        splits: split -> TFDS's way to say it, such as `{"train": "train[:90%]", "validation": "train[90%:]"}`. None: the splits
            that the data set has.
        download: whether the data set is downloaded and prepared where it is not yet.
        missing: the number that means "not labelled", of classes and of scores; None where -1 is a score like any other.
        weight: the feature of the examples' importance, finite numbers from 0; see `mtl.data.Example`. None: all count 1.
        convert: label name -> function from the feature's value to the label's value.
        segment: a function from a text to its words, or "jieba"; gives the examples words.
        on_error: "raise" at a malformed record, or "skip" it and count it in `source.skipped`.
        **builder_kwargs: further arguments of `tfds.builder`, such as `config`.

    Returns:
        A source.

    Raises:
        FileNotFoundError: the data set is not there and `download=False`.
        ValueError: a feature does not exist, or, while reading, a record is malformed.

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
