"""The coordinate check: does training move every layer as far in a wide net as in a narrow one?

Letters: L layers, W widths, S seeds, T steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from sounding.capture.keep import given_back
from sounding.capture.recorder import Recorder
from sounding.objective import Batch, Loss, Objective, as_objective
from sounding.result import Result
from sounding.train import Case, Progress, Recipe, seeded, silent, train
from sounding.train.seeding import chosen_seeds
from sounding.verdict import Estimate, slope

MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]

WIDTHS = (64, 128, 256, 512, 1024)
# Infinitely wide nets have exponents that are multiples of one half: this is half-way.
BAND = 0.25
DRAWN = 17  # seed of what a forward pass draws, such as dropout, so that two passes can be compared


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CoordinateCheck(Result):
    """How the size of every layer's output, and its change in training, depend on the width."""

    layers: tuple[str, ...]  # (L,) in the order in which they run
    widths: np.ndarray  # (W,)
    seeds: tuple[int, ...]  # (S,)
    size: np.ndarray  # (L, W, S) root mean square of the output at the start
    change: np.ndarray  # (L, W, T, S) of its change after 1, ..., T steps; nan: it diverged
    slopes: tuple[Estimate, ...]  # (L,) exponents: d log change / d log width after T steps
    size_slopes: tuple[Estimate, ...]  # (L,) of the size at the start

    @property
    def steps(self) -> int:
        """T, the steps that were trained."""
        return self.change.shape[2]

    @property
    def outcomes(self) -> tuple[str, ...]:
        """(L,) 'steady', 'grows', 'shrinks' or 'undecided', by the interval of the exponent.

        Steady is an interval inside ±0.25, half-way between the exponents 0 and ±1/2 of theory.
        """
        return tuple(_outcome(estimate) for estimate in self.slopes)

    @property
    def steady(self) -> bool:
        """Whether every layer is: the learning rate of one width then suits the others."""
        return all(outcome == "steady" for outcome in self.outcomes)

    def __str__(self) -> str:
        low, high = int(self.widths[0]), int(self.widths[-1])
        lines = [f"change after {self.steps} steps over widths {low} to {high}, exponent of width:"]
        longest = max(len(layer) for layer in self.layers)
        for layer, estimate, outcome in zip(self.layers, self.slopes, self.outcomes, strict=True):
            ends = f"[{estimate.interval[0]:+.2f}, {estimate.interval[1]:+.2f}]"
            lines.append(f"  {layer:<{longest}}  {estimate.value:+.2f} {ends}  {outcome}")
        return "\n".join(lines)


def coordinate_check(
    build: Callable[[int], nn.Module],
    loss: Loss | Objective,
    batch: Batch,
    widths: Sequence[int] = WIDTHS,
    *,
    optimizer: MakeOptimizer = lambda model: torch.optim.Adam(model.parameters()),
    steps: int = 5,
    seeds: int | Sequence[int] = 3,
    progress: Progress = silent,
) -> CoordinateCheck:
    """Train a few steps at several widths, and fit how each layer's change grows with the width.

    In a parametrisation whose learning rate can be carried from a narrow net to a wide one (the
    maximal update parametrisation) every exponent is 0. In torch's own with Adam the change of
    hidden layers grows about as the width, so that the best learning rate falls with it.

    The output of a layer is that of the call that uses its weight: the pre-activation, where an
    activation follows. Its change is taken on the batch that is trained on, from 32 samples and
    128 features of each at most. The passes that look draw the same dropout masks each time.

    Args:
        build: Makes a new network of the width that it is given.
        loss: A function of (output, target), or an Objective of (model, batch).
        batch: What is trained on, at every step.
        widths: Three or more, from narrow to wide; a factor 16 between the ends tells exponents
            apart that differ by one half.
        optimizer: Makes the optimiser of a network, with its learning rates by layer.
        steps: Of each training.
        seeds: How many, counted from 0, or which.
        progress: Told of every training.

    Returns:
        A CoordinateCheck. A layer that does not move, or diverged, has an exponent of nan.

    Raises:
        ValueError: If there are fewer than three widths, or the layers are not the same ones at
            every width.

    Cost: a training of `steps` and as many forward passes for every width and seed.

    Source: Yang, Hu et al., "Tensor Programs V: Tuning large neural networks via zero-shot
    hyperparameter transfer", 2022, appendix D.1.
    """
    widths, seeds = sorted(set(widths)), chosen_seeds(seeds)
    if len(widths) < 3:
        raise ValueError(f"widths is {widths}; an exponent with its interval needs three or more")
    runs: list[list[_Looks]] = []
    for at, width in enumerate(widths):
        runs.append([])
        for number, seed in enumerate(seeds):
            run = _trained(build, width, loss, batch, optimizer, steps, seed)
            runs[-1].append(run)
            progress(f"width {width}, seed {seed}", at * len(seeds) + number + 1,
                     len(widths) * len(seeds))  # fmt: skip
    layers = _same_layers(runs, widths)
    size = np.array([[run.size for run in of] for of in runs]).transpose(2, 0, 1)
    change = np.array([[run.change(steps) for run in of] for of in runs]).transpose(3, 0, 2, 1)
    return CoordinateCheck(
        layers=layers,
        widths=np.array(widths),
        seeds=seeds,
        size=size,
        change=change,
        slopes=tuple(_exponent(widths, of_layer[:, -1]) for of_layer in change),
        size_slopes=tuple(_exponent(widths, of_layer) for of_layer in size),
    )


