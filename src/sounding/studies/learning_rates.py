"""Arms of a comparison: each at its best learning rate, then on fresh seeds.

The rate is chosen by training loss on a seed that no judged run has. All arms' runs are asked for
at once, first to choose and then to judge.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sounding.studies.lab import Lab
from sounding.train import Case, Trial, final_loss

TUNING_SEED = 100


@dataclasses.dataclass(frozen=True)
class Arm:
    """The runs of one arm: one a learning rate to choose from, one a seed at the best of them."""

    lr: float
    inside: bool  # the best rate is not at an edge of the grid
    search: tuple[Trial, ...]
    trials: tuple[Trial, ...]

    def metric(self, name: str) -> np.ndarray:
        """(seeds,) A metric of the judged runs; nan where a run diverged."""
        return np.array([trial.metrics.get(name, np.nan) for trial in self.trials])

    @property
    def note(self) -> str:
        """What there is to say of the grid."""
        return "" if self.inside else f"the best learning rate, {self.lr:g}, is at the grid's edge"


def tuned(
    lab: Lab,
    case: Callable[..., Case],
    arms: Mapping[str, Mapping[str, Any]],
    lrs: Sequence[float] | Mapping[str, Sequence[float]],
    seeds: Sequence[int],
) -> dict[str, Arm]:
    """Every arm's runs, by its name.

    Args:
        lab: Makes the runs.
        case: Makes a Case of an arm's settings and `lr`.
        arms: Settings by name.
        lrs: The grid of learning rates; of each arm, where they differ.
        seeds: Of the judged runs.
    """
    grids = {name: lrs[name] if isinstance(lrs, Mapping) else lrs for name in arms}
    asked = [{**arms[name], "lr": lr, "seed": TUNING_SEED} for name in arms for lr in grids[name]]
    found = iter(lab.train(case, asked))
    search = {name: tuple(next(found) for _ in grids[name]) for name in arms}
    best = {
        name: grids[name][int(np.argmin([final_loss(trial) for trial in search[name]]))]
        for name in arms
    }
    runs = iter(
        lab.train(
            case, [{**arms[name], "lr": best[name], "seed": s} for name in arms for s in seeds]
        )
    )
    return {
        name: Arm(
            lr=best[name],
            inside=min(grids[name]) < best[name] < max(grids[name]),
            search=search[name],
            trials=tuple(next(runs) for _ in seeds),
        )
        for name in arms
    }
