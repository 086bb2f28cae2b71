from mtl.baselines.compare import BASELINES, compare
from mtl.baselines.majority import majority
from mtl.baselines.ngrams import character_ngrams, word_ngrams
from mtl.baselines.snownlp_models import character_model, tnt

__all__ = ["BASELINES", "character_model", "character_ngrams", "compare", "majority", "tnt", "word_ngrams"]
