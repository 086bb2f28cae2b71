from mtl.encoders.encoder import Encoder
from mtl.encoders.pretrained import Pretrained
from mtl.encoders.recurrent import Recurrent
from mtl.encoders.transformer import Transformer

__all__ = ["Encoder", "Pretrained", "Recurrent", "Transformer"]
