"""Strategies of `tf.distribute` by name."""

import json
import os
from typing import Any

import tensorflow as tf

from mtl.utils import unknown_name

__all__ = ["STRATEGIES", "make_strategy"]

#: Strategies by name.
STRATEGIES = {
    "one": "one device",
    "mirrored": "all GPUs of this machine",
    "multiworker": "several processes, told by TF_CONFIG or by SLURM",
    "tpu": "the TPU that TPU_NAME says, or the one of this machine",
}


def make_strategy(name: str) -> Any:
    """Return a strategy, or None for `"one"`. With several processes, create it before any other call of TensorFlow.

    Args:
        name: one of `STRATEGIES`.

    Raises:
        ValueError: an unknown name, or `"multiworker"` without a list of the workers.

    Example:

    >>> make_strategy("one") is None
    True
    """
    if name not in STRATEGIES:
        raise unknown_name("strategy", name, STRATEGIES)
    if name == "one":
        return None
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if name == "tpu":
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=os.environ.get("TPU_NAME", "local"))
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    if os.environ.get("TF_CONFIG"):
        _check_cluster(os.environ["TF_CONFIG"])
        return tf.distribute.MultiWorkerMirroredStrategy()
    if "SLURM_PROCID" in os.environ:
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver()
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    raise ValueError(
        "The strategy 'multiworker' expects TF_CONFIG, which says who the workers are and which of them this one is; it is not "
        "set. Start workers on one machine with scripts/supervise.py, or see docs/distributed.md."
    )


def _check_cluster(text: str) -> None:
    try:
        config = json.loads(text)
        workers, index = config["cluster"].get("worker", []), config["task"]["index"]
        known = config["task"]["type"] in config["cluster"] and isinstance(workers, list) and index >= 0
    except (ValueError, KeyError, TypeError, AttributeError):
        known = False
    if not known:
        raise ValueError(
            'TF_CONFIG expects {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": 0}}; '
            f"got {text[:200]!r}."
        )
