"""Every balancer on one problem of two parameters and two losses, from five starts: one picture, a panel for each method.

python -m benchmarks.balancing_toy --out mtl/balancing/gallery.png
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import typer
from rich.console import Console
from rich.table import Table

from mtl.balancing import (
    CRMOGM,
    DBMTL,
    DTP,
    DWA,
    FAMO,
    GLS,
    IMTL,
    IMTLG,
    IMTLL,
    MGDA,
    RLW,
    STCH,
    AlignedMTL,
    Balancer,
    CAGrad,
    Clipped,
    ConFIG,
    DualProj,
    ExcessMTL,
    FairGrad,
    GradDrop,
    GradNorm,
    GradVac,
    MoCo,
    NashMTL,
    PCGrad,
    Scheduled,
    SDMGrad,
    Static,
    UncertaintyWeighting,
    UPGrad,
)
from mtl.utils.atomic_write import atomic_write

__all__ = ["METHODS", "STARTS", "Walk", "app", "distances", "draw", "losses", "pareto_set", "table"]

#: The first loss stays above it, and so does the second: some methods want losses above 0, and are shown `loss + SHIFT`.
SHIFT = 20.0

STARTS = ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0))

#: One end after the other; an epoch, for methods that count them, is 100 steps.
METHODS: dict[str, Callable[[int], Balancer]] = {
    "Static": lambda steps: Static(),
    "Scheduled": lambda steps: Scheduled({"0": [[0, 1.0], [steps, 0.2]], "1": [[0, 0.2], [steps, 1.0]]}),
    "UncertaintyWeighting": lambda steps: UncertaintyWeighting(),
    "IMTLL": lambda steps: IMTLL(),
    "DWA": lambda steps: DWA(),
    "RLW": lambda steps: RLW(),
    "GLS": lambda steps: GLS(),
    "STCH": lambda steps: STCH(mu=0.1),
    "FAMO": lambda steps: FAMO(),
    "DTP": lambda steps: DTP(),
    "Clipped": lambda steps: Clipped(),
    "GradNorm": lambda steps: GradNorm(),
    "MGDA": lambda steps: MGDA(),
    "CRMOGM": lambda steps: CRMOGM(MGDA()),
    "SDMGrad": lambda steps: SDMGrad(),
    "PCGrad": lambda steps: PCGrad(),
    "GradVac": lambda steps: GradVac(),
    "CAGrad": lambda steps: CAGrad(),
    "IMTLG": lambda steps: IMTLG(),
    "IMTL": lambda steps: IMTL(),
    "NashMTL": lambda steps: NashMTL(),
    "FairGrad": lambda steps: FairGrad(),
    "AlignedMTL": lambda steps: AlignedMTL(),
    "ConFIG": lambda steps: ConFIG(),
    "DualProj": lambda steps: DualProj(),
    "UPGrad": lambda steps: UPGrad(),
    "GradDrop": lambda steps: GradDrop(),
    "DBMTL": lambda steps: DBMTL(),
    "MoCo": lambda steps: MoCo(),
    "ExcessMTL": lambda steps: ExcessMTL(),
}
EPOCH = 100
KEPT = 10  # Every so many steps the place is kept.


# The problem ----------------------------------------------------------------------------------------------------------


def losses(place: Any) -> Any:
    """The two losses, `[..., 2]`, at places `[..., 2]`.

    Above `y = 0` each loss is a narrow bent valley, on whose sides its gradient is very long; below, both are bowls.

    Reference:
        Liu, Liu, Jin, Stone and Liu, "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021.
    """
    x, y = place[..., 0], place[..., 1]
    upper, lower = tf.maximum(tf.tanh(0.5 * y), 0.0), tf.maximum(tf.tanh(-0.5 * y), 0.0)
    valleys = 0.5 * (-x - 7.0) - tf.tanh(-y), 0.5 * (-x + 3.0) - tf.tanh(-y) + 2.0
    bowls = [((end - x) ** 2 + 0.1 * (y + 8.0) ** 2) / 10.0 - 20.0 for end in (7.0, -7.0)]
    each = [
        upper * (tf.math.log(tf.maximum(tf.abs(valley), 5e-6)) + 6.0) + lower * bowl
        for valley, bowl in zip(valleys, bowls, strict=True)
    ]
    return tf.stack(each, axis=-1)


def pareto_set(count: int = 201) -> np.ndarray:
    """Places `[count, 2]` where no loss can fall without the other one rising.

    With shares a and 1 - a of the two losses the best x is `7 (2 a - 1)`, for both bowls have the same factor; y is searched.
    """
    x = np.linspace(-7.0, 7.0, count)
    y = np.linspace(-9.5, -7.0, 5001)
    share = (x / 7.0 + 1.0) / 2.0
    at = losses(np.stack(np.broadcast_arrays(x[:, None], y[None, :]), axis=-1)).numpy()
    mixed = share[:, None] * at[..., 0] + (1.0 - share[:, None]) * at[..., 1]
    return np.stack([x, y[np.argmin(mixed, axis=1)]], axis=1)


def distances(ends: np.ndarray) -> np.ndarray:
    """How far places `[n, 2]` are from the Pareto set, `[n]`."""
    return np.linalg.norm(ends[:, None, :] - pareto_set()[None], axis=-1).min(axis=1)


# Walks ----------------------------------------------------------------------------------------------------------------


class Walk:
    """A balancer on the problem, with Adam.

    Args:
        balancer: any.
        learning_rate: Adam's.
    """

    def __init__(self, balancer: Balancer, learning_rate: float):
        self.balancer = balancer
        self.place = keras.Variable(np.zeros(2), dtype="float64", name="place")
        balancer.bind(["0", "1"], size=2)
        self.first = tf.Variable(tf.zeros(2, tf.float64))
        self.optimizer = keras.optimizers.Adam(learning_rate)
        self.trained = [self.place, *balancer.state.trainable_variables]
        self.optimizer.build(self.trained)
        self.state = [*self.optimizer.variables, *_variables(balancer.state)]
        self.fresh = [keras.ops.convert_to_numpy(variable).copy() for variable in self.state]

    def __call__(self, start: Sequence[float], steps: int) -> np.ndarray:
        """The places on the way, `[steps / KEPT + 1, 2]`; a balancer and an optimizer as new begin it."""
        for variable, value in zip(self.state, self.fresh, strict=True):
            variable.assign(value)
        self.place.assign(start)
        self.first.assign(self._losses())
        way = [np.array([start])]
        for _ in range(steps // EPOCH):
            way.append(self._epoch().numpy())
            self.balancer.after_epoch()
            if self.balancer.uses_metrics:  # How much of its first loss a task has lost stands for its metric.
                self.balancer.observe(tf.clip_by_value(1.0 - self._losses() / self.first, 0.0, 1.0))
        return np.concatenate(way)

    def _losses(self) -> Any:
        return losses(tf.convert_to_tensor(self.place.value)) + SHIFT

    @tf.function
    def _epoch(self) -> Any:
        places = tf.TensorArray(tf.float64, EPOCH // KEPT, element_shape=[2])
        for turn in tf.range(EPOCH):
            self._step()
            if (turn + 1) % KEPT == 0:
                places = places.write(turn // KEPT, tf.convert_to_tensor(self.place.value))
        return places.stack()

    def _step(self) -> None:
        balancer, own = self.balancer, [variable.value for variable in self.trained[1:]]
        with tf.GradientTape(persistent=True) as tape:
            each = self._losses()
            total, first, second = balancer.combine(each), each[0], each[1]
        if balancer.needs == "losses":
            direction = tape.gradient(total, self.place.value)
        else:
            jacobian = tf.stack([tape.gradient(loss, self.place.value) for loss in (first, second)])
            direction = balancer.aggregate(jacobian, losses=each if balancer.uses_losses else None)
        self.optimizer.apply([direction, *(tape.gradient(total, own) if own else [])], self.trained)
        if balancer.looks_ahead:
            balancer.after_step(self._losses())


def _variables(state: Any) -> list[Any]:
    """All variables of a balancer, of one that it wraps too."""
    return list({id(variable): variable for variable in state.variables}.values())


# Picture and table ----------------------------------------------------------------------------------------------------

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
FAMILIES = {"losses": "balances losses", "gramian": "needs the Gramian", "jacobian": "needs the gradients"}
SHADES = {"losses": "#1f4e9c", "gramian": "#202020", "jacobian": "#8c1d40"}
NEAR = 0.5  # An end this near to the Pareto set has arrived.


def draw(ways: Mapping[str, Sequence[np.ndarray]], needs: Mapping[str, str], file: Path) -> None:
    """The gallery, as a PNG.

    Args:
        ways: method -> a way `[steps, 2]` from each start.
        needs: method -> what the balancer needs.
        file: where to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = 6
    rows = -(-(len(ways) + 1) // columns)
    figure, panels = pyplot.subplots(rows, columns, figsize=(2.05 * columns, 2.2 * rows), squeeze=False, layout="constrained")
    side = np.linspace(-11.0, 11.0, 221)
    mean = losses(np.stack(np.meshgrid(side, side), axis=-1)).numpy().mean(axis=-1)
    front = pareto_set()
    for panel, (name, each) in zip(panels.flat, ways.items(), strict=False):
        panel.contourf(side, side, mean, levels=14, cmap="Greys_r", alpha=0.45)
        panel.plot(*front.T, color="black", linewidth=4.5, solid_capstyle="round", alpha=0.55)
        for way, colour in zip(each, COLOURS, strict=False):
            panel.plot(*way.T, color=colour, linewidth=1.3)
            panel.plot(*way[0], "o", color=colour, markersize=4.5, markeredgecolor="white", markeredgewidth=0.6)
            panel.plot(*way[-1], "X", color=colour, markersize=6, markeredgecolor="white", markeredgewidth=0.6)
        arrived = int((distances(np.array([way[-1] for way in each])) < NEAR).sum())
        panel.set_title(f"{name}  {arrived}/{len(each)}", fontsize=9, color=SHADES[needs[name]])
        panel.set(xlim=(-11, 11), ylim=(-11, 11), xticks=[], yticks=[], aspect="equal")
    for panel in panels.flat[len(ways) :]:
        panel.axis("off")
    _explain(panels.flat[len(ways)])
    with atomic_write(file) as beside:
        figure.savefig(beside, format="png", dpi=100)
        pyplot.close(figure)
        _shrink(beside)


def _explain(panel: Any) -> None:
    lines = [
        ("○ start    ✕ end", "black"),
        ("thick line: Pareto set", "black"),
        ("shade: mean of the losses,", "black"),
        ("dark is low", "black"),
        ("n/5: ends on the Pareto set", "black"),
        *((FAMILIES[each], SHADES[each]) for each in FAMILIES),
    ]
    for i, (line, colour) in enumerate(lines):
        panel.text(0.0, 0.94 - 0.125 * i, line, fontsize=8.5, color=colour, va="top", transform=panel.transAxes)


def _shrink(file: Path) -> None:
    """Fewer colours make a PNG of a third of the size."""
    from PIL import Image

    with Image.open(file) as image:
        small = image.convert("RGB").quantize(128)
    small.save(file, format="PNG", optimize=True)


def table(ways: Mapping[str, Sequence[np.ndarray]], seconds: Mapping[str, float]) -> Table:
    """Where each method ended: how far from the Pareto set, and with which losses, from each start."""
    result = Table(title="Distance to the Pareto set at the end, and x there, from each start")
    result.add_column("method")
    for x, y in STARTS:
        result.add_column(f"({x:g}, {y:g})", justify="right")
    result.add_column("arrived", justify="right")
    result.add_column("seconds", justify="right")
    for name, each in ways.items():
        ends = np.array([way[-1] for way in each])
        far = distances(ends)
        cells = [f"{distance:.2f} at {end[0]:.1f}" for distance, end in zip(far, ends, strict=True)]
        result.add_row(name, *cells, f"{int((far < NEAR).sum())}/{len(each)}", f"{seconds[name]:.0f}")
    return result


# Command --------------------------------------------------------------------------------------------------------------

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def toy(
    out: Annotated[Path, typer.Option(metavar="FILE", help="The picture to write.")] = Path("balancing_toy.png"),
    steps: Annotated[int, typer.Option(min=EPOCH, help="Steps from each start, in hundreds.")] = 4000,
    learning_rate: Annotated[float, typer.Option(help="Adam's.")] = 0.01,
    methods: Annotated[str, typer.Option(help="Names with commas between them; by default all.")] = ",".join(METHODS),
) -> None:
    """Draws how each balancer walks from five starts towards the Pareto set of two losses."""
    from mtl.utils import unknown_name

    names = methods.split(",")
    for name in names:
        if name not in METHODS:
            raise typer.BadParameter(str(unknown_name("method", name, METHODS)))
    steps -= steps % EPOCH
    console = Console()
    ways: dict[str, list[np.ndarray]] = {}
    needs: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for name in names:
        began = time.perf_counter()
        balancer = METHODS[name](steps)
        walk = Walk(balancer, learning_rate)
        ways[name] = [walk(start, steps) for start in STARTS]
        needs[name], seconds[name] = balancer.needs, time.perf_counter() - began
        console.print(f"{name}: {seconds[name]:.0f} s")
    console.print(table(ways, seconds))
    draw(ways, needs, out)
    console.print(f"Wrote {out}")


if __name__ == "__main__":
    app()
