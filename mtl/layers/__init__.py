from mtl.layers.crf import crf_log_likelihood, crf_marginals, crf_viterbi
from mtl.layers.pooling import Pooling
from mtl.layers.readout import Readout

__all__ = ["Pooling", "Readout", "crf_log_likelihood", "crf_marginals", "crf_viterbi"]
