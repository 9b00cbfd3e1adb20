"""A checkup from the outside: findings, outcomes, what it accepts and what it says to bad input."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sounding
from sounding.checkup import checkup
from sounding.exam import judged
from sounding.objective import Objective
from sounding.rules import RULES


def deep(depth=30, width=64, gain=None):
    torch.manual_seed(0)
    layers = []
    for _ in range(depth - 1):
        layer = nn.Linear(width, width)
        if gain is not None:
            nn.init.normal_(layer.weight, std=gain / math.sqrt(width))
            nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return torch.randn(64, 64), torch.randint(0, 10, (64,))


def test_a_sick_net_and_the_same_net_in_health(batch):
    sick = checkup(deep(), F.cross_entropy, batch)
    assert sick.findings[0].code == "SD303"
    assert {f.because for f in sick.findings[1:]} == {"SD303"}
    assert sick.problems
    healthy = checkup(deep(gain=math.sqrt(2)), F.cross_entropy, batch)
    assert healthy.findings == ()
    assert {o.code for o in healthy.outcomes} == {rule.code for rule in RULES}


def test_what_is_read_beside_the_net(batch):
    net = deep(4)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    exam = checkup(net, nn.CrossEntropyLoss(), batch, optimizer=optimizer, subject="mine")
    readings = exam.readings
    assert (readings.model, readings.batch, readings.loss_name) == (
        "Sequential",
        64,
        "cross_entropy",
    )
    assert (readings.optimiser.name, readings.optimiser.lr, readings.optimiser.adaptive) == (
        "AdamW", 0.01, True,
    )  # fmt: skip
    assert exam.subject == "mine"
    assert 0 < exam.seconds < 10
    assert readings.notes == ()


@pytest.mark.parametrize(
    ("make", "adaptive"),
    [
        (torch.optim.SGD, False),
        (torch.optim.NAdam, True),
        (torch.optim.RMSprop, True),
        (torch.optim.Adadelta, True),
        (torch.optim.LBFGS, False),
    ],
)
def test_which_optimisers_scale_by_the_gradient(batch, make, adaptive):
    net = deep(3)
    exam = checkup(net, F.cross_entropy, batch, optimizer=make(net.parameters(), lr=0.1))
    assert exam.readings.optimiser.adaptive is adaptive


def test_what_was_not_seen_is_said(batch):
    net = nn.ModuleDict({"used": deep(3), "idle": nn.Linear(3, 3)})
    exam = checkup(net, Objective(lambda m, b: F.cross_entropy(m["used"](b[0]), b[1])), batch)
    assert exam.readings.notes == ("1 module with parameters never ran: idle",)
    assert exam.readings.calls[1].name == "used.0"


def test_rules_can_be_left_out_but_not_misspelt(batch):
    exam = checkup(deep(), F.cross_entropy, batch, ignore=("SD303",))
    assert [o.outcome for o in exam.outcomes if o.code == "SD303"] == ["ignored"]
    assert all(f.code != "SD303" for f in exam.findings)
    with pytest.raises(ValueError, match=r"no rule is called SD999; there are SD101"):
        checkup(deep(3), F.cross_entropy, batch, ignore=("SD999",))


def test_readings_can_be_judged_again(batch):
    exam = checkup(deep(), F.cross_entropy, batch)
    again = judged(exam.readings, subject="again")
    assert [f.message for f in again.findings] == [f.message for f in exam.findings]


def test_the_public_name_is_the_function():
    assert sounding.checkup is checkup


BAD = {
    "no module": (lambda b: (3, F.cross_entropy, b), TypeError, "must be a torch.nn.Module"),
    "no parameters": (lambda b: (nn.ReLU(), F.cross_entropy, b), ValueError, "nothing to train"),
    "frozen": (
        lambda b: (deep(2).requires_grad_(False), F.cross_entropy, b),
        ValueError,
        "frozen; unfreeze",
    ),
    "no loss": (lambda b: (deep(2), "mse", b), TypeError, "loss is a str"),
    "a loss a sample": (
        lambda b: (deep(2), nn.CrossEntropyLoss(reduction="none"), b),
        ValueError,
        "one number is needed",
    ),
    "a batch that is no pair": (
        lambda b: (deep(2), F.cross_entropy, b[0]),
        ValueError,
        r"pair \(input, target\)",
    ),
    "another width": (
        lambda b: (deep(2), F.cross_entropy, (b[0][:, :5], b[1])),
        ValueError,
        "cannot take the batch",
    ),
    "labels out of range": (
        lambda b: (deep(2), F.cross_entropy, (b[0], b[1] + 10)),
        ValueError,
        "out of range",
    ),
    "NaN in the data": (
        lambda b: (deep(2), F.cross_entropy, (b[0] * math.nan, b[1])),
        ValueError,
        "holds NaN",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case, batch):
    make, kind, words = BAD[case]
    with pytest.raises(kind, match=words) as caught:
        checkup(*make(batch))
    assert "\n" not in str(caught.value)


def test_a_batch_of_one_and_a_model_of_one_layer():
    net = nn.Linear(4, 3)
    exam = checkup(net, F.cross_entropy, (torch.randn(1, 4), torch.tensor([2])))
    assert exam.findings == ()
    assert exam.readings.batch == 1


def test_a_net_that_overflows_names_the_call():
    net = deep(20, gain=1e3)
    exam = checkup(net, F.cross_entropy, (torch.randn(32, 64), torch.randint(0, 10, (32,))))
    assert exam.findings[0].code == "SD101"
    assert exam.findings[0].layers[0] in dict(net.named_modules())


def test_a_module_that_is_made_in_the_forward_pass():
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(8, 8)

        def forward(self, x):
            if not hasattr(self, "head"):
                self.head = nn.Linear(8, 3)
            return self.head(torch.relu(self.first(x)))

    batch = torch.randn(16, 8), torch.randint(0, 3, (16,))
    exam = checkup(Late(), nn.functional.cross_entropy, batch)
    assert [c.operation for c in exam.readings.calls if c.role == "weight"] == ["linear"] * 2
    assert not [note for note in exam.readings.notes if "head" in note and "never" in note]
