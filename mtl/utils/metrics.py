"""Which of two figures is better."""

__all__ = ["less_is_better"]

_LESS = ("loss", "mae", "mse", "rmse", "perplexity")


def less_is_better(name: str) -> bool:
    """Whether less of a figure is better: of losses, errors and perplexity. Its name in logs ends with the metric's.

    Example:

    >>> less_is_better("val_stars_mae"), less_is_better("val_loss"), less_is_better("val_errors_accuracy")
    (True, True, False)
    """
    return name.split("_")[-1] in _LESS
