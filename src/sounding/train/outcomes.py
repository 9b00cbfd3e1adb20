"""The outcomes of two arms, seed by seed, on a scale on which they can be compared.

Letters: n pairs of trials.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sounding.train.trial import Trial, final_loss

DECADES = "decades of loss"
RESOLUTION = float(np.finfo(np.float32).eps)  # of the first loss: what lies below it is rounding


def paired_losses(
    before: Sequence[Trial], after: Sequence[Trial]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """The final losses of both arms, what a run that learnt nothing has, (n,) each, and the unit.

    A run that learnt nothing still has the loss of its first step; the lower one of the pair's two
    is taken. Losses are in decades (log10), counted down to the resolution of float32 below that
    first loss, unless some are negative, as likelihoods of densities are: then as they are.
    Diverged runs are infinite.
    """
    finals = [np.array([final_loss(trial) for trial in arm]) for arm in (before, after)]
    starts = [np.array([trial.loss.values[0] for trial in arm]) for arm in (before, after)]
    start = np.fmin(*starts)  # a NaN does not count
    if any((values < 0).any() for values in (*finals, *starts)):
        return finals[0], finals[1], start, "of loss"
    floor = RESOLUTION * np.where(np.isfinite(start) & (start > 0), start, 1.0)
    untreated, treated, nothing = (np.log10(np.maximum(v, floor)) for v in (*finals, start))
    return untreated, treated, nothing, DECADES


def paired_metrics(
    before: Sequence[Trial], after: Sequence[Trial]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Both arms' values, (n,) each, of every metric that some trial has; 'accuracy' comes first.

    A trial without it, such as one that diverged, has NaN.
    """
    names = dict.fromkeys(name for trial in (*before, *after) for name in trial.metrics)
    first, second = (
        {name: np.array([trial.metrics.get(name, np.nan) for trial in arm]) for name in names}
        for arm in (before, after)
    )
    return {
        name: (first[name], second[name])
        for name in sorted(names, key=lambda name: name != "accuracy")
    }
