"""Where do nets stop training? The measurements behind the limits of the rules about depth.

Trains small nets on digits, each at the best learning rate of a small grid, and sets the accuracy
beside what a checkup measures before the first step. With --write the tables go into
docs/concepts/limits.md, between their markers. Six minutes on one core.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from sounding.checkup import checkup
from sounding.data import digits
from sounding.measure.readings import Readings
from sounding.result import NotApplicable
from sounding.rules.depth import Gain, gradient_gain, severity, signal_gain
from sounding.train import Case, Recipe, first_batch, make_optimiser, seeded, train

PAGE = Path(__file__).resolve().parents[1] / "docs" / "concepts" / "limits.md"
DEPTHS = (4, 8, 12, 16, 30)
ACTIVATIONS = {"ReLU": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
NEEDED = {"ReLU": 2.0, "tanh": 1.5925**2, "sigmoid": 1.8462**2}  # fan_in x variance
SCHEMES = ("default", "Xavier", "He", "2 x He")
RATES = {"sgd": (0.03, 0.003, 0.3, 0.0003), "adam": (0.003, 0.0005)}
SEEDS = (0, 1)
STEPS, WIDTH, BATCH = 300, 64, 64
ENOUGH = 0.95  # a learning rate that reaches this accuracy ends the search

Build = Callable[[], nn.Module]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One kind of net under one optimiser."""

    signal: Gain | None
    gradient: Gain | None
    accuracy: float  # of training, mean over the seeds
    test: float

    def gain(self) -> float:
        """The larger of the two log-gains, as the rules judge it."""
        found = [g.judged for g in (self.signal, self.gradient) if g is not None]
        return max(found, key=abs, default=0.0)


# -- nets ------------------------------------------------------------------------------------------


def net(depth: int, kind: str, scheme: str, change: Callable[[nn.Module], object] | None = None):
    """A plain net of so many linear layers, 64 wide."""
    widths = [64] + [WIDTH] * (depth - 1) + [10]
    modules: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layer = nn.Linear(fan_in, fan_out)
        if scheme != "default":
            needed = NEEDED[kind] * (2 if scheme == "2 x He" else 1)
            variance = 2 / (fan_in + fan_out) if scheme == "Xavier" else needed / fan_in
            nn.init.normal_(layer.weight, std=variance**0.5)
            nn.init.zeros_(layer.bias)
        modules += [layer, ACTIVATIONS[kind]()]
    model = nn.Sequential(*modules[:-1])
    if change is not None:
        with torch.no_grad():
            change(model)
    return model


def scaled(model: nn.Module, numbers: tuple[int, ...], factor: float) -> None:
    """Multiply the weights of some layers."""
    for number in numbers:
        model.get_submodule(str(2 * number)).weight.mul_(factor)  # type: ignore[operator]


def killed(model: nn.Module, numbers: tuple[int, ...], alive: int) -> None:
    """All but so many units of some layers never fire."""
    for number in numbers:
        model.get_submodule(str(2 * number)).bias[alive:] = -20.0  # type: ignore[index]


# -- measurements ----------------------------------------------------------------------------------


