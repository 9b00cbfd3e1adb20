"""SD102: what float16 rounds to zero, counted here on numbers drawn for the purpose."""

import dataclasses
import math
import types

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.measure.loop import Evaluations
from sounding.result import NotApplicable
from sounding.rules.half_precision import LOST, STEP, half_precision_underflow
from sounding.watch.facts import Facts
from sounding.zoo.nets import mlp

NONE = Evaluations(count=0, training=0, low=None, high=None, outside=0.0, expected=0.0)


@pytest.fixture
def half(examine, batch):
    """`half(scale)`: readings of a net in float16 whose loss is multiplied by `scale`."""

    def take(scale, dtype=torch.float16):
        net = mlp(64, 64, 64, 10).to(dtype)
        x = batch[0].to(dtype)

        def loss(output, target):
            return scale * functional.cross_entropy(output.float(), target)

        return examine(net, loss=loss, data=(x, batch[1]), optimiser=None).readings

    return take


def test_what_the_limits_mean():
    """The smallest number; and the tenth of a normal's entries that is lost at the limit."""
    assert float(torch.tensor(STEP, dtype=torch.float16)) == STEP
    assert float(torch.tensor(0.49 * STEP, dtype=torch.float16)) == 0
    normal = torch.randn(200_000, generator=torch.Generator().manual_seed(0)) * LOST
    lost = float((normal.half() == 0).float().mean())
    assert lost == pytest.approx(math.erf(0.5 * STEP / LOST / math.sqrt(2)), abs=0.005)
    assert 0.09 < lost < 0.11


def test_all_of_it_is_lost(half, ran):
    finding = half_precision_underflow(ran(readings=half(1e-5), constant=(2.3, 2.3)))
    assert (finding.code, finding.severity, finding.confidence) == ("SD102", "problem", "exact")
    assert "GradScaler" in finding.message


def test_what_a_scaler_multiplies_is_large_enough(half):
    assert half_precision_underflow(half(1.0)) is None
    assert half_precision_underflow(half(1e-5 * 65536)) is None


def test_bfloat16_and_float32_lose_nothing(half):
    for dtype in (torch.bfloat16, torch.float32):
        with pytest.raises(NotApplicable, match="float16"):
            half_precision_underflow(half(1e-5, dtype))


def test_a_caution_where_only_a_part_is_lost_and_no_training_was_seen(half):
    readings = half(2e-4)
    sizes = readings.gradients.rms[list(readings.path)]
    assert (sizes > 0).all()
    found = half_precision_underflow(readings)
    assert (found is None) == bool((sizes >= LOST).all())
    if found:
        assert found.severity == "caution"


def test_refuted_where_the_run_learns(half, ran):
    said = half_precision_underflow(ran(readings=half(1e-5), constant=(2.3, 0.1)))
    assert said.endswith("yet the run learns")


def test_a_dead_layer_is_no_underflow(examine, batch):
    """Its gradient is 0 as well, but nothing behind it is small."""
    net = mlp(64, 64, 64, 10).half()
    with torch.no_grad():
        net[2].bias.fill_(-100)
    data = batch[0].half(), batch[1]
    readings = examine(
        net, loss=lambda o, t: functional.cross_entropy(o.float(), t), data=data, optimiser=None
    ).readings
    assert readings.gradients.rms[readings.path[0]] == 0
    assert half_precision_underflow(readings) is None


def test_not_applicable(examine):
    readings = examine(nn.Linear(64, 10)).readings
    with pytest.raises(NotApplicable, match="float16"):
        half_precision_underflow(readings)
    assert np.isfinite(readings.gradients.rms[list(readings.path)]).all()


@pytest.fixture
def lossy(ran):
    """`lossy(share, fork)`: a training of which `share` of the steps are rounded away."""

    def take(share, fork, constant=(2.3, 1.7)):
        readings = ran(constant=constant, tests={"widened": fork})
        loop = dataclasses.replace(readings.loop, rounded={"0.weight": share, "2.weight": share})
        return dataclasses.replace(readings, loop=loop)

    return take


def test_steps_that_are_rounded_away_are_found_where_float32_ends_lower(lossy):
    finding = half_precision_underflow(lossy(0.9, (2.2, 1.5)))
    assert (finding.code, finding.severity) == ("SD102", "problem")
    assert "90% of the weights' steps are rounded away" in finding.message
    assert finding.layers == ("0.weight", "2.weight")
    assert finding.measured["rounded_share"] == pytest.approx(0.9)


def test_steps_that_are_lost_without_harm_are_no_finding(lossy):
    assert "yet in float32" in half_precision_underflow(lossy(0.9, (2.2, 2.2)))
    assert "yet in float32" in half_precision_underflow(lossy(0.9, (2.2, 1.8)))  # it came to 1.7
    assert half_precision_underflow(lossy(0.3, (2.2, 1.5))) is None


def test_what_a_step_leaves_alone_is_counted_as_the_numbers_say():
    """Near 1 bfloat16 has steps of 1/128 upwards: 0.003 is lost, 0.005 is not, 0 wants nothing."""
    net = nn.Linear(4, 1, bias=False)
    nn.init.ones_(net.weight)
    net.bfloat16()
    optimiser = torch.optim.SGD(net.parameters(), lr=1.0)
    facts = Facts()
    facts.meet(net)
    net.weight.grad = torch.tensor([[-0.003, -0.005, 0.0, -0.003]], dtype=torch.bfloat16)
    recorder = types.SimpleNamespace(origins=types.SimpleNamespace(used=set()), strangers={})
    facts.look(recorder, net, optimiser, {id(net.weight)})
    optimiser.step()
    facts.stepped()
    loop = facts.loop(net, optimiser, NONE)
    assert loop.rounded == {"weight": pytest.approx(2 / 3)}
