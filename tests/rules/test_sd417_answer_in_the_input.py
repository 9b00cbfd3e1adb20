"""SD417: the answer is among the inputs; whether an output sees it is known by construction."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.sequences import answer_in_the_input

PLACES = 8


class Mixed(nn.Module):
    """The output of place t is a weighted sum of the inputs t - back .. t + ahead."""

    def __init__(self, *, back, ahead, tokens=9, width=16):
        super().__init__()
        self.table, self.head = nn.Embedding(tokens, width), nn.Linear(width, tokens)
        place = torch.arange(PLACES)
        distance = place - place[:, None]  # of the input from the output
        self.weights = nn.Parameter(torch.rand(PLACES, PLACES) + 0.1)
        self.seen = (distance <= ahead) & (distance >= -back)

    def forward(self, ids):
        return self.head((self.weights * self.seen) @ self.table(ids)).transpose(1, 2)


def run(net, *, shift=1, tokens=9, loss=functional.cross_entropy):
    def train():
        torch.manual_seed(0)
        text = torch.randint(0, tokens, (64, PLACES + 2))
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(4):
            rows = torch.randint(0, 64, (16,))
            x, y = text[rows, :PLACES], text[rows, shift : PLACES + shift]
            optimiser.zero_grad()
            loss(net(x), y).backward()
            optimiser.step()

    return train


@pytest.mark.parametrize(("ahead", "shift"), [(1, 1), (2, 1), (7, 2)])
def test_an_output_that_sees_its_answer(watch, ahead, shift):
    finding, _ = watch(run(Mixed(back=7, ahead=ahead), shift=shift), "SD417")
    assert finding.severity == "problem"
    assert finding.measured["places_ahead"] == shift
    assert finding.measured["change"] > 0.1


@pytest.mark.parametrize(("ahead", "shift"), [(0, 1), (1, 2)])
def test_an_output_that_looks_less_far_ahead(watch, ahead, shift):
    finding, outcome = watch(run(Mixed(back=7, ahead=ahead), shift=shift), "SD417")
    assert finding is None
    assert outcome.reason == "the targets are among the inputs, but no output depends on its own"


def test_the_shift_is_missing(watch):
    """The same place, in a net that looks backwards: a copy. Of a net that sees all: a code."""
    finding, _ = watch(run(Mixed(back=7, ahead=0), shift=0), "SD417")
    assert finding.measured["places_ahead"] == 0
    assert "ids[:, 1:]" in finding.message
    assert watch(run(Mixed(back=7, ahead=7), shift=0), "SD417")[0] is None
    assert watch(run(Mixed(back=0, ahead=0), shift=0), "SD417")[0] is None  # place by place


def test_flat_scores_and_targets(watch):
    def flat(scores, targets):
        return functional.cross_entropy(scores.transpose(1, 2).reshape(-1, 9), targets.flatten())

    assert watch(run(Mixed(back=7, ahead=1), loss=flat), "SD417")[0] is not None
    assert watch(run(Mixed(back=7, ahead=0), loss=flat), "SD417")[0] is None


def test_numbers_that_go_on(watch):
    """A forecast of the next number at every place, by a layer that runs one way, or both."""

    class Forecast(nn.Module):
        def __init__(self, *, both):
            super().__init__()
            self.recurrent = nn.GRU(1, 8, batch_first=True, bidirectional=both)
            self.head = nn.Linear(8 + 8 * both, 1)

        def forward(self, x):
            return self.head(self.recurrent(x)[0])

    def train(net):
        torch.manual_seed(0)
        series = torch.randn(64, 12, 1).cumsum(1)
        optimiser = torch.optim.SGD(net.parameters(), lr=0.01)
        for _ in range(4):
            optimiser.zero_grad()
            functional.mse_loss(net(series[:, :-1]), series[:, 1:]).backward()
            optimiser.step()

    assert watch(lambda: train(Forecast(both=True)), "SD417")[0] is not None
    assert watch(lambda: train(Forecast(both=False)), "SD417")[0] is None


def test_targets_that_are_no_inputs(watch):
    def train():
        torch.manual_seed(0)
        net = Mixed(back=7, ahead=7)
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(4):
            ids = torch.randint(0, 9, (16, PLACES))
            optimiser.zero_grad()
            functional.cross_entropy(net(ids), ids.flip(1)).backward()
            optimiser.step()

    finding, outcome = watch(train, "SD417")
    assert finding is None
    assert "targets are not among the inputs" in outcome.reason


def test_not_applicable_and_untested(examine, ran):
    with pytest.raises(NotApplicable, match="no sequence"):
        answer_in_the_input(ran())
    ids = torch.randint(0, 9, (16, PLACES))
    readings = examine(Mixed(back=7, ahead=0), data=(ids, ids)).readings
    with pytest.raises(Untested, match="answers"):
        answer_in_the_input(readings)
