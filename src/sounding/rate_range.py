"""The rate-range test: one run whose learning rate grows, and where the loss turns."""

from __future__ import annotations

import dataclasses

import numpy as np

from sounding.result import Result
from sounding.train import Case, Progress, silent, train

WINDOW = 20  # the loss is smoothed over a twentieth of the run
DECADES = 7  # below the highest rate, where the run begins


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RateRange(Result):
    """A run with a growing learning rate. Letters: S steps."""

    subject: str
    lr: np.ndarray  # (S,) of each step
    loss: np.ndarray  # (S,) before it
    smoothed: np.ndarray  # (S,) medians over a window of a twentieth of the steps
    # the rate from which on the loss had fallen by a tenth of its whole fall; nan: it never fell
    falls_from: float
    turns_at: float  # the rate at which it had risen by a tenth again; nan: it did not
    seed: int

    def __str__(self) -> str:
        if not np.isfinite(self.falls_from):
            return f"the loss does not fall at any rate up to {self.lr[-1]:.3g}"
        turns = f"turns at {self.turns_at:.2g}"
        if not np.isfinite(self.turns_at):
            turns = f"does not turn up to {self.lr[-1]:.3g}"
        return f"the loss falls from a rate of {self.falls_from:.2g} on and {turns}"


def rate_range(
    case: Case,
    *,
    highest: float = 10.0,
    steps: int = 300,
    seed: int = 0,
    progress: Progress = silent,
) -> RateRange:
    """Train `case` once with a rate that grows by seven decades, and see where the loss turns.

    The rates between are candidates, no proof: judge one with :func:`sounding.prove` on
    ``scale_lr``, or search among them with :func:`sounding.compare`. On a quadratic loss gradient
    descent turns at 2 / (largest curvature). The case's own schedule and warm-up are left out.

    Args:
        case: What is trained; it stays as it is.
        highest: The rate of the last step.
        steps: Of the run; its cost is theirs.
        seed: Of weights and batches.
        progress: Told of every step.

    Raises:
        ValueError: If `highest` is not positive, or there are fewer than 60 steps.

    Source: Smith 2017, "Cyclical learning rates for training neural networks".
    """
    if not 0 < highest < np.inf:
        raise ValueError(f"highest is {highest!r}; give a positive learning rate")
    if steps < 3 * WINDOW:
        raise ValueError(f"{steps} steps are too few for a rate-range test; give {3 * WINDOW}")
    lowest = highest / 10**DECADES

    def grown(step: int, count: int) -> float:
        return float((highest / lowest) ** (step / (count - 1)))

    recipe = case.recipe.replace(lr=lowest, schedule=grown, warmup=0, steps=steps)
    trial = train(
        case.replace(recipe=recipe),
        seed,
        on_step=lambda step, loss: progress("a run with a growing rate", step, steps),
    )
    loss = np.asarray(trial.loss.values, dtype=float)
    lr = lowest * np.array([grown(step, steps) for step in range(len(loss))])
    smoothed = _smoothed(loss, max(3, steps // WINDOW))
    falls, turns = _turns(lr, smoothed)
    return RateRange(
        subject=case.name,
        lr=lr,
        loss=loss,
        smoothed=smoothed,
        falls_from=falls,
        turns_at=turns,
        seed=seed,
    )


def _smoothed(loss: np.ndarray, window: int) -> np.ndarray:
    """Medians over `window` steps around each; what is no number counts as infinite."""
    known = np.where(np.isfinite(loss), loss, np.inf)
    before, behind = window // 2, window - 1 - window // 2
    padded = np.concatenate([np.full(before, known[0]), known, np.full(behind, known[-1])])
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, window), axis=1)


def _turns(lr: np.ndarray, smoothed: np.ndarray) -> tuple[float, float]:
    """Where the smoothed loss has fallen by a tenth of its fall, and where it has risen by one."""
    best = int(np.argmin(smoothed))
    noise = np.ptp(smoothed[: max(3, len(smoothed) // 10)])  # at rates that move nothing
    fall = smoothed[0] - smoothed[best]
    if not fall > 2 * noise:
        return np.nan, np.nan
    begin = int(np.argmax(smoothed < smoothed[0] - max(fall / 10, noise)))
    risen = np.flatnonzero(smoothed[best:] > smoothed[best] + fall / 10)
    return float(lr[begin]), float(lr[best + risen[0]]) if risen.size else np.nan