class _Looks:
    """What was seen of one training: every layer's output at the start, and how far it moved."""

    def __init__(self, objective: Objective, batch: Batch) -> None:
        self.objective, self.batch = objective, batch
        self.layers: tuple[str, ...] = ()
        self.start: list[torch.Tensor] = []
        self.size: list[float] = []
        self.moved: list[list[float]] = []  # a row a step

    def begin(self, model: nn.Module) -> None:
        """The first look, before any step."""
        outputs = self._outputs(model)
        self.layers, self.start = tuple(outputs), list(outputs.values())
        self.size = [_rms(output) for output in self.start]

    def look(self, model: nn.Module) -> None:
        """Another one, after a step."""
        outputs = self._outputs(model)
        self.moved.append(
            [
                _rms(outputs[name] - before) if name in outputs else math.nan
                for name, before in zip(self.layers, self.start, strict=True)
            ]
        )

    def change(self, steps: int) -> np.ndarray:
        """(T, L) after every step; nan from where the training ended early."""
        rows = np.full((steps, len(self.layers)), np.nan)
        rows[: len(self.moved)] = self.moved
        return rows

    def _outputs(self, model: nn.Module) -> dict[str, torch.Tensor]:
        recorder = Recorder(model)
        with given_back(model), seeded(DRAWN), torch.enable_grad(), recorder.watching():
            recorder.inputs(self.batch)
            self.objective(model, self.batch)
        return {
            node.name: node.output.sample
            for node in recorder.nodes
            if node.role == "weight" and node.output is not None and node.output.sample is not None
        }


def _trained(
    build: Callable[[int], nn.Module],
    width: int,
    loss: Loss | Objective,
    batch: Batch,
    optimizer: MakeOptimizer,
    steps: int,
    seed: int,
) -> _Looks:
    looks, nets = _Looks(as_objective(loss), batch), []

    def begin() -> nn.Module:
        nets.append(build(width))
        looks.begin(nets[0].train())
        return nets[0]

    recipe = Recipe(optimiser=lambda _: optimizer(nets[0]), steps=steps)
    train(
        Case(begin, loss, [batch], recipe),
        seed,
        on_step=lambda step, value: looks.look(nets[0]),
    )
    return looks


def _rms(sample: torch.Tensor) -> float:
    return float(sample.double().square().mean().sqrt())


def _same_layers(runs: Sequence[Sequence[_Looks]], widths: Sequence[int]) -> tuple[str, ...]:
    layers = runs[0][0].layers
    if not layers:
        raise ValueError("no layer with weights was seen to run; check what build returns")
    for width, of in zip(widths, runs, strict=True):
        if any(run.layers != layers for run in of):
            raise ValueError(
                f"the net of width {width} runs the layers {', '.join(of[0].layers)}, that of "
                f"width {widths[0]} runs {', '.join(layers)}; build nets that differ in width alone"
            )
    return layers


def _exponent(widths: Sequence[int], values: np.ndarray) -> Estimate:
    """The slope of log values (W, S) over log width, through all seeds."""
    if not (np.isfinite(values).all() and (values > 0).all()):
        return Estimate(value=math.nan, interval=(math.nan, math.nan), level=0.95)
    x = np.repeat(np.log(np.asarray(widths, float)), values.shape[1])
    return slope(x, np.log(values).ravel())


def _outcome(estimate: Estimate) -> str:
    low, high = estimate.interval
    if low >= -BAND and high <= BAND:
        return "steady"
    if low > BAND:
        return "grows"
    return "shrinks" if high < -BAND else "undecided"
