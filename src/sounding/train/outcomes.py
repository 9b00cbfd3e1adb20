"""The outcomes of several arms, seed by seed, on a scale on which they can be compared.

Letters: n seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sounding.train.trial import Trial, final_loss

DECADES = "decades of loss"
BAND = 0.01  # decades: losses that differ by less than 2.3 % are not called different
LESS_IS_BETTER = ("loss", "error", "perplexity")  # in a metric's name
RESOLUTION = float(np.finfo(np.float32).eps)  # of the first loss: what lies below it is rounding


def paired_losses(
    before: Sequence[Trial], after: Sequence[Trial]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """The final losses of both arms, what a run that learnt nothing has, (n,) each, and the unit.

    As :func:`comparable_losses`.
    """
    (untreated, treated), nothing, unit = comparable_losses([before, after])
    return untreated, treated, nothing, unit


def comparable_losses(
    arms: Sequence[Sequence[Trial]],
) -> tuple[list[np.ndarray], np.ndarray, str]:
    """The final losses of every arm, what a run that learnt nothing has, (n,) each, and the unit.

    A run that learnt nothing still has the loss of its first step; the lowest one of a seed's runs
    is taken. Losses are in decades (log10), counted down to the resolution of float32 below that
    first loss, unless some are negative, as likelihoods of densities are: then as they are.
    Diverged runs are infinite.
    """
    finals = [np.array([final_loss(trial) for trial in arm]) for arm in arms]
    starts = [np.array([trial.loss.values[0] for trial in arm]) for arm in arms]
    start = np.fmin.reduce(starts)  # a NaN does not count
    if any((values < 0).any() for values in (*finals, *starts)):
        return finals, start, "of loss"
    floor = RESOLUTION * np.where(np.isfinite(start) & (start > 0), start, 1.0)
    *decades, nothing = (np.log10(np.maximum(v, floor)) for v in (*finals, start))
    return decades, nothing, DECADES


def paired_metrics(
    before: Sequence[Trial], after: Sequence[Trial]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Both arms' values, (n,) each, of every metric that some trial has; 'accuracy' comes first.

    A trial without it, such as one that diverged, has NaN.
    """
    return {name: (first, second) for name, (first, second) in metrics_of([before, after]).items()}


def metrics_of(arms: Sequence[Sequence[Trial]]) -> dict[str, list[np.ndarray]]:
    """Every arm's values, (n,) each, of every metric that some trial has; 'accuracy' comes first.

    A trial without it, such as one that diverged, has NaN.
    """
    names = dict.fromkeys(name for arm in arms for trial in arm for name in trial.metrics)
    return {
        name: [np.array([trial.metrics.get(name, np.nan) for trial in arm]) for arm in arms]
        for name in sorted(names, key=lambda name: name != "accuracy")
    }


def which_is_better(metric: str) -> str:
    """'lower' or 'higher', by the metric's name.

    >>> which_is_better("test loss"), which_is_better("accuracy")
    ('lower', 'higher')
    """
    return "lower" if any(word in metric.lower() for word in LESS_IS_BETTER) else "higher"
