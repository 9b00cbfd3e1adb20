"""Which parameters can move, counted; and a net that learns nothing is not said to classify."""

import pytest
import torch
from torch import nn

from sounding.studies import study
from sounding.studies.claims import frankle_2021_scale_shift as frankle
from sounding.studies.lab import Lab
from sounding.studies.residual_nets import residual_net


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_as_many_weights_move_as_there_are_scales_and_shifts():
    """3 layers of 8: 48 scales and shifts; one large step moves as many weights, no more."""
    net = frankle.dense_net(frankle.WEIGHTS, 3, 8)
    partly = [m for m in net if isinstance(m, frankle.Partly)]
    assert sum(int(m.chosen.sum()) for m in partly) == 48
    assert [name.split(".")[-1] for name, p in net.named_parameters() if p.requires_grad] == [
        "moved"
    ] * 3
    net(torch.randn(16, 64)).square().sum().backward()
    moved = sum(int((m.moved.grad != 0).sum()) for m in partly)
    assert 0 < moved <= 48


@pytest.mark.parametrize(
    "layer", [nn.Linear(5, 4, bias=False), nn.Conv2d(3, 4, 3, 2, 1, bias=False)]
)
def test_a_partly_free_layer_is_that_layer_until_it_moves(layer):
    x = torch.randn(2, 5) if isinstance(layer, nn.Linear) else torch.randn(2, 3, 8, 8)
    partly = frankle.Partly(layer, torch.ones_like(layer.weight))
    torch.testing.assert_close(partly(x), layer(x))


def test_only_scales_and_shifts_are_free_and_scales_start_between_zero_and_one():
    net = frankle.only(residual_net(8), frankle.NORMS)
    free = sum(p.numel() for p in net.parameters() if p.requires_grad)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert free == sum(2 * m.num_features for m in norms)
    scales = torch.cat([m.weight.detach() for m in norms])
    assert 0 <= scales.min() < 0.1 < 0.9 < scales.max() <= 1


def test_a_few_steps_are_not_enough_and_the_verdict_says_so():
    verdicts, charts = frankle.quick(
        Lab(), width=8, steps=3, seeds=(0, 1), lrs=(0.1, 0.3), depths=(3,)
    )
    assert [v.outcome for v in verdicts[:2]] == ["refuted", "refuted"]
    assert "learning rates: scales and shifts" in verdicts[2].note
    assert [line.label for line in charts[0].lines][-1] == "chance"


def test_the_full_scales_code_runs_on_a_few_images(sixteen_images):
    sixteen_images(frankle)
    verdicts, _ = frankle.full(Lab(), device="cpu", steps=2, depths=(8, 14), seeds=(0, 1))
    assert len(verdicts) == 1 + 2 + 2 + 1
    assert frankle._two_drops(79, 160) == 1
    assert frankle._two_drops(80, 160) == pytest.approx(0.1)
    assert frankle._two_drops(120, 160) == pytest.approx(0.01)


@pytest.mark.slow
def test_at_the_quick_scale_six_layers_of_as_many_weights_come_close():
    """Each arm at its own best rate, the margin at six layers is not clearly ten points."""
    outcomes = [v.outcome for v in study("frankle-2021-scale-shift").verdicts]
    assert outcomes == ["inconclusive", *["supported"] * 3, "inconclusive"]
