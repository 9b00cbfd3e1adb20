"""SD416: batches of copies, against batches drawn at random from little data."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.result import NotApplicable
from sounding.rules.inputs import duplicated_samples
from sounding.zoo.nets import mlp


def test_one_sample_for_all(examine, batch):
    copies = batch[0][:1].expand(64, -1), batch[1][:1].expand(64)
    finding = duplicated_samples(examine(mlp(64, 16, 10), data=copies).readings)
    assert (finding.code, finding.severity) == ("SD416", "problem")
    assert "the 64 samples of the batch are one and the same" in finding.message
    assert finding.measured["samples"] == 1


@pytest.mark.parametrize("times", [2, 4, 8])
def test_each_several_times(times, examine, batch):
    rows = torch.arange(64 // times).repeat(times)
    finding = duplicated_samples(examine(mlp(64, 16, 10), data=[t[rows] for t in batch]).readings)
    assert finding.severity == "caution"
    assert finding.measured["samples"] == 64 // times
    assert f"each {times} times" in finding.message


def test_silent_on_samples_drawn_at_random_with_repeats(examine, batch):
    """32 samples, of which 64 are drawn: few occur exactly twice."""
    rows = torch.randint(0, 32, (64,))
    assert len(rows.unique()) < 32
    assert (
        duplicated_samples(examine(mlp(64, 16, 10), data=[t[rows] for t in batch]).readings) is None
    )
    four = [t[torch.arange(4)] for t in batch]
    assert duplicated_samples(examine(mlp(64, 16, 10), data=four).readings) is None


def test_silent_on_outputs_that_are_alike_for_other_reasons(examine):
    """A head that starts at zero, on labels of which there are as many of each."""
    net = mlp(8, 16, 1)
    nn.init.zeros_(net[2].weight)
    data = torch.randn(64, 8), (torch.arange(64) % 2).float()[:, None]
    loss = functional.binary_cross_entropy_with_logits
    assert duplicated_samples(examine(net, data=data, loss=loss).readings) is None


def test_silent_on_two_views_with_noise(examine, batch):
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))
    twice = [torch.cat([t[:32], t[:32]]) for t in batch]
    assert duplicated_samples(examine(net, data=twice).readings) is None


@pytest.mark.parametrize(
    ("copies", "now", "severity"),
    [(32, 2.0, "problem"), (32, 0.4, "caution"), (64, 0.4, "problem"), (1, 2.0, None)],
)
def test_copies_in_the_stored_batches(ran, examine, copies, now, severity):
    """Outputs may agree by chance; the inputs are looked at where a training was watched."""
    readings = examine(mlp(64, 16, 10)).readings
    tests = {"copies": {"rows": 64.0, "copies": float(copies)}}
    finding = duplicated_samples(ran(readings=readings, constant=(2.3, now), tests=tests))
    assert (finding and finding.severity) == severity
    if finding:
        assert finding.measured["samples"] == 64 // copies


def test_not_applicable_where_the_loss_was_not_seen(examine):
    readings = examine(mlp(64, 8, 4), loss=lambda output, _: output.square().mean()).readings
    with pytest.raises(NotApplicable):
        duplicated_samples(readings)
