"""SD511: decay inside of Adam, beside AdamW; what both do to one weight is worked out by hand."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.measure.readings import Optimiser
from sounding.result import NotApplicable
from sounding.rules.adaptive import l2_in_adam
from sounding.zoo.nets import mlp

ADAM = Optimiser(name="Adam", lr=1e-3, adaptive=True, eps=1e-8)
STUCK, CURED = (2.3, 2.3), {"decoupled": (2.3, 0.04)}


def settings(decay):
    return [(("0.weight",), {"lr": 1e-3, "weight_decay": decay})]


def test_a_weight_without_gradient_shrinks_by_lr_a_step_whatever_the_decay():
    """Adam divides the decay by itself; AdamW multiplies by 1 - lr decay."""
    for decay in (1e-4, 1e-2, 1.0):
        for kind, expected in ((torch.optim.Adam, 1e-3), (torch.optim.AdamW, 1e-3 * decay)):
            w = nn.Parameter(torch.ones(1, dtype=torch.double))
            w.grad = torch.zeros_like(w)
            kind([w], lr=1e-3, weight_decay=decay).step()
            assert 1 - float(w.detach()) == pytest.approx(expected, rel=1e-3)


def test_fires_where_the_decay_is_the_larger_part(ran, examine, batch):
    net = mlp(64, 64, 64, 10)
    readings = examine(net).readings
    functional.cross_entropy(net(batch[0]), batch[1]).backward()
    both = [(p.detach().norm(), p.grad.norm()) for p in net.parameters()]
    weight, gradient = (float(np.linalg.norm(norms)) for norms in zip(*both, strict=True))
    finding = l2_in_adam(
        ran(
            readings=readings,
            optimiser=ADAM,
            groups=settings(1.0),
            constant=STUCK,
            tests=CURED,
        )
    )
    expected = pytest.approx(weight / gradient, rel=1e-4)
    assert finding.measured["decay_over_gradient"] == expected
    assert str(finding.remedies[0]) == "decouple_decay()"


def test_silent_on_a_small_decay(ran):
    assert l2_in_adam(ran(optimiser=ADAM, groups=settings(1e-4), constant=STUCK)) is None


def test_refuted(ran):
    how = {"optimiser": ADAM, "groups": settings(10.0)}
    assert "but the run learns" in l2_in_adam(ran(**how, constant=(2.3, 0.2)))
    forks = {"decoupled": (2.3, 2.3)}
    assert "does not end" in l2_in_adam(ran(**how, constant=STUCK, tests=forks))


@pytest.mark.parametrize(
    "how",
    [
        {"groups": settings(0.1), "decoupled": True},  # AdamW
        {"groups": settings(0.0)},
        {
            "groups": settings(0.1),
            "optimiser": Optimiser(name="SGD", lr=0.1, adaptive=False, eps=math.nan),
        },
    ],
)
def test_not_applicable(ran, how):
    with pytest.raises(NotApplicable):
        l2_in_adam(ran(**{"optimiser": ADAM, **how}))
