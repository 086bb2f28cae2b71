"""Direction of metrics."""

__all__ = ["less_is_better"]

_LESS = ("loss", "mae", "mse", "rmse", "perplexity")


def less_is_better(name: str) -> bool:
    """Return whether lower values of a figure are better: losses, errors and perplexity. Names in logs end with the metric.

    Example:

    >>> less_is_better("val_stars_mae"), less_is_better("val_loss"), less_is_better("val_errors_accuracy")
    (True, True, False)
    """
    return name.split("_")[-1] in _LESS
