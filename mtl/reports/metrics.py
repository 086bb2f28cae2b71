"""Choice, comparison and formatting of a task's figures in tables."""

from collections.abc import Iterable, Mapping

from mtl.utils import less_is_better

__all__ = ["better", "main_metrics", "shown"]

MAIN = (
    "accuracy", "macro_f1", "subset_accuracy", "micro_f1", "span_f1", "pearson", "spearman", "mae", "rmse", "perplexity",
)  # fmt: skip


def main_metrics(scores: Mapping[str, float], others: Iterable[Mapping[str, float]] = (), most: int = 3) -> list[str]:
    """Return the most important figures of a report, in its order; the first ones if none is known.

    Args:
        scores: the report.
        others: reports to compare it with; if it has none of the chosen figures, those that it shares with `scores` are added.
        most: maximum number, not counting those added for `others`.

    Example:

    >>> main_metrics({"accuracy": 0.5, "examples": 3, "macro_recall": 0.5, "macro_f1": 0.4})
    ['accuracy', 'macro_f1']
    """
    names = [name for name in scores if name not in ("examples", "unknown")]
    known = [name for name in names if name in MAIN]
    if "macro_f1" in known and "accuracy" in known:  # For one class out of several, micro F1 equals accuracy.
        known = [name for name in known if name != "micro_f1"]
    chosen = (known or names)[:most]
    for other in others:
        if not any(name in other for name in chosen):
            chosen += [name for name in names if name in other]
    return chosen


def better(figure: str, value: float, other: float) -> bool:
    """Return whether a value is better than another: greater, or for losses and errors lower.

    Example:

    >>> better("accuracy", 0.9, 0.8), better("mae", 0.9, 0.8)
    (True, False)
    """
    return value < other if less_is_better(figure) else value > other


def shown(value: float) -> str:
    """Format a figure: four decimals, whole numbers without decimals."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
