"""Layer normalisation makes a deep net bear larger learning rates, without a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sounding.studies.chart import Chart
from sounding.studies.claim import Claim, Measured
from sounding.studies.deep_nets import LAYER, NONE, deep_case, largest_stable, stable_rates
from sounding.studies.lab import Lab
from sounding.studies.lines import measured
from sounding.verdict import Verdict, every, overall

SEEDS = (0, 1, 2, 3, 4)
LRS = tuple(2.0 ** np.arange(-9, 3))
TIMES = 4

STATEMENT = (
    "With layer normalisation a deep fully connected net still learns at four times the largest "
    "learning rate that it bears without"
)
CRITERION = (
    "12 fully connected layers, He's initialisation, digits, SGD with momentum 0.9, 100 steps, "
    "rates in powers of two from 0.002 to 4, 5 seeds: the largest rate up to which the net without "
    f"normalisation ends below the loss it began with; at {TIMES} times that rate the net with "
    "layer normalisation does so on every seed"
)


def quick(
    lab: Lab,
    *,
    steps: int = 100,
    width: int = 64,
    lrs: Sequence[float] = LRS,
    seeds: Sequence[int] = SEEDS,
) -> Measured:
    """Every rate on every seed, with and without; the sizes are arguments."""
    lab.plan(2 * len(lrs) * len(seeds))
    stable = {}
    for norm in (NONE, LAYER):
        settings = {"norm": norm, "steps": steps, "width": width}
        stable[norm] = stable_rates(lab, deep_case, settings, lrs, seeds)
    largest = largest_stable(stable[NONE], lrs)
    inside = every(
        largest,
        below=lrs[-1] / TIMES * 1.001,
        statement=f"the limit without normalisation is in the grid, {TIMES} times it as well",
        seeds=seeds,
    )
    parts = [_at_times(stable[LAYER], largest, lrs, seeds), inside]
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=CRITERION)
    limits = largest_stable(stable[LAYER], lrs) / np.maximum(largest, lrs[0] / 2)
    reported = every(
        limits,
        above=1.0,
        statement="reported: the limit with layer normalisation, in multiples of the one without",
        seeds=seeds,
    )
    return (verdict, *parts, reported), [_chart(stable, lrs)]


def full(
    lab: Lab,
    *,
    steps: int = 1000,
    width: int = 256,
    seeds: Sequence[int] = tuple(range(10)),
) -> Measured:
    """Wider nets, ten times the steps, 10 seeds; on the CPU as well."""
    return quick(lab, steps=steps, width=width, seeds=seeds)


CLAIM = Claim(
    name="layer-norm-rate",
    topic="normalisation",
    claim=STATEMENT,
    source=(
        "Folklore after Ba, Kiros, Hinton, 'Layer Normalization', 2016, which claims faster "
        "training of recurrent and fully connected nets"
    ),
    link="https://arxiv.org/abs/1607.06450",
    criterion=CRITERION,
    full_criterion=CRITERION.replace(
        "12 fully connected layers", "12 fully connected layers of width 256"
    )
    .replace("100 steps", "1000 steps")
    .replace("5 seeds", "10 seeds"),
    quick=quick,
    full=full,
    how=(
        "The same net with layer normalisation before every activation and without any, from the "
        "same weights. A rate counts as borne if the run ends below the loss that it began with, "
        "and so does every smaller rate tried."
    ),
    depends=(
        "A normalised net hardly ever diverges to infinity: at too large a rate its loss stays at "
        "chance, which counts as not learning here. With 'does not diverge' as the rule the claim "
        "would hold at any rate and say nothing. The limits also depend on momentum and on how "
        "many steps the net is given to recover."
    ),
)


def _at_times(
    stable: np.ndarray, largest: np.ndarray, lrs: Sequence[float], seeds: Sequence[int]
) -> Verdict:
    """Whether each seed's run at `TIMES` its limit learns; a rate outside the grid counts as no."""
    rates = np.asarray(lrs)
    rows = [np.flatnonzero(np.isclose(rates, TIMES * limit)) for limit in largest]
    learnt = [float(stable[row[0], i]) if row.size else 0.0 for i, row in enumerate(rows)]
    return every(
        learnt,
        above=0.5,
        statement=(
            f"at {TIMES} times the limit without normalisation (median {np.median(largest):.3g}) "
            "the net with layer normalisation learns (1) or not (0)"
        ),
        seeds=seeds,
    )


def _chart(stable: dict[str, np.ndarray], lrs: Sequence[float]) -> Chart:
    labels = {NONE: "no normalisation", LAYER: LAYER}
    return Chart(
        title="Runs that learn, 12 layers on digits",
        x_label="learning rate",
        y_label="share of runs",
        lines=tuple(measured(labels[norm], lrs, runs.T) for norm, runs in stable.items()),
        log_x=True,
    )
