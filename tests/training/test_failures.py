from types import SimpleNamespace

import pytest
import tensorflow as tf

from mtl.training.failures import explained
from tests.two_tasks import batch, make_model

#: As TensorFlow words it.
MESSAGE = """Graph execution error:

Detected at node cond/CollectiveReduceV2 defined at (most recent call last):
  File "train.py", line 1, in <module>
    model.fit(train)

Connection reset by peer
Additional GRPC error information
\t [[{{node cond/CollectiveReduceV2_1}}]] [Op:__inference_execute_2285]"""

WORKERS = SimpleNamespace(num_replicas_in_sync=2, extended=SimpleNamespace(worker_devices=("CPU:0",)))


def test_a_worker_that_is_gone():
    with pytest.raises(ConnectionError, match="Another worker .* TensorFlow says: Connection reset by peer$"):
        with explained(WORKERS):
            raise tf.errors.UnavailableError(None, None, MESSAGE)


def test_an_error_of_its_own_is_no_other_worker():
    with pytest.raises(tf.errors.InternalError, match="cuBLAS"):
        with explained(WORKERS):
            raise tf.errors.InternalError(None, None, "cuBLAS failed")
    with pytest.raises(ConnectionError):
        with explained(WORKERS):
            raise tf.errors.InternalError(None, None, "Broken connection")


def test_what_else_is_not_found_is_no_file():
    with pytest.raises(tf.errors.NotFoundError, match="No registered kernel"):
        with explained(None):
            raise tf.errors.NotFoundError(None, None, "No registered kernel")


def test_one_process_has_no_other():
    with pytest.raises(tf.errors.UnavailableError):
        with explained(None):
            raise tf.errors.UnavailableError(None, None, "reset")


def test_a_file_that_is_gone(tmp_path):
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    files[0].write_text("one")
    with pytest.raises(FileNotFoundError, match=r"A file of the training's data cannot be found: .*b\.txt.*start again\.$"):
        with explained(None):
            list(tf.data.TextLineDataset([str(file) for file in files]))
    generated = tf.data.Dataset.range(1).map(lambda _: tf.numpy_function(lambda: open(files[1]).read(), [], tf.string))
    with pytest.raises(FileNotFoundError, match=r"A file of the training's data cannot be found: FileNotFoundError: .*b\.txt"):
        with explained(None):
            list(generated)


@pytest.mark.parametrize("wrong", [3, -2])
def test_a_class_that_there_is_not_leaves_the_model_as_it_was(wrong):
    x, y, weight = batch(8)
    model = make_model("sgd")
    before = model.get_weights()
    y["mood"][5] = wrong
    with pytest.raises(
        ValueError, match=f"Expected class ids from 0 to 2 for head 'mood_head'; among those that came is {wrong}"
    ):
        model.fit(x, y, sample_weight=weight, verbose=0)
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
    weight["mood"][5] = 0.0
    model.fit(x, y, sample_weight=weight, verbose=0)


def test_other_errors_stay_as_they_are():
    wrong = tf.data.Dataset.range(1).map(lambda _: tf.numpy_function(lambda: 1 // 0, [], tf.int64))
    with pytest.raises(tf.errors.UnknownError, match="ZeroDivisionError"):
        with explained(None):
            list(wrong)
