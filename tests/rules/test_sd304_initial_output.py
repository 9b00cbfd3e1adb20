"""SD304: what random outputs cost, against averages over random draws."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from trainings import constant, fork, trained

from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.initial_output import initial_output
from sounding.zoo.nets import mlp


def large(size=5.0, classes=10):
    net = mlp(64, 256, classes)
    nn.init.normal_(net[2].weight, std=size / 8)
    return net


def begun(readings, *, start, **tests):
    """Trained from this first loss on."""
    readings = trained(readings, **tests)
    losses = np.linspace(start, 2.0, 200)
    return dataclasses.replace(readings, course=dataclasses.replace(readings.course, loss=losses))


@pytest.mark.parametrize(("size", "classes"), [(0.5, 100), (1.0, 1000), (2.0, 10000)])
def test_scores_of_that_size_cost_half_their_square(size, classes):
    scores = size * torch.randn(400, classes)
    cost = float(functional.cross_entropy(scores, torch.zeros(400, dtype=torch.long)))
    assert cost - math.log(classes) == pytest.approx(size**2 / 2, abs=4 * size / 20 + 0.01)


def test_a_head_far_too_large(examine):
    net = large(30.0)
    readings = examine(net).readings
    start = readings.loss
    with pytest.raises(Untested, match="constant"):
        initial_output(readings)
    made = constant(2.30, 4.0, start=start)
    finding = initial_output(begun(readings, start=start, constant=made))
    assert (finding.code, finding.severity, finding.layers) == ("SD304", "problem", ("2",))
    assert finding.measured["zero_output_loss"] == pytest.approx(math.log(10))
    first, second = finding.remedies
    assert (first.name, second.name) == ("scale_last_layer", "scale_output")
    assert first.arguments["factor"] == second.arguments["std"]
    size = 1 / first.arguments["factor"]
    assert size == pytest.approx(math.sqrt(2 * (start - math.log(10))))
    assert f"about {size:.2g} in size" in finding.message


def test_of_a_regression_it_is_the_outputs_own_square(examine):
    data = torch.randn(256, 64), torch.randn(256, 1)
    readings = examine(large(20.0, 1), data=data, loss=functional.mse_loss).readings
    made = constant(1.0, 5.0, start=readings.loss)
    finding = initial_output(begun(readings, start=readings.loss, constant=made))
    output = readings.loss_call.output
    size = math.hypot(output.mean, output.std)
    assert 1 / finding.remedies[0].arguments["factor"] == pytest.approx(size, rel=0.1)


def test_a_table_that_is_the_last_layer_too(examine):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(50, 64)  # entries from N(0, 1)

        def forward(self, words):
            return functional.linear(self.table(words).mean(1), self.table.weight)

    data = torch.randint(0, 50, (256, 2)), torch.randint(0, 50, (256,))
    readings = examine(Tied(), data=data).readings
    made = constant(math.log(50), 8.0, start=readings.loss)
    finding = initial_output(begun(readings, start=readings.loss, constant=made))
    assert [r.name for r in finding.remedies] == ["scale_embeddings", "scale_output"]


def test_refuted_where_the_run_got_over_it_or_diverged(examine):
    readings = examine(large(30.0)).readings
    for now, said in ((0.3, "the run ended at 0.3"), (900.0, "training made it no better")):
        tests = {"constant": constant(2.30, now, start=100.0), "redrawn": fork(now, 0.9 * now)}
        tests["redrawn_unseen"] = fork(now, 0.9 * now) | {"samples": 100.0}
        assert initial_output(begun(readings, start=100.0, **tests)).endswith(said)


def test_other_weights_would_have_learnt_far_more(examine):
    """The run got below the constant, and would be at a tenth of that from usual weights."""
    readings = examine(large(30.0)).readings
    tests = {"constant": constant(2.30, 1.4, start=100.0), "redrawn": fork(1.4, 0.1)}
    finding = initial_output(begun(readings, start=100.0, **tests))
    assert finding.code == "SD304"
    assert "the loss ends at 0.1 instead of 1.4" in finding.message


def unseen(as_is, changed, *, error=0.1):
    """The fork of that kind, on samples held out."""
    return fork(as_is, changed, error=error) | {"samples": 190.0}


@pytest.mark.parametrize(
    ("fork_of", "found"),
    [
        (unseen(4.2, 1.9), True),
        (unseen(4.2, 2.5), False),  # from usual weights it learns its samples by heart as well
        (unseen(2.7, 1.9), False),  # hardly worse than a constant
        (unseen(1.2, 0.3), False),  # it learns something of others too
        (unseen(4.2, 1.9, error=0.8), False),
    ],
)
def test_learnt_by_heart_alone(examine, fork_of, found):
    """On its own samples the run is far below the constant, on others far above it."""
    readings = examine(large(30.0)).readings
    seen = {"constant": constant(2.30, 0.4, start=100.0), "redrawn": fork(0.5, 1.9)}
    with pytest.raises(Untested, match="redrawn_unseen"):
        initial_output(begun(readings, start=100.0, **seen))
    answer = initial_output(begun(readings, start=100.0, **seen, redrawn_unseen=fork_of))
    assert isinstance(answer, str) != found
    expected = "190 samples that were held out the loss ends at 4.2" if found else "ended at 0.4"
    assert expected in (answer.message if found else answer)


def test_what_a_bias_would_save_is_another_fault(examine):
    y = (torch.arange(256) < 3).long()
    readings = examine(mlp(64, 32, 2), data=(torch.randn(256, 64), y)).readings
    made = constant(0.06, 0.5, start=1.0)
    assert initial_output(begun(readings, start=1.0, constant=made)).endswith("the missing bias")


def test_silent_on_usual_weights(examine):
    assert initial_output(examine(mlp(64, 32, 10)).readings) is None
    assert initial_output(begun(examine(mlp(64, 32, 10)).readings, start=2.4)) is None


def test_not_applicable(examine, batch):
    contrast = examine(nn.Sequential(mlp(64, 8, 10), nn.LogSoftmax(1)), loss=functional.nll_loss)
    with pytest.raises(NotApplicable, match="zero output"):
        initial_output(contrast.readings)
