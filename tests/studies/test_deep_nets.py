"""Deep nets with norms, and how stable rates are read off."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from sounding.result import Series
from sounding.studies import deep_nets as deep
from sounding.studies.lab import Lab
from sounding.train import Trial


def test_noise_has_the_moments_of_its_definition_and_is_none_in_eval_mode():
    """Of x = 1: mean E s = 1.125, variance 0.1^2 + 0.25^2/12 + 1/12 + 0.2^2/12."""
    noise = deep.Noise()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = torch.stack([noise(torch.ones(50, 40)) for _ in range(50)])
    expected = 0.01 + (0.25**2 + 1 + 0.04) / 12
    assert drawn.mean().item() == pytest.approx(1.125, abs=0.03)
    assert drawn.var().item() == pytest.approx(expected, rel=0.1)
    within = drawn.var(1).mean().item()  # of one unit at one step: only the samples differ
    assert within == pytest.approx(0.01 + 0.04 / 12, rel=0.05)
    assert torch.equal(noise.eval()(torch.ones(3, 2)), torch.ones(3, 2))


@pytest.mark.parametrize("norm", [deep.NONE, deep.NORMAL, deep.NOISY, deep.LAYER])
def test_nets_have_twelve_layers_and_the_norm_that_they_are_named_for(norm):
    with torch.random.fork_rng():
        net = deep.deep_net(norm)
        assert net(torch.randn(4, 64)).shape == (4, 10)
    kinds = {deep.NORMAL: nn.BatchNorm1d, deep.NOISY: nn.BatchNorm1d, deep.LAYER: nn.LayerNorm}
    norms = [m for m in net if isinstance(m, nn.BatchNorm1d | nn.LayerNorm)]
    assert sum(isinstance(m, nn.Linear) for m in net) == 12
    assert len(norms) == (0 if norm == deep.NONE else 11)
    assert all(isinstance(m, kinds[norm]) for m in norms)
    assert any(isinstance(m, deep.Noise) for m in net) == (norm == deep.NOISY)


def test_the_image_net_has_eight_convolutions_and_halves_five_times():
    with torch.random.fork_rng():
        net = deep.image_net(deep.NORMAL, channels=2)
        assert net(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert sum(isinstance(m, nn.Conv2d) for m in net) == 8
    assert sum(isinstance(m, nn.MaxPool2d) for m in net) == 5


def _trial(losses):
    loss = Series(quantity="loss", unit="", steps=np.arange(len(losses)), values=np.array(losses))
    diverged = not math.isfinite(losses[-1])
    return Trial(seed=0, loss=loss, metrics={}, diverged=diverged, seconds=0.0)


def test_a_run_learns_that_ends_below_its_first_loss():
    assert deep.learns(_trial([2.3, 1.0]))
    assert not deep.learns(_trial([2.3, 2.4]))
    assert not deep.learns(_trial([2.3, 1.0, math.nan]))


def test_the_largest_stable_rate_ends_at_the_first_gap():
    stable = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]], bool)  # rates x seeds
    assert deep.largest_stable(stable, (0.1, 0.2, 0.4)).tolist() == [0.2, 0.1, 0.0]


def test_a_small_rate_is_stable_and_a_huge_one_is_not():
    settings = {"norm": deep.NONE, "steps": 25, "depth": 3, "width": 16}
    stable = deep.stable_rates(Lab(), deep.deep_case, settings, (1e-2, 1e3), (0, 1))
    assert stable.tolist() == [[True, True], [False, False]]
