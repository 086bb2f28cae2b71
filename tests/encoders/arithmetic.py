"""Encoders' arithmetic in NumPy, float64, one row at a time; and small Hugging Face folders."""

import json
from math import erf, pi, sqrt

import numpy as np
from safetensors.numpy import save_file

ACTIVATIONS = {
    "gelu": lambda x: 0.5 * x * (1 + np.vectorize(erf)(x / sqrt(2))),
    "gelu_new": lambda x: 0.5 * x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(x, kernel, recurrent, bias):
    h = c = np.zeros(len(recurrent))
    outputs = []
    for step in x:
        i, f, g, o = np.split(step @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.array(outputs)


def gru(x, kernel, recurrent, bias):
    h = np.zeros(len(recurrent))
    outputs = []
    for step in x:
        xz, xr, xh = np.split(step @ kernel + bias[0], 3)
        hz, hr, hh = np.split(h @ recurrent + bias[1], 3)
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        h = z * h + (1 - z) * np.tanh(xh + r * hh)
        outputs.append(h)
    return np.array(outputs)


def layer_norm(x, gamma, beta, epsilon):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * gamma + beta


def attention(x, mask, heads, query, key, value, output):
    """`query` and the others are `(kernel [H, H], bias [H])`."""

    def split(pair):
        return (x @ pair[0] + pair[1]).reshape(len(x), heads, -1).swapaxes(0, 1)

    q, k, v = split(query), split(key), split(value)
    scores = q @ k.swapaxes(1, 2) / sqrt(q.shape[-1])
    scores = np.where(mask[None, None].astype(bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return (weights @ v).swapaxes(0, 1).reshape(len(x), -1) @ output[0] + output[1]


def bert(tensors, config, token_ids, mask, segment_ids, first_position=0):
    """BERT's last layer for one row, from the tensors of a Hugging Face checkpoint."""
    before = next(name for name in tensors if name.endswith("embeddings.word_embeddings.weight"))
    before = before.removesuffix("embeddings.word_embeddings.weight")
    t = {name.removeprefix(before): value.astype("float64") for name, value in tensors.items()}
    epsilon, activation = config["layer_norm_eps"], ACTIVATIONS[config["hidden_act"]]

    def dense(name):
        return t[f"{name}.weight"].T, t[f"{name}.bias"]

    def norm(x, name):
        return layer_norm(x, t[f"{name}.weight"], t[f"{name}.bias"], epsilon)

    x = t["embeddings.word_embeddings.weight"][token_ids] + t["embeddings.token_type_embeddings.weight"][segment_ids]
    x = x + t["embeddings.position_embeddings.weight"][first_position : first_position + len(token_ids)]
    x = norm(x, "embeddings.LayerNorm")
    for i in range(config["num_hidden_layers"]):
        block = f"encoder.layer.{i}"
        parts = [dense(f"{block}.attention.{name}") for name in ("self.query", "self.key", "self.value", "output.dense")]
        x = norm(x + attention(x, mask, config["num_attention_heads"], *parts), f"{block}.attention.output.LayerNorm")
        (up, up_bias), (down, down_bias) = dense(f"{block}.intermediate.dense"), dense(f"{block}.output.dense")
        x = norm(x + activation(x @ up + up_bias) @ down + down_bias, f"{block}.output.LayerNorm")
    return x


def write_bert(folder, prefix="", words=(), **changes):
    """A Hugging Face folder of a very small BERT-like model with random weights; returns its tensors and configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "bert",
        "vocab_size": 30,
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 12,
        "max_position_embeddings": 20,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "hidden_dropout_prob": 0.1,
        "pad_token_id": 0,
        **changes,
    }
    rng = np.random.default_rng(0)
    tensors = {}

    def add(name, *shape):
        tensors[prefix + name] = rng.normal(size=shape).astype("float32")

    h, f = config["hidden_size"], config["intermediate_size"]
    add("embeddings.word_embeddings.weight", config["vocab_size"], h)
    add("embeddings.position_embeddings.weight", config["max_position_embeddings"], h)
    add("embeddings.token_type_embeddings.weight", config["type_vocab_size"], h)
    norms, denses = ["embeddings.LayerNorm"], [("pooler.dense", h, h)]
    for i in range(config["num_hidden_layers"]):
        block = f"encoder.layer.{i}"
        norms += [f"{block}.attention.output.LayerNorm", f"{block}.output.LayerNorm"]
        denses += [(f"{block}.attention.{name}", h, h) for name in ("self.query", "self.key", "self.value", "output.dense")]
        denses += [(f"{block}.intermediate.dense", f, h), (f"{block}.output.dense", h, f)]
    for name in norms:
        add(f"{name}.weight", h)
        add(f"{name}.bias", h)
    for name, rows, columns in denses:
        add(f"{name}.weight", rows, columns)
        add(f"{name}.bias", rows)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    if words:
        (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    return tensors, config
