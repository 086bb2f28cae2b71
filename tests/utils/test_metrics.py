"""Which of two figures is better."""

import pytest

from mtl.utils import less_is_better


@pytest.mark.parametrize("name", ["loss", "val_loss", "topic_loss", "val_stars_mae", "rmse", "val_lm_perplexity"])
def test_less_of_losses_and_errors_is_better(name: str) -> None:
    assert less_is_better(name)


@pytest.mark.parametrize("name", ["accuracy", "val_errors_accuracy", "val_error_type_accuracy", "val_loss_mentions_span_f1"])
def test_a_task_named_like_an_error_changes_nothing(name: str) -> None:
    assert not less_is_better(name)
