import keras
import pytest

from mtl.utils.configs import check_config


def test_plain_objects_pass():
    import keras_hub

    backbone = keras_hub.models.BertBackbone(9, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=4)
    layers = [keras.layers.Dense(2), keras.layers.StringLookup(vocabulary=["a"]), keras_hub.layers.SinePositionEncoding()]
    for value in (backbone, keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(0.1, 3)), *layers):
        check_config({"part": [keras.saving.serialize_keras_object(value)]}, "x")
    check_config({"labels": ["/etc/passwd"], "vocabulary": "/etc", "tokenizer": None}, "x")  # No object of Keras's.


def test_what_does_not_pass():
    deep: dict[str, list] = {}
    for _ in range(300):
        deep = {"a": [deep]}
    with pytest.raises(ValueError, match="at most 200 levels in the configuration of x"):
        check_config(deep, "x")
    with pytest.raises(ValueError, match=r"Expected a configuration by name for x; got \[1\]"):
        check_config([1], "x")
    for registered in ("keras_hub>NoSuch", "keras_hub>Tokenizer", "keras_hub>BertTokenizer", "keras_hub>BertTextClassifier"):
        with pytest.raises(ValueError, match="which is no layer or network"):
            check_config({"class_name": "X", "module": "mtl.model", "registered_name": registered, "config": {}}, "x")
