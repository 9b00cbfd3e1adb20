"""Flat vectors: order, tying, freezing, and the way there and back."""

import pytest
import torch
from torch import nn

from sounding.vectors import Layout, normal, trainable


def _net():
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    net[2].weight = net[1].weight  # tied
    net[0].bias.requires_grad_(False)
    return net


def test_tied_weights_count_once_and_frozen_ones_not_at_all():
    assert list(trainable(_net())) == ["0.weight", "1.weight", "1.bias", "2.bias"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("1", ["1.weight", "1.bias"]),
        ("*.bias", ["1.bias", "2.bias"]),
        (["0", "2.bias"], ["0.weight", "2.bias"]),
    ],
)
def test_patterns_are_of_parameters_or_of_the_modules_above_them(pattern, names):
    assert list(trainable(_net(), pattern)) == names


def test_a_pattern_without_a_match_lists_the_names():
    with pytest.raises(
        ValueError, match=r"no trainable parameter matches 'head\.\*'; there are 0.weight"
    ):
        trainable(_net(), "head.*")


def test_complex_parameters_are_refused_by_name():
    net = nn.Module()
    net.phase = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(ValueError, match=r"phase is torch\.complex64"):
        trainable(net)


def test_split_and_join_are_inverse_also_for_blocks():
    layout = Layout(dict(trainable(_net())))
    vector = torch.arange(2.0 * layout.size).reshape(2, -1)
    parts = layout.split(vector)
    assert [tuple(p.shape) for p in parts] == [(2, 2, 3), (2, 2, 2), (2, 2), (2, 2)]
    assert torch.equal(layout.join(parts, ahead=1), vector)
    assert torch.equal(vector[0, layout.slices()["1.bias"]], parts[2][0])


def test_random_vectors_come_from_the_seed_alone():
    state = torch.get_rng_state()
    one = normal(2, 5, seed=3, dtype=torch.float64, device=torch.device("cpu"))
    torch.manual_seed(99)
    assert torch.equal(one, normal(2, 5, seed=3, dtype=torch.float64, device=torch.device("cpu")))
    torch.set_rng_state(state)
