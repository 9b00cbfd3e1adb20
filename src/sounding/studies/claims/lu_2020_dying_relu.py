"""Lu et al. 2020: deep narrow ReLU nets are dead before training, at a rate with a closed form.

Born dead, at an input: some layer is all zero there. Nets have one input, symmetric weights and no
biases, so they are piecewise linear with one kink at 0: dead everywhere is dead at +1 and at -1.

Letters: N units a layer, L layers, M nets.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.studies.lines import predicted
from sounding.studies.samples import digit_images
from sounding.theory import born_dead
from sounding.train import Case, Recipe, Trial
from sounding.verdict import Verdict, every, mean, overall, proportion, within

PAIRS = ((2, 5), (2, 10), (3, 10), (4, 20), (5, 50))  # (N, L)
NETS, CHUNK, SEED = 20_000, 5_000, 0
SLACK = 0.002  # beside three standard errors
LEAK = 0.1
LRS, DEAD = (0.5, 1.0), 0.2  # learning rates called high, and the share of dead units
TRAINING_SEEDS = tuple(range(100, 130))  # ten others, in a pilot, had a mean of 0.33 ± 0.09

STATEMENT = (
    "A ReLU net with N units in each of L layers is dead at a given input before training with "
    "probability 1 - (1 - 2^-N)^L; high learning rates kill units as well; no unit of leaky ReLU "
    "dies"
)
CRITERION = (
    f"{{nets}} nets each for {{pairs}}: the rate of nets dead at one input within three standard "
    f"errors + {SLACK} of the formula, at every (N, L), and 0 with leaky ReLU; two hidden layers "
    f"on digits, SGD with the learning rates {LRS}: the mean share of units that are zero on all "
    f"data after training above {DEAD} at one of them, t-interval over {len(TRAINING_SEEDS)} "
    "seeds, and none dead in any run with leaky ReLU"
)


# --- the two scales -------------------------------------------------------------------------------


def quick(
    lab: Lab,
    *,
    pairs: Sequence[tuple[int, int]] = PAIRS,
    nets: int = NETS,
    steps: int = 200,
    width: int = 100,
) -> Measured:
    """Rates of nets born dead, and units that training kills."""
    chunks = range(SEED, SEED + math.ceil(nets / CHUNK))
    born = [
        {**point, "width": n, "depth": depth, "nets": min(nets, CHUNK)}
        for n, depth in pairs
        for point in grid(chunks, leak=[0.0, LEAK])
    ]
    trained = grid(TRAINING_SEEDS, leak=[0.0, LEAK], lr=list(LRS), width=[width], steps=[steps])
    lab.plan(len(born) + len(trained))
    counts = _totals(born, lab.map(count_dead, born))
    rates = [_agrees(n, depth, *counts[n, depth, 0.0]) for n, depth in pairs]
    leaky = every(
        [counts[n, depth, LEAK][0] for n, depth in pairs],
        below=0.5,
        statement=f"no net with leaky ReLU ({LEAK}) is born dead",
        note=f"{counts[(*pairs[0], LEAK)][2]} nets for each (N, L)",
    )
    parts = [*rates, leaky, *_killed(trained, lab.train(digits_case, trained))]
    criterion = _criterion(pairs, nets)
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=criterion)
    return (verdict, *parts, _only_a_bound(pairs, counts)), [_chart(pairs, counts)]


def _criterion(pairs: Sequence[tuple[int, int]], nets: int) -> str:
    named = ", ".join(map(str, pairs))
    return CRITERION.format(nets=f"{nets:,}", pairs=f"(N, L) of {named}")


FULL_PAIRS = (*PAIRS, (2, 2), (3, 40), (4, 80), (6, 100), (8, 200))
FULL_NETS = 200_000

CLAIM = Claim(
    name="lu-2020-dying-relu",
    topic="activations",
    claim=STATEMENT,
    source=(
        "Lu, Shin, Su, Karniadakis, 'Dying ReLU and Initialization: Theory and Numerical "
        "Examples', Communications in Computational Physics 28, 2020; the formula as an upper "
        "bound, tight for one input: Rister and Rubin 2020"
    ),
    link="https://arxiv.org/abs/1903.06733",
    criterion=_criterion(PAIRS, NETS),
    full_criterion=_criterion(FULL_PAIRS, FULL_NETS),
    quick=quick,
    full=functools.partial(quick, pairs=FULL_PAIRS, nets=FULL_NETS, steps=2000, width=400),
    how=(
        "Random nets of one input with Gaussian weights and no biases, counted as dead where some "
        "layer is zero in all its units. For the units that training kills: 64-100-100-10 nets "
        "with He's initialisation on the 1,437 training digits, 200 steps of SGD in batches of "
        "64; a unit is dead if it is zero on all of them."
    ),
    changed=(
        "A pilot of ten seeds was inconclusive for the training arm; thirty fresh seeds, 100 "
        "to 129, were then fixed in advance."
    ),
    depends=(
        "The formula is for one input. As the probability that a net is dead at every input it is "
        "only an upper bound, and too high: the nets dead at both +1 and -1 are counted beside "
        "the verdict. A learning rate of 1 kills units, one of 0.5 hardly any; where it kills ReLU "
        "units the same net with leaky ReLU diverges, so no unit dies and yet nothing is learnt. "
        "Nets as wide as usual are never born dead: at N = 64 the chance is 2^-64 a "
        "layer."
    ),
)


# --- born dead ------------------------------------------------------------------------------------


def count_dead(width: int, depth: int, nets: int, leak: float, seed: int) -> dict[str, int]:
    """How many of `nets` random nets are dead at the input +1, and how many at both +1 and -1."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.tensor([1.0, -1.0]).expand(nets, 1, 2)  # two inputs, side by side
    dead = torch.zeros(nets, 2, dtype=torch.bool)
    for _ in range(depth):
        weight = torch.randn(nets, width, hidden.shape[1], generator=generator)
        hidden = functional.leaky_relu(weight @ hidden, leak)
        dead |= (hidden == 0).all(1)
        scale = hidden.abs().amax(1, keepdim=True)  # only signs count; no under- or overflow
        hidden = hidden / torch.where(scale == 0, 1.0, scale)
    return {"at one": int(dead[:, 0].sum()), "at both": int(dead.all(1).sum()), "nets": nets}


