"""Many runs as one program against the same runs one by one.

No other test would see runs that share batches, momentum or learning rates, one that carries
another away when it diverges, or an optimiser that treats stacked parameters as one tensor.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.train import Case, Recipe, train
from sounding.train.many import train_many

STEPS = 60


def _data():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(90, 6, generator=generator, dtype=torch.float64)
    return x, (x[:, :3] + x[:, 3:]).argmax(1)


X, Y = _data()


def _net():
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 3)).double()


def _case(**recipe):
    given = {"lr": 0.05, "batch_size": 16, "steps": STEPS, **recipe}
    return Case(_net, functional.cross_entropy, (X, Y), Recipe(**given))


RECIPES = {
    "plain": {},
    "momentum": {"momentum": 0.9, "weight_decay": 0.01},
    "nesterov": {"momentum": 0.8, "options": {"nesterov": True}},
    "schedule": {"schedule": "cosine", "warmup": 7, "lr": 0.2},
    "own schedule": {"schedule": lambda step, steps: 0.5 ** (3 * step / steps), "lr": 0.1},
    "clip": {"clip": 0.1, "lr": 0.5},
    "adam": {"optimiser": "adam", "lr": 0.01, "options": {"betas": (0.5, 0.9), "amsgrad": True}},
    "adamw": {"optimiser": "adamw", "lr": 0.01, "weight_decay": 0.1},
    "nadam": {"optimiser": "nadam", "lr": 0.01},
    "radam": {"optimiser": "radam", "lr": 0.01},
    "rmsprop": {"optimiser": "rmsprop", "lr": 0.003, "momentum": 0.5},
    "centred": {"optimiser": "rmsprop", "lr": 0.003, "options": {"centered": True}},
    "adagrad": {"optimiser": "adagrad", "lr": 0.05},
}


def _agree(many, jobs, rtol=1e-10):
    for (case, seed), together in zip(jobs, many, strict=True):
        alone = train(case, seed)
        assert (together.seed, together.diverged) == (alone.seed, alone.diverged)
        np.testing.assert_allclose(together.loss.values, alone.loss.values, rtol=rtol)
        assert together.metrics.keys() == alone.metrics.keys()
        for name, value in alone.metrics.items():
            np.testing.assert_allclose(together.metrics[name], value, rtol=rtol)


def test_every_optimiser_schedule_and_clip_as_one_program_is_what_it_is_alone():
    jobs = [(_case(**recipe), seed) for seed in (0, 4) for recipe in RECIPES.values()]
    _agree(train_many(jobs, method="vectorised"), jobs)
