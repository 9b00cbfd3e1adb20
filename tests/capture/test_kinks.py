"""Counts of pre-activations on a kink, against counts by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.capture.kinks import Kinks

Z = torch.tensor([-1.0, 0.0, 0.5, 0.0, 6.0, 1.0])


@pytest.mark.parametrize(
    ("call", "near"),
    [
        (F.relu, 2),
        (torch.relu, 2),
        (nn.ReLU(inplace=True), 2),
        (nn.LeakyReLU(0.1), 2),
        (nn.PReLU(), 2),
        (nn.ReLU6(), 3),  # at 0 and at 6
        (nn.Hardtanh(), 2),  # at -1 and at 1
        (torch.abs, 2),
        (lambda z: z.clamp(min=0.5), 1),
        (lambda z: z.clamp(0.5, 1.0), 2),
    ],
)
def test_kinks_are_where_the_function_has_them(call, near):
    with torch.no_grad(), Kinks() as seen:
        call(Z.clone())
    assert (seen.near, seen.total) == (near, len(Z))


def test_smooth_activations_have_none_and_near_is_not_on_it():
    with torch.no_grad(), Kinks() as seen:
        F.gelu(Z)
        torch.tanh(Z)
    assert seen.total == 0
    with torch.no_grad(), Kinks() as seen:
        F.relu(torch.tensor([1.0, 1e-3, 1e-9]))
    assert (seen.near, seen.total) == (1, 3)  # 1e-9 beside numbers of size 1 is rounding
