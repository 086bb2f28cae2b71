import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from benchmarks.balancing_passes import app, ratios, sum_of_gradients
from benchmarks.balancing_step import Setting, batch


def test_all_passes_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    monkeypatch.setattr(keras.layers.Dropout, "call", lambda self, inputs, training=False: inputs)
    ids = tf.constant(batch(Setting(side="mtl", method="Static", tasks=1, size="small"))[0])
    of_passes = sum_of_gradients("small")
    np.testing.assert_allclose(of_passes(ids, 8), of_passes(ids, 1), rtol=1e-3)


def test_a_ratio_for_each_round() -> None:
    found = ratios("small", [2, 4], rounds=3)
    assert list(found) == [2, 4] and all(len(each) == 3 and min(each) > 0 for each in found.values())


@pytest.mark.parametrize("arguments", [["--tasks", "3", "--size", "small"], ["--size", "huge"], ["--tasks", "0"]])
def test_what_cannot_be_divided(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2 and "divisors" in result.output
