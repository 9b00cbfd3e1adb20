"""Arms judged two by two, in every quantity that their runs have.

Letters: n seeds.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from sounding.result import Result
from sounding.train import Trial
from sounding.train.outcomes import BAND, DECADES, comparable_losses, metrics_of, which_is_better
from sounding.verdict import SUPPORTED, Estimate, Verdict, judge, mean

LOSS = "training loss"

Quantity = tuple[list[np.ndarray], np.ndarray | None, str]  # (n,) outcomes by arm, the worst, unit


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Pair(Result):
    """Two tuned arms in one quantity."""

    ahead: str  # the better arm on the mean
    behind: str
    quantity: str  # 'training loss', or a metric
    verdict: Verdict  # on the claim that `ahead` is better

    @property
    def differ(self) -> bool:
        """Whether a difference was found."""
        return self.verdict.outcome == SUPPORTED

    def __str__(self) -> str:
        if self.differ or len(self.verdict.seeds) < 2:
            return str(self.verdict)
        low, high = self.verdict.interval
        return (
            f"no difference found between {self.behind} and {self.ahead}: {self.quantity}, effect "
            f"{self.verdict.effect:.3g} {self.verdict.unit} [{low:.3g}, {high:.3g}], "
            f"{len(self.verdict.seeds)} seeds"
        )


def measured_in(
    final: Sequence[tuple[Trial, ...]], metric: str | None = None
) -> dict[str, Quantity]:
    """The outcomes of all arms in every quantity, the training loss first.

    `metric` is among them also where every run diverged before it was measured.
    """
    measured: dict[str, Quantity] = {LOSS: comparable_losses(final)}
    if metric is not None:
        measured[metric] = ([np.full(len(arm), np.nan) for arm in final], None, metric)
    for metric, values in metrics_of(final).items():
        measured[metric] = (values, None, metric)
    return measured


def estimates(measured: Mapping[str, Quantity]) -> list[dict[str, Estimate]]:
    """The mean in every quantity, by arm."""
    return [
        {q: _estimate(values[arm], unit) for q, (values, _, unit) in measured.items()}
        for arm in range(len(measured[LOSS][0]))
    ]


def _estimate(values: np.ndarray, unit: str) -> Estimate:
    """The mean with its interval; NaN where a run diverged. Decades become losses again."""
    found = mean(np.where(np.isfinite(values), values, np.nan))
    if unit != DECADES:
        return found
    low, high = (10.0**end for end in found.interval)
    return Estimate(value=10.0**found.value, interval=(low, high), level=found.level)


def pairs_of(
    quantity: str, names: tuple[str, ...], measured: Quantity, seeds: tuple[int, ...]
) -> tuple[Pair, ...]:
    """A claim for every two arms: the one with the better mean is better.

    Which one that is comes out of the same data; the interval has two sides, so it holds for both.
    """
    values, worst, unit = measured
    arms, better = dict(zip(names, values, strict=True)), which_is_better(quantity)
    two_by_two = list(itertools.combinations(names, 2))

    def claim(behind: str, ahead: str) -> Pair:
        verdict = judge(
            arms[behind],
            arms[ahead],
            statement=f"{ahead} ends at a {better} {quantity} than {behind}",
            unit=unit,
            better=better,
            tried=len(two_by_two),
            band=BAND if unit == DECADES else 0.0,
            worst=worst,
            seeds=seeds,
            names=(behind, ahead),
        )
        return Pair(ahead=ahead, behind=behind, quantity=quantity, verdict=verdict)

    claims = [claim(*two) for two in two_by_two]
    return tuple(claim(c.ahead, c.behind) if c.verdict.effect < 0 else c for c in claims)
