from mtl.metrics.confusion_matrix import ConfusionMatrix
from mtl.metrics.keras_metric import KerasMetric
from mtl.metrics.label_counts import LabelCounts
from mtl.metrics.perplexity import Perplexity
from mtl.metrics.regression_scores import RegressionScores
from mtl.metrics.span_f1 import SpanF1, span_scores
from mtl.metrics.subset_accuracy import SubsetAccuracy
from mtl.metrics.task_metric import TaskMetric
from mtl.metrics.token_accuracy import TokenAccuracy

__all__ = [
    "ConfusionMatrix",
    "KerasMetric",
    "LabelCounts",
    "Perplexity",
    "RegressionScores",
    "SpanF1",
    "SubsetAccuracy",
    "TaskMetric",
    "TokenAccuracy",
    "span_scores",
]
