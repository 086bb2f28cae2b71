"""Transfer learning: freezing, learning rates, cached features and pretrained encoders."""

from mtl.transfer.features import CachedFeatures, extract, head_model
from mtl.transfer.freezing import freeze, unfreeze
from mtl.transfer.optimizers import ScaledAdamW, adamw
from mtl.transfer.schedules import Warmup, warmup_schedule
from mtl.transfer.start import load_encoder

__all__ = [
    "CachedFeatures",
    "ScaledAdamW",
    "Warmup",
    "adamw",
    "extract",
    "freeze",
    "head_model",
    "load_encoder",
    "unfreeze",
    "warmup_schedule",
]
