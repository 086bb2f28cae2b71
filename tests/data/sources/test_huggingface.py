import datasets
import pytest

from mtl.data import huggingface
from mtl.data.example import Example

ROWS = {"tokens": [["我", "x"], ["y"]], "tags": [[0, 1], [0]], "topic": [1, -1], "note": ["a", None]}
FEATURES = datasets.Features(
    {
        "tokens": datasets.List(datasets.Value("string")),
        "tags": datasets.List(datasets.ClassLabel(names=["O", "B"])),
        "topic": datasets.ClassLabel(names=["sport", "news"]),
        "note": datasets.Value("string"),
    }
)


@pytest.fixture
def data():
    datasets.disable_progress_bars()
    return datasets.Dataset.from_dict(ROWS, features=FEATURES)


def test_a_saved_data_set(data, tmp_path):
    datasets.DatasetDict({"train": data, "validation_matched": data.select([1])}).save_to_disk(str(tmp_path / "saved"))
    source = huggingface(tmp_path / "saved", "tokens", ["tags", "topic", "note"])
    assert source.splits == ("train", "validation_matched") and source.name == "saved"
    assert list(source.examples()) == [
        Example("我 x", None, ((0, 1), (2, 3)), {"tags": ["O", "B"], "topic": "news", "note": "a"}),
        Example("y", None, ((0, 1),), {"tags": ["O"]}),
    ]
    assert [example.text for example in source.examples("validation_matched")] == ["y"]
    assert source.fingerprint == huggingface(tmp_path / "saved", "tokens", ["tags", "topic", "note"]).fingerprint
    assert source.fingerprint != huggingface(tmp_path / "saved", "tokens", "tags").fingerprint


def test_a_data_set_in_memory(data):
    source = huggingface(data, "tokens", "topic", fractions={"train": 0.5, "test": 0.5})
    assert source.splits == ("train", "test") and source.fingerprint is None
    assert sum(1 for split in source.splits for _ in source.examples(split)) == 2
    assert huggingface(datasets.DatasetDict({"train": data, "valid": data}), "tokens").splits == ("train", "validation")


def test_parts_that_number_their_classes_in_other_orders():
    def part(names):
        features = datasets.Features({"text": datasets.Value("string"), "topic": datasets.ClassLabel(names=names)})
        return datasets.Dataset.from_dict({"text": ["a", "b"], "topic": [0, 1]}, features=features)

    source = huggingface(datasets.DatasetDict({"train": part(["news", "sport"]), "test": part(["sport", "news"])}), label="topic")
    assert [example.labels["topic"] for example in source.examples("train")] == ["news", "sport"]
    assert [example.labels["topic"] for example in source.examples("test")] == ["sport", "news"]


def test_columns_that_do_not_exist(data):
    with pytest.raises(ValueError, match="Unknown field of 'dataset' 'token'; did you mean 'tokens'"):
        huggingface(data, "token")


def test_folders_without_a_data_set(tmp_path):
    (tmp_path / "saved").mkdir()
    with pytest.raises(FileNotFoundError, match="did you mean '.*saved'"):
        huggingface(tmp_path / "savd")
    with pytest.raises(FileNotFoundError, match="is neither a `Dataset` directory nor a `DatasetDict` directory"):
        huggingface(tmp_path / "saved")


def test_scores_that_are_not_given():
    """As in the hidden test split of STS-B, whose scores are all -1.0."""
    dataset = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "score": [-1.0, 2.5, float("nan")], "stars": [-1, 4, 5]})
    found = [e.labels for e in huggingface(dataset, label=["score", "stars"], fractions=None).examples("train")]
    assert found == [{}, {"score": 2.5, "stars": 4}, {"stars": 5}]
    found = [e.labels for e in huggingface(dataset, label="score", missing=None, fractions=None).examples("train")]
    assert found == [{"score": -1.0}, {"score": 2.5}, {}]
    found = [e.labels for e in huggingface(dataset, label="score", missing=2.5, fractions=None).examples("train")]
    assert found == [{"score": -1.0}, {}, {}]
