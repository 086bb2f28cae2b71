import pytest

from mtl.reports.metrics import better, main_metrics, shown


def test_main_figures() -> None:
    one_of_several = {"accuracy": 1.0, "macro_f1": 1.0, "macro_recall": 1.0, "micro_f1": 1.0, "mcc": 1.0, "examples": 9}
    assert main_metrics(one_of_several) == ["accuracy", "macro_f1"]
    assert main_metrics({"subset_accuracy": 1.0, "macro_f1": 1.0, "micro_f1": 1.0}) == ["subset_accuracy", "macro_f1", "micro_f1"]
    assert main_metrics({"mae": 1.0, "mse": 1.0, "rmse": 1.0, "pearson": 1.0, "spearman": 1.0}) == ["mae", "rmse", "pearson"]
    assert main_metrics({"examples": 3, "x": 1.0, "y": 1.0}, most=1) == ["x"]
    tags = {"accuracy": 0.5, "span_f1": 0.5, "span_recall": 0.5, "type_accuracy": 0.5, "examples": 9}
    assert main_metrics(tags, [{"span_f1": 0.1}]) == ["accuracy", "span_f1"]
    assert main_metrics(tags, [{"span_f1": 0.1}, {"type_accuracy": 0.1}]) == ["accuracy", "span_f1", "type_accuracy"]


@pytest.mark.parametrize(
    ("figure", "value", "other", "expected"),
    [
        ("accuracy", 0.9, 0.8, True), ("accuracy", 0.8, 0.8, False), ("span_f1", 0.7, 0.8, False),
        ("mae", 0.7, 0.8, True), ("val_loss", 0.9, 0.8, False), ("perplexity", 9.0, 10.0, True),
    ],
)  # fmt: skip
def test_better(figure: str, value: float, other: float, expected: bool) -> None:
    assert better(figure, value, other) is expected


def test_shown() -> None:
    assert (shown(0.12345), shown(12345)) == ("0.1235", "12,345")
