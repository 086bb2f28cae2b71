import keras
import numpy as np
import pytest

from mtl import MultiTaskModel, Task
from mtl.heads import Classification
from mtl.penalties import L2SP
from tests.tiny import Bag
from tests.two_tasks import batch

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def model_with(*penalties):
    tasks = [Task("mood", Classification(3, dropout=0.0)), Task("other", Classification(2, dropout=0.0))]
    return MultiTaskModel(Bag(), tasks, penalties=penalties)


def test_the_distance_from_the_start_and_the_norm_of_what_is_new():
    model = model_with(L2SP(alpha=0.2, beta=0.1))
    model.encoder.embedding.embeddings.assign_add(np.full([20, 6], 0.5))
    kernels = [weight for head in model.heads.values() for weight in head.get_weights()]
    expected = 0.1 * 120 * 0.25 + 0.05 * sum((weight**2).sum() for weight in kernels)
    assert float(model.penalty()) == pytest.approx(expected, rel=1e-5)
    model.encoder.trainable = False
    assert float(model.penalty()) == pytest.approx(expected - 3.0, rel=1e-5)


def test_plain_descent_ends_nearer_to_the_start():
    distances = []
    for alpha in (0.0, 3.0):
        keras.utils.set_random_seed(0)
        model = model_with(L2SP(alpha=alpha))
        start = model.encoder.embedding.embeddings.numpy()
        model.compile(keras.optimizers.SGD(0.3))
        x, y, _ = batch()
        model.fit(x, {"mood": y["mood"], "other": y["mood"] % 2}, epochs=20, verbose=0)
        distances.append(np.linalg.norm(model.encoder.embedding.embeddings.numpy() - start))
    assert distances[1] < 0.5 * distances[0]


def test_the_start_is_saved_and_goes_along(tmp_path):
    model = model_with(L2SP(alpha=0.2, beta=0.1))
    model.encoder.embedding.embeddings.assign_add(np.full([20, 6], 0.5))
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    assert float(copy.penalty()) == pytest.approx(float(model.penalty()))
    part, more = model.subset(["mood"]), model.add_task(Task("third", Classification(2)))
    for other in (part, more):
        assert float(other.penalties[0].value()) > 3.0
        np.testing.assert_array_equal(other.penalties[0].starts["trunk"][0], model.penalties[0].starts["trunk"][0])


def test_factors_below_zero():
    with pytest.raises(ValueError, match="L2SP expects `alpha` as a finite number from 0; got -1"):
        L2SP(alpha=-1)
