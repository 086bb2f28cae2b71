from mtl.heads.classification import Classification
from mtl.heads.head import Head, Target
from mtl.heads.masked_lm import MaskedLM
from mtl.heads.multi_label import MultiLabel
from mtl.heads.regression import Regression
from mtl.heads.tagging import Tagging

__all__ = ["Classification", "Head", "MaskedLM", "MultiLabel", "Regression", "Tagging", "Target"]
