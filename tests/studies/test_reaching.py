"""The step at which a run classifies its batches right."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.studies.reaching import WINDOW, first_time, steps_until
from sounding.train import Case, Recipe


def test_the_first_step_is_that_of_the_running_mean():
    shares = np.r_[np.zeros(30), np.ones(30)]
    assert first_time(shares, 1.0, 60) == 30 + WINDOW
    assert first_time(shares, 0.5, 60) == 30 + WINDOW / 2
    assert first_time(np.zeros(60), 0.5, 60) == 60  # never: all its steps
    assert first_time(np.ones(WINDOW - 1), 0.5, 99) == 99  # too short to say


def test_a_run_is_timed_by_its_training_accuracy():
    """One feature tells two classes apart: right from the first step on, or never at all."""
    x = torch.tensor([[1.0], [-1.0]] * 8)
    y = (x[:, 0] < 0).long()

    def net(sign: float) -> nn.Linear:
        layer = nn.Linear(1, 2, bias=False)
        nn.init.constant_(layer.weight[:1], sign)
        nn.init.constant_(layer.weight[1:], -sign)
        return layer

    for sign, expected in ((1.0, WINDOW), (-1.0, 40)):
        recipe = Recipe(lr=1e-6, batch_size=None, steps=40)
        case = Case(lambda sign=sign: net(sign), functional.cross_entropy, (x, y), recipe)
        assert steps_until(case, 0, 0.9) == expected
