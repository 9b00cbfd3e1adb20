"""A checkup on digits, and the finding of one rule out of it."""

import pytest
import torch
from torch.nn import functional

from sounding.checkup import checkup
from sounding.data import digits


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def batch():
    """64 digits, (64, 64) and (64,)."""
    x, y = digits().train
    return x[:64], y[:64]


@pytest.fixture
def examine(batch):
    """`examine(net)`: a checkup on the batch; `optimiser` is 'sgd', 'adam' or None."""

    def take(net, *, loss=functional.cross_entropy, data=batch, optimiser="sgd", **options):
        made = None
        if optimiser is not None:
            kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimiser]
            made = kind(net.parameters(), lr=0.01)
        return checkup(net, loss, data, optimizer=made, **options)

    return take


@pytest.fixture
def find(examine):
    """`find(code, net)`: the finding of that code, None without; and the rule's outcome."""

    def take(code, net, **options):
        exam = examine(net, **options)
        found = [f for f in exam.findings if f.code == code]
        outcome = next(o for o in exam.outcomes if o.code == code)
        assert outcome.outcome != "skipped", outcome.reason
        return (found[0] if found else None), outcome

    return take
