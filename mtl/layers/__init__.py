from mtl.layers.crf import crf_log_likelihood, crf_marginals, crf_viterbi
from mtl.layers.mixed_features import MixedFeatures
from mtl.layers.ngram_linear import NGramLinear
from mtl.layers.packing import Packing
from mtl.layers.pooling import Pooling
from mtl.layers.readout import Readout
from mtl.layers.scalar_mix import ScalarMix
from mtl.layers.token_dropout import TokenDropout

__all__ = [
    "MixedFeatures",
    "NGramLinear",
    "Packing",
    "Pooling",
    "Readout",
    "ScalarMix",
    "TokenDropout",
    "crf_log_likelihood",
    "crf_marginals",
    "crf_viterbi",
]
