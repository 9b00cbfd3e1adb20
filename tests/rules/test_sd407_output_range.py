"""SD407: what an activation at the output cannot say, against integrals and the best loss.

The limits are those of noise around targets at the edge of the range: checked by integration.
"""

import itertools

import pytest
import torch
from scipy import integrate, stats
from torch import nn
from torch.nn import functional
from trainings import constant, trained

from sounding.measure.test import Untested
from sounding.rules.output_range import output_range
from sounding.zoo.nets import mlp


def regression(examine, last, target, loss=functional.mse_loss):
    net = nn.Sequential(mlp(4, 8, 1), last)
    return examine(net, data=(torch.randn(len(target), 4), target), loss=loss).readings


@pytest.mark.parametrize(("inside", "share"), [(0.0, 0.5), (1.0, 0.075)])
def test_noise_puts_that_share_of_its_square_outside(inside, share):
    square, _ = integrate.quad(lambda z: (z - inside) ** 2 * stats.norm.pdf(z), inside, 20)
    assert square == pytest.approx(share, abs=1e-3)


def test_what_is_out_of_reach_is_a_floor_under_the_error(examine):
    y = torch.randn(4096, 1)
    for last, clipped in ((nn.ReLU(), y.clamp_min(0)), (nn.Tanh(), y.clamp(-1, 1))):
        call = regression(examine, last, y).loss_call
        floor = float(functional.mse_loss(clipped, y) / y.var(correction=0))
        assert call.beyond == pytest.approx(floor)
        assert call.unreachable == pytest.approx(float((clipped != y).float().mean()))
    expected, _ = integrate.quad(lambda z: 2 * (z - 1) ** 2 * stats.norm.pdf(z), 1, 20)
    assert call.beyond == pytest.approx(expected, abs=0.02)


def test_signed_targets_behind_a_relu(examine):
    readings = regression(examine, nn.ReLU(), torch.linspace(-1, 1, 64)[:, None])
    finding = output_range(readings)
    assert (finding.code, finding.severity, finding.layers) == ("SD407", "problem", ("1",))
    assert "50% of the targets, which run from -1 to 1, lie outside" in finding.message
    assert [r.name for r in finding.remedies] == ["remove_output_activation"]
    assert output_range(trained(readings, constant=constant(0.34, 0.34))).severity == "problem"


def test_learnt_as_far_as_it_goes_and_the_rest_is_out_of_reach(examine):
    readings = regression(examine, nn.Tanh(), torch.randn(512, 1))
    level = readings.loss_call.target.std**2
    stuck = 1.05 * readings.loss_call.beyond * level
    assert output_range(trained(readings, constant=constant(level, stuck))).severity == "problem"


def test_refuted_where_noise_can_explain_it(examine):
    """Rain: mostly none, some of it measured below 0; a net that learnt all but the noise."""
    rain, noise = 3.0 * (torch.rand(512, 1) < 0.2), 0.3 * torch.randn(512, 1)
    readings = regression(examine, nn.Softplus(), rain + noise)
    level = readings.loss_call.target.std**2
    said = output_range(trained(readings, constant=constant(level, 0.09)))
    assert "lie outside" in said
    assert "of their variance" in said
    assert isinstance(output_range(readings), str)  # and without a training


def test_silent_on_targets_inside(examine):
    counts = torch.poisson(torch.full((64, 1), 2.0))
    assert output_range(regression(examine, nn.ReLU(), counts)) is None
    unit = torch.rand(64, 1)
    for last, loss in itertools.product(
        (nn.Sigmoid(), nn.Tanh()), (functional.mse_loss, functional.l1_loss)
    ):
        assert output_range(regression(examine, last, unit, loss)) is None
    assert output_range(regression(examine, nn.Identity(), -unit)) is None
    probabilities = functional.binary_cross_entropy
    assert output_range(regression(examine, nn.Sigmoid(), unit, probabilities)) is None


# -- scores of classes -----------------------------------------------------------------------------


@pytest.mark.parametrize(("last", "ends"), [(nn.Tanh(), (-1.0, 1.0)), (nn.Sigmoid(), (0.0, 1.0))])
def test_the_floor_of_bounded_scores(last, ends, examine, batch):
    finding = output_range(examine(nn.Sequential(mlp(64, 16, 10), last)).readings)
    best = torch.where(functional.one_hot(batch[1], 10) > 0, ends[1], ends[0])
    floor = float(functional.cross_entropy(best, batch[1]))
    assert finding.measured["lowest_loss"] == pytest.approx(floor)
    assert finding.message.endswith(f"drop the {last.__class__.__name__.lower()}")


@pytest.mark.parametrize(("last", "ends"), [(nn.Tanh(), (-1.0, 1.0)), (nn.ReLU(), (0.0, 80.0))])
def test_the_floor_of_bounded_logits(last, ends, examine):
    x, y = torch.randn(64, 8), (torch.arange(64) % 4 == 0).float()[:, None]
    loss = functional.binary_cross_entropy_with_logits
    net = nn.Sequential(mlp(8, 16, 1), last)
    finding = output_range(examine(net, data=(x, y), loss=loss).readings)
    best = torch.where(y > 0, ends[1], ends[0])
    assert finding.measured["lowest_loss"] == pytest.approx(float(loss(best, y)), abs=1e-6)


def test_a_class_whose_score_is_cut_off(examine):
    net = nn.Sequential(mlp(64, 16, 10), nn.ReLU())
    with torch.no_grad():
        net[0][2].bias.fill_(1.0)
        net[0][2].bias[3] = -100.0
    finding = output_range(examine(net).readings)
    assert finding.confidence == "exact"
    assert "the score of class 3 is the same for all samples" in finding.message
    assert finding.measured["dead_classes"] == 1


def rectified(examine):
    net = nn.Sequential(mlp(64, 16, 10), nn.ReLU())
    nn.init.constant_(net[0][2].bias, 1.0)
    return examine(net).readings


def recalls(count, *, lost):
    found = {f"recall_{k}": 0.0 if k in lost else 0.9 for k in range(10)}
    return {"classes": 10.0, "minority_count": float(count), **found}


def test_a_rectifier_on_scores_is_judged_by_the_classes_that_are_lost(examine):
    readings = rectified(examine)
    with pytest.raises(Untested, match="classes"):
        output_range(readings)
    finding = output_range(trained(readings, classes=recalls(40, lost=(2, 7))))
    assert "2 of 10 classes are never predicted" in finding.message
    for harmless in (recalls(40, lost=()), recalls(3, lost=(2,))):
        assert output_range(trained(readings, classes=harmless)).endswith("every class is found")


def test_silent_on_capped_scores_far_from_the_cap(examine):
    class Capped(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = mlp(64, 16, 10)

        def forward(self, x):
            return 30 * torch.tanh(self.body(x) / 30)

    assert output_range(examine(Capped()).readings) is None
