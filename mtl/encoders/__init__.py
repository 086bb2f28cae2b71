from mtl.encoders.encoder import Encoder
from mtl.encoders.keras_model import KerasModel
from mtl.encoders.pretrained import Pretrained
from mtl.encoders.recurrent import Recurrent
from mtl.encoders.transformer import Transformer

__all__ = ["Encoder", "KerasModel", "Pretrained", "Recurrent", "Transformer"]
