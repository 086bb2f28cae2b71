import io

from rich.console import Console

from mtl.commands.progress import EpochProgress


def test_a_line_a_task() -> None:
    out = io.StringIO()
    progress = EpochProgress(Console(file=out, width=200), ["mood", "places"], ["mood"])
    progress.set_params({"steps": 2})
    progress.on_epoch_begin(0)
    progress._shown -= 1
    progress.on_train_batch_end(0, {"loss": 2.0})
    logs = {
        "loss": 1.0,
        "val_loss": 3.0,
        "mood_loss": 0.5,
        "val_mood_loss": 0.25,
        "mood_accuracy": 0.75,
        "val_mood_accuracy": 0.5,
    }
    logs |= {"mood_macro_recall": 0.1, "places_loss": 0.125, "val_places_loss": 0.0}
    progress.on_epoch_end(0, logs)
    logs |= {"places_loss": float("nan"), "mood_loss": float("nan")}
    progress.on_epoch_end(1, logs)
    progress.stop()
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("Epoch 1: loss 1.0000 (validation 3.0000), ")
    assert lines[4:] == [
        "  mood: loss not measured (validation 0.2500), accuracy 0.7500 (validation 0.5000)",
        "  places: loss not measured",
    ]
    assert lines[1:3] == [
        "  mood: loss 0.5000 (validation 0.2500), accuracy 0.7500 (validation 0.5000)",
        "  places: loss 0.1250",
    ]