Counts = dict[tuple[int, int, float], tuple[int, int, int]]  # at one input, at both, of how many


def _totals(settings: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, int]]) -> Counts:
    """Over the chunks of each (N, L, leak)."""
    totals: Counts = {}
    for setting, run in zip(settings, runs, strict=True):
        key = (setting["width"], setting["depth"], setting["leak"])
        one, both, nets = totals.get(key, (0, 0, 0))
        totals[key] = (one + run["at one"], both + run["at both"], nets + run["nets"])
    return totals


def _agrees(width: int, depth: int, dead: int, _: int, nets: int) -> Verdict:
    theory = born_dead([width] * depth)
    allowed = 3 * math.sqrt(theory * (1 - theory) / nets) + SLACK
    rate = proportion(dead, nets)
    return every(
        [abs(rate.value - theory) / allowed],
        below=1.0,
        statement=f"N = {width}, L = {depth}: the formula gives {theory:.4f}, counted "
        f"{rate.value:.4f} [{rate.interval[0]:.4f}, {rate.interval[1]:.4f}]",
        seeds=[SEED],
        note=f"in units of three standard errors + {SLACK}",
    )


def _only_a_bound(pairs: Sequence[tuple[int, int]], counts: Counts) -> Verdict:
    """The formula, read as 'dead everywhere', is too high by more than three standard errors."""
    excess = []
    for n, depth in pairs:
        _, both, nets = counts[n, depth, 0.0]
        theory = born_dead([n] * depth)
        excess.append((theory - both / nets) / math.sqrt(theory * (1 - theory) / nets))
    return every(
        excess,
        above=3.0,
        statement="reported: as the probability of being dead at every input the formula is too "
        "high, by more than three standard errors",
    )


def _chart(pairs: Sequence[tuple[int, int]], counts: Counts) -> Chart:
    """Rates over the formula: dead at one input lies on the diagonal, dead at both below it."""
    theory = np.array([born_dead([n] * depth) for n, depth in pairs])
    order = np.argsort(theory)
    lines = []
    for label, index in (("dead at one input", 0), ("dead at every input", 1)):
        counted = [(counts[n, depth, 0.0][index], counts[n, depth, 0.0][2]) for n, depth in pairs]
        rate = np.array([dead / nets for dead, nets in counted])
        error = np.sqrt([r * (1 - r) / nets for r, (_, nets) in zip(rate, counted, strict=True)])
        lines.append(Line(label=label, x=theory[order], y=rate[order], error=error[order]))
    return Chart(
        title="Random ReLU nets that are dead before training",
        x_label="1 - (1 - 2^-N)^L",
        y_label="share of nets",
        lines=(*lines, predicted("the formula", theory[order], theory[order])),
    )


# --- killed by training ---------------------------------------------------------------------------


def digits_case(leak: float, lr: float, width: int, steps: int) -> Case:
    """Two hidden layers on digits; the metric is the share of their units that are always zero."""
    x, y = digit_images().train
    build = functools.partial(_net, leak, width)
    recipe = Recipe(lr=lr, batch_size=64, steps=steps)
    name = f"{'leaky ' * bool(leak)}ReLU, learning rate {lr:g}"
    metric = functools.partial(_share_dead, x)
    return Case(build, functional.cross_entropy, (x, y), recipe, metric=metric, name=name)


def _net(leak: float, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (64, width):
        layer = nn.Linear(inputs, width)
        nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.LeakyReLU(leak)]  # a leak of 0 is ReLU, and the same module
    return nn.Sequential(*layers, nn.Linear(width, 10))


def _share_dead(x: torch.Tensor, model: nn.Module) -> dict[str, float]:
    assert isinstance(model, nn.Sequential)
    dead = []
    for module in model:
        x = module(x)
        if isinstance(module, nn.LeakyReLU):
            dead.append((x == 0).all(0))
    return {"dead units": torch.cat(dead).float().mean().item()}


def _killed(settings: Sequence[Mapping[str, Any]], trials: Sequence[Trial]) -> list[Verdict]:
    """With ReLU at the learning rate that kills most; with leaky ReLU in every run that lasted."""
    shares = np.array([trial.metrics.get("dead units", math.nan) for trial in trials])
    leaky = np.array([bool(setting["leak"]) for setting in settings])
    lost = np.isnan(shares)
    alive = shares[leaky & ~lost]
    killed = np.nan_to_num(shares[~leaky], nan=0.0).reshape(len(LRS), -1)  # diverged: none known
    lr = int(np.argmax(killed.mean(1)))
    low = ", ".join(
        f"{share:.3f} at {rate:g}" for rate, share in zip(LRS, killed.mean(1), strict=True)
    )
    return [
        within(
            mean(killed[lr]),
            DEAD,
            1.0,
            statement=f"ReLU, learning rate {LRS[lr]:g}: more than {DEAD:.0%} of units die",
            unit="of the units",
            seeds=TRAINING_SEEDS,
            note=f"mean share of dead units: {low}",
        ),
        every(
            alive,
            below=1e-9,
            statement="leaky ReLU: no unit dies, at either learning rate",
            note=f"{int((leaky & lost).sum())} of {leaky.sum()} runs diverged and are left out",
        ),
    ]
