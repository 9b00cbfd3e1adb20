"""How many steps a run needs until it classifies its batches right."""

from __future__ import annotations

import numpy as np
import torch

from sounding.train import Case, train

WINDOW = 20  # batches over which the training accuracy is averaged


def steps_until(case: Case, seed: int, accuracy: float) -> float:
    """The first step at which the mean accuracy of the last 20 batches reaches `accuracy`.

    The accuracy is that of training, in training mode, before each step's update; the case's loss
    takes (output, class labels). A run that never gets there counts as all its steps.
    """
    loss, shares = case.loss, []
    assert callable(loss)

    def noting(output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        shares.append((output.detach().argmax(1) == labels).float().mean())
        return loss(output, labels)

    train(case.replace(loss=noting), seed)
    return first_time(torch.stack(shares).cpu().numpy(), accuracy, case.recipe.steps)


def first_time(shares: np.ndarray, accuracy: float, steps: int) -> float:
    """The first step at which the mean of the last `WINDOW` shares reaches `accuracy`."""
    if len(shares) < WINDOW:
        return float(steps)
    means = np.convolve(shares, np.full(WINDOW, 1 / WINDOW), mode="valid")
    reached = np.flatnonzero(means >= accuracy - 1e-6)  # 1e-6: float32 sums of exact hits
    return float(reached[0] + WINDOW) if reached.size else float(steps)
