"""SD702, SD703: processes of one training that should agree and do not, or agree too well."""

from __future__ import annotations

import numpy as np

from sounding.measure.ranks import Ranks
from sounding.measure.readings import Readings
from sounding.result import NotApplicable
from sounding.rules.finding import Finding

LEAST = 8  # steps whose losses agree to six digits: by chance once in 10^40
DIGITS = 1e-4  # relative; the file has six digits, and all processes have the same sum


def ranks_apart(readings: Readings) -> Finding | str | None:
    """SD702: copies of one model began with other weights, or step along other gradients. Exact.

    Data-parallel copies stay equal because they begin equal and average their gradients before each
    step. Where the weights differ before the first step, or the norms of the gradients at any, they
    train apart, and what is saved is one of them. Not judged where parameters are sharded: there
    each process has a part of its own.
    """
    ranks = _several(readings)
    if ranks.parallel != "DistributedDataParallel":
        raise NotApplicable("no copies of one model: nothing says that they should agree")
    if len(set(ranks.weights)) > 1:
        return _apart(ranks, "the weights of the processes differ before the first step", 0)
    norms = ranks.gradient_norm
    known = np.isfinite(norms).all(axis=0)
    if not known.any():
        raise NotApplicable("no step whose gradients were measured in every process")
    spread = np.ptp(norms[:, known], axis=0)
    bad = spread > DIGITS * norms[:, known].max(axis=0)
    if not bad.any():
        return None
    at = int(np.flatnonzero(known)[np.argmax(bad)])
    one, other = norms[:, at].min(), norms[:, at].max()
    said = (
        f"at {int(bad.sum())} of {int(known.sum())} steps the processes step along different "
        f"gradients (norms from {one:.4g} to {other:.4g} at step {ranks.steps[at]})"
    )
    return _apart(ranks, said, int(bad.sum()))


def _apart(ranks: Ranks, said: str, steps: int) -> Finding:
    return Finding(
        code="SD702",
        name="ranks-apart",
        severity="problem",
        message=(
            f"{said}: the {len(ranks.loss)} copies of the model train apart, and one of them is "
            "saved; call the DistributedDataParallel model itself, not its .module, and end "
            "no_sync() before the backward pass that the step follows"
        ),
        layers=(),
        source="",
        measured={"steps_apart": float(steps), "weights": float(len(set(ranks.weights)))},
        expected={"steps_apart": 0.0, "weights": 1.0},
        confidence="exact",
    )


def same_data(readings: Readings) -> Finding | str | None:
    """SD703: two processes have the same loss at every step: they see the same batches. Exact.

    Of data-parallel or sharded training only, in which each process is to have its own part of the
    data; losses that do not change from step to step say nothing.
    """
    ranks = _several(readings)
    if not ranks.parallel:
        raise NotApplicable("it is not known that the processes should have different batches")
    finite = np.isfinite(ranks.loss).all(axis=0)
    losses = ranks.loss[:, finite]
    if losses.shape[1] < LEAST or not np.ptp(losses, axis=1).all():
        raise NotApplicable("too few losses that differ from step to step")
    equal = [
        (i, j)
        for i in range(len(losses))
        for j in range(i + 1, len(losses))
        if np.array_equal(losses[i], losses[j])
    ]
    if not equal:
        return None
    count, first = losses.shape[1], equal[0]
    return Finding(
        code="SD703",
        name="same-data-on-ranks",
        severity="problem",
        message=(
            f"processes {first[0]} and {first[1]} have the same loss at all of {count} steps: both "
            "see the same batches, so the second one adds nothing but its cost; give the loader a "
            "DistributedSampler (and call its set_epoch), or a seed of the process's own"
        ),
        layers=(),
        source="",
        measured={"steps_with_equal_losses": float(count), "pairs": float(len(equal))},
        expected={"steps_with_equal_losses": 0.0, "pairs": 0.0},
        confidence="exact",
    )


def _several(readings: Readings) -> Ranks:
    if readings.ranks is None:
        raise NotApplicable("one process, or the records of the others were not there")
    return readings.ranks
