"""Losses without gradients are heard, whatever their form; training steps never meet a wrapper."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.capture.scoring import NAMES, Scoring

X, Y = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3


@pytest.fixture
def heard():
    """(scoring, what it has told): names, numbers and blocks."""
    told = []
    return Scoring(lambda name, value, block: told.append((name, float(value), block))), told


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    ("criterion", "target"),
    [(nn.CrossEntropyLoss, Y), (nn.MSELoss, X.flip(0)), (nn.BCEWithLogitsLoss, X.sigmoid())],
)
def test_the_mean_whatever_the_reduction(heard, criterion, target, reduction):
    scoring, told = heard
    scoring.begin()
    with torch.no_grad():
        criterion(reduction=reduction)(X, target)
    scoring.end()
    assert [one[1:] for one in told] == [(pytest.approx(criterion()(X, target).item()), 1)]


def test_only_inside_and_without_gradients(heard):
    scoring, told = heard
    before = [getattr(F, name) for name in NAMES]
    F.cross_entropy(X, Y)
    scoring.begin()
    assert F.cross_entropy is not before[0]
    F.cross_entropy(X, Y)  # with gradients, as a step inside of such a block
    scoring.end()
    scoring.end()
    assert [getattr(F, name) for name in NAMES] == before
    assert told == []


def test_somebody_elses_function_stays(heard, monkeypatch):
    scoring, told = heard
    monkeypatch.setattr(F, "mse_loss", F.mse_loss)  # put back at the end
    other = lambda *_, **__: torch.tensor(7.0)  # noqa: E731
    scoring.begin()
    F.mse_loss = other
    scoring.end()
    assert F.mse_loss is other
    scoring.begin()
    with torch.no_grad():
        F.mse_loss(X, X)
    scoring.end()
    assert F.mse_loss is other
    assert told == [("mse_loss", 7.0, 2)]