@functools.cache
def data() -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Training and test part of the digits."""
    both = digits()
    return (both.train.x, both.train.y), (both.test.x, both.test.y)


def case(build: Build, optimiser: str, rate: float) -> Case:
    """The case that is examined and trained."""
    momentum = 0.9 if optimiser == "sgd" else 0.0
    recipe = Recipe(optimiser=optimiser, lr=rate, momentum=momentum, batch_size=BATCH, steps=STEPS)

    def test(model: nn.Module) -> dict[str, float]:
        x, y = data()[1]
        return {"test": float((model(x).argmax(1) == y).float().mean())}

    return Case(build, functional.cross_entropy, data()[0], recipe, metric=test)


def examined(build: Build, optimiser: str) -> Readings:
    """What a checkup measures before the first step."""
    one = case(build, optimiser, RATES[optimiser][0])
    with seeded(0):
        model = build()
    steps = make_optimiser(one.recipe, model.parameters())
    return checkup(model, one.loss, first_batch(one), optimizer=steps).readings


def best(build: Build, optimiser: str) -> tuple[float, float]:
    """Accuracy in training and test at the best rate for seed 0, mean over the seeds."""
    found: dict[float, tuple[float, float]] = {}
    for rate in RATES[optimiser]:
        found[rate] = accuracy(build, optimiser, rate, SEEDS[0])
        if found[rate][0] >= ENOUGH:
            break
    rate = max(found, key=lambda r: found[r][0])
    pairs = [found[rate], *(accuracy(build, optimiser, rate, seed) for seed in SEEDS[1:])]
    return tuple(sum(values) / len(pairs) for values in zip(*pairs, strict=True))  # type: ignore[return-value]


def accuracy(build: Build, optimiser: str, rate: float, seed: int) -> tuple[float, float]:
    """Of training over the last tenth of the steps, and of the test part; chance if it diverges."""
    trial = train(case(build, optimiser, rate), seed)
    return (0.1, 0.1) if trial.diverged else (trial.metrics["accuracy"], trial.metrics["test"])


def cell(build: Build, optimiser: str) -> Cell:
    """Both: what was measured, and how it trains."""
    readings = examined(build, optimiser)
    gains = []
    for gain in (signal_gain, gradient_gain):
        try:
            gains.append(gain(readings))
        except NotApplicable:
            gains.append(None)
    return Cell(*gains, *best(build, optimiser))


# -- tables ----------------------------------------------------------------------------------------


def table(head: str, rows: list[str]) -> str:
    """A Markdown table."""
    ruled = "|" + "|".join("---" for _ in head.split("|")) + "|"
    return "\n".join([f"| {head} |", ruled, *(f"| {row} |" for row in rows)])


def said(one: Cell, optimiser: str) -> str:
    """What the rules about depth say of it."""
    return severity(one.gain(), adaptive=optimiser == "adam") or "-"


def depth_cells() -> Iterator[tuple[str, dict[str, Cell]]]:
    """Every kind of plain net, under both optimisers."""
    for depth in DEPTHS:
        for kind in ACTIVATIONS:
            if kind == "sigmoid" and depth > 16:
                continue  # all of them fail at 16 already
            for scheme in SCHEMES:
                build = functools.partial(net, depth, kind, scheme)
                cells = {optimiser: cell(build, optimiser) for optimiser in RATES}
                row = f"{depth} | {kind} | {scheme}"
                print(
                    row, {k: (round(c.gain(), 1), round(c.accuracy, 2)) for k, c in cells.items()}
                )
                yield row, cells


def depth_table(cells: list[tuple[str, dict[str, Cell]]]) -> str:
    """The accuracies, beside the gains."""
    rows = []
    for name, pair in cells:
        one = pair["sgd"]
        gains = " | ".join(f"{g.total:+.1f}" if g else "" for g in (one.signal, one.gradient))
        ends = " | ".join(f"{c.accuracy:.2f} | {said(c, k)}" for k, c in pair.items())
        rows.append(f"{name} | {gains} | {ends}")
    head = "layers | activation | weights | signal | gradient | SGD | called | Adam | called"
    return table(head, rows)


def limit_table(cells: list[tuple[str, dict[str, Cell]]]) -> str:
    """How many of the nets in each range of gain train."""
    ranges = ((-99, -12), (-12, -6), (-6, -3), (-3, 3), (3, 6), (6, 99))
    rows = []
    for optimiser in RATES:
        for low, high in ranges:
            ends = [c[optimiser].accuracy for _, c in cells if low <= c[optimiser].gain() < high]
            if ends:
                train, fail = sum(e >= 0.9 for e in ends), sum(e < 0.5 for e in ends)
                span = f"{low:+d} to {high:+d}".replace("-99 to", "under").replace(" to +99", " up")
                middle = sorted(ends)[len(ends) // 2]
                rows.append(f"{optimiser} | {span} | {len(ends)} | {train} | {fail} | {middle:.2f}")
    head = "optimiser | log-gain | nets | accuracy over 0.9 | under 0.5 | middle accuracy"
    return table(head, rows)


def variant_table(variants: list[tuple[str, Build]], measured: str) -> str:
    """Nets that differ from a sound one in one respect."""
    rows = []
    for name, build in variants:
        pair = {optimiser: cell(build, optimiser) for optimiser in RATES}
        number = _number(build, measured, pair["sgd"])
        ends = " | ".join(f"{c.accuracy:.2f} | {c.test:.2f}" for c in pair.values())
        rows.append(f"{name} | {number} | {ends}")
        print(rows[-1])
    head = f"what is changed | {measured} | SGD | test | Adam | test"
    return table(head, rows)


def _number(build: Build, measured: str, one: Cell) -> str:
    signal = examined(build, "sgd").signal
    if measured == "saturated":
        return ", ".join(f"{v:.0%}" for v in signal.saturated if v >= 0)
    if measured == "dead":
        return ", ".join(f"{v:.0f}" for v in signal.dead if v >= 0)
    return (
        f"{one.signal.total:+.1f} | {one.gradient.total:+.1f}"
        if one.signal and one.gradient
        else " | "
    )


def single_layers() -> list[tuple[str, Build]]:
    """One layer of a sound net with weights of another scale."""
    found = []
    for kind in ("ReLU", "tanh"):
        for number, where in ((4, "a middle layer"), (7, "the last layer")):
            for factor in (1e-4, 1e-2, 100.0, 1000.0):
                change = functools.partial(scaled, numbers=(number,), factor=factor)
                build = functools.partial(net, 8, kind, "He", change)
                found.append((f"{kind}, {where} x {factor:g}", build))
    return found


def saturations() -> list[tuple[str, Build]]:
    """Tanh nets whose weights are too large, in the first layer or in all hidden ones."""
    found = []
    for depth in (3, 6):
        hidden = tuple(range(depth - 1))
        for numbers, where in ((hidden[:1], "first layer"), (hidden, "all layers")):
            for factor in (1.0, 5.0, 20.0, 100.0):
                change = functools.partial(scaled, numbers=numbers, factor=factor)
                build = functools.partial(net, depth, "tanh", "Xavier", change)
                found.append((f"{depth} layers, {where} x {factor:g}", build))
    return found


def deaths() -> list[tuple[str, Build]]:
    """ReLU nets of which only some units are alive."""
    found = []
    for numbers, where in (((1,), "one layer"), ((0, 1, 2), "all layers")):
        for alive in (16, 8, 4, 2, 1, 0):
            change = functools.partial(killed, numbers=numbers, alive=alive)
            found.append(
                (f"{where}, {alive} of 64 alive", functools.partial(net, 4, "ReLU", "He", change))
            )
    return found


def kept(page: str, name: str, body: str) -> str:
    """The page with the table of this name between its markers."""
    before, rest = page.split(f"<!-- {name} -->")
    after = rest.split(f"<!-- /{name} -->")[1]
    return f"{before}<!-- {name} -->\n{body}\n<!-- /{name} -->{after}"


def main() -> None:
    """Measure and print; with --write also keep the tables."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    cells = list(depth_cells())
    tables = {
        "limits": limit_table(cells),
        "depth": depth_table(cells),
        "single": variant_table(single_layers(), "signal | gradient"),
        "saturated": variant_table(saturations(), "saturated"),
        "dead": variant_table(deaths(), "dead"),
    }
    print(f"{time.perf_counter() - start:.0f} s")
    print("\n\n".join(tables.values()))
    if "--write" in sys.argv:
        page = PAGE.read_text(encoding="utf-8")
        for name, body in tables.items():
            page = kept(page, name, body)
        PAGE.write_text(page, encoding="utf-8")
        print(f"Wrote {PAGE}")


if __name__ == "__main__":
    main()
