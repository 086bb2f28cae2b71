import numpy as np
import pytest
import tensorflow_datasets

from mtl.data import tfds
from mtl.data.example import Example


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set as TFDS keeps them, under the name `tiny`."""
    folder = tmp_path_factory.mktemp("tfds")
    features = tensorflow_datasets.features
    tensorflow_datasets.disable_progress_bar()
    tensorflow_datasets.dataset_builders.store_as_tfds_dataset(
        "tiny",
        version="1.0.0",
        features=features.FeaturesDict(
            {
                "premise": features.Text(),
                "words": features.Sequence(features.Text()),
                "tags": features.Sequence(features.ClassLabel(names=["O", "B"])),
                "answer": features.ClassLabel(names=["no", "yes"]),
                "score": np.float32,
            }
        ),
        split_datasets={
            "train": [
                (i, {"premise": f"p{i}", "words": ["我", "x"], "tags": [0, 1], "answer": i % 2, "score": i / 4}) for i in range(8)
            ],
            "validation": [(0, {"premise": "q", "words": [], "tags": [], "answer": -1, "score": 0.5})],
        },
        data_dir=folder,
        disable_shuffling=True,
    )
    return folder


def test_features(folder):
    source = tfds("tiny", ("words", "premise"), ["tags", "answer", "score"], data_dir=folder)
    assert source.splits == ("train", "validation") and source.name == "tiny/1.0.0"
    assert [example.labels["score"] for example in source.examples()] == [i / 4 for i in range(8)]
    assert next(source.examples()) == Example("我 x", "p0", ((0, 1), (2, 3)), {"tags": ["O", "B"], "answer": "no", "score": 0.0})
    assert list(source.examples("validation")) == [Example("", "q", (), {"tags": [], "score": 0.5})]


def test_splits(folder):
    source = tfds("tiny", "premise", data_dir=folder, splits={"train": "train[:75%]", "dev": "train[75%:]"})
    assert [example.text for example in source.examples("train")] == ["p0", "p1", "p2", "p3", "p4", "p5"]
    assert [example.text for example in source.examples("validation")] == ["p6", "p7"]


def test_fingerprint(folder):
    before = tfds("tiny", "premise", data_dir=folder).fingerprint
    assert before and tfds("tiny", "premise", data_dir=folder).fingerprint == before
    assert tfds("tiny", "premise", "answer", data_dir=folder).fingerprint != before
    assert tfds("tiny", "premise", data_dir=folder, splits={"train": "train"}).fingerprint != before


def test_features_that_do_not_exist(folder):
    with pytest.raises(ValueError, match="Unknown field of 'tiny' 'answers'; did you mean 'answer'"):
        tfds("tiny", "premise", "answers", data_dir=folder)


class Tiny(tensorflow_datasets.core.GeneratorBasedBuilder):
    """A data set that is not prepared yet."""

    VERSION = tensorflow_datasets.core.Version("1.0.0")
    name = "prepared_when_asked"

    def _info(self):
        return self.dataset_info_from_configs(
            features=tensorflow_datasets.features.FeaturesDict({"text": tensorflow_datasets.features.Text()})
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield 0, {"text": "made"}


def test_download(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="Expected the data set 'prepared_when_asked' in .*, got nothing; allow download=True"
    ):
        tfds("prepared_when_asked", data_dir=tmp_path, download=False)
    assert list(tfds("prepared_when_asked", data_dir=tmp_path).examples()) == [Example("made")]
    assert list(tfds("prepared_when_asked", data_dir=tmp_path, download=False).examples()) == [Example("made")]
