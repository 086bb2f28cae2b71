import numpy as np
import pytest

from mtl.penalties import TowardsMean
from mtl.sharing import Hard
from tests.two_tasks import make_model


def test_tops_are_drawn_to_their_mean():
    model = make_model("sgd", sharing=Hard(top_layers=1), top=True)
    penalty = TowardsMean(0.5, "top/*").bind(model.parts())
    assert float(penalty.value()) == 0.0
    for task, value in (("mood", 1.0), ("score", 4.0)):
        kernel, bias = model.sharing.tops[task].get_weights()
        model.sharing.tops[task].set_weights([np.full_like(kernel, value), np.zeros_like(bias)])
    assert float(penalty.value()) == pytest.approx(0.5 * 36 * (1.5**2 + 1.5**2))


def test_what_cannot_be_compared_is_refused():
    model = make_model("sgd")
    with pytest.raises(ValueError, match="'head/mood' and 'head/score' differ"):
        TowardsMean(1.0, "head/*").bind(model.parts())
    with pytest.raises(ValueError, match="TowardsMean expects `strength` as a finite number from 0; got -1"):
        TowardsMean(-1, "head/*")
