import pytest
import tensorflow as tf

from mtl.training.strategies import make_strategy


def test_by_name():
    assert make_strategy("one") is None
    assert isinstance(make_strategy("mirrored"), tf.distribute.MirroredStrategy)
    with pytest.raises(ValueError, match="Unknown strategy 'miror'; did you mean 'mirrored'"):
        make_strategy("miror")


def test_workers_must_be_told(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    with pytest.raises(ValueError, match="expects TF_CONFIG, .* it is not set"):
        make_strategy("multiworker")


NOBODY = '{"cluster": {}, "task": {"type": "worker", "index": 0}}'


@pytest.mark.parametrize("text", ["{", "[]", '{"cluster": {"worker": ["a:1"]}}', NOBODY])
def test_what_they_are_told_must_be_whole(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="TF_CONFIG expects"):
        make_strategy("multiworker")
