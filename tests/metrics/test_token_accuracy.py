import numpy as np
import pytest

from mtl.metrics import TokenAccuracy

GOLD = np.array([[0, 1, 2], [2, 2, 0]])
FOUND = np.array([[0, 2, 2], [1, 2, 2]])
WEIGHT = np.array([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0]])  # Right: 1 and 1 of 5.


@pytest.mark.parametrize("outputs", [FOUND, np.eye(3)[FOUND], {"ids": FOUND}], ids=["ids", "logits", "dict"])
def test_accuracy_is_weighted(outputs):
    metric = TokenAccuracy()
    metric.update_state(GOLD, outputs, WEIGHT, {})
    assert float(metric.result()) == pytest.approx(2 / 5)
    metric.update_state(GOLD, GOLD, np.ones((2, 3)), {})
    assert float(metric.result()) == pytest.approx(8 / 11)


def test_no_tokens():
    assert np.isnan(float(TokenAccuracy().result()))
