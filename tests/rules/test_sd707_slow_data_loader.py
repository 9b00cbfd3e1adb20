"""SD707: a training that waits for its data; waits are drawn at random, and slept in a loader."""

import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from sounding.result import NotApplicable
from sounding.rules.loading import waits_for_data
from sounding.watch.observer import Observer


def waits(share, step=0.05, steps=200, seed=0):
    """Steps of about `step` seconds, of which about `share` are waited."""
    random = np.random.default_rng(seed)
    waited = share * step * random.exponential(1.0, steps)
    return {"waited": waited, "seconds": waited + (1 - share) * step, "loss": np.ones(steps)}


def test_the_share_and_what_could_be_won(ran):
    found = waits_for_data(ran(**waits(0.8)))
    assert (found.code, found.severity) == ("SD707", "caution")
    assert found.measured["share"] == pytest.approx(0.8, abs=0.04)
    assert found.measured["seconds"] == pytest.approx(0.04, rel=0.2)
    assert "num_workers=4" in found.message


def test_chance(ran):
    """Just below one half the interval is above it once in forty runs at most."""
    hits = sum(waits_for_data(ran(**waits(0.49, seed=seed))) is not None for seed in range(60))
    assert hits <= 4


@pytest.mark.parametrize(("share", "step"), [(0.2, 0.05), (0.8, 1e-3)])
def test_silent(ran, share, step):
    said = waits_for_data(ran(**waits(share, step)))
    assert said is None or "ms a step" in said


def test_not_applicable(ran):
    with pytest.raises(NotApplicable, match="no data loader"):
        waits_for_data(ran(loss=np.ones(200)))
    with pytest.raises(NotApplicable, match="too few"):
        waits_for_data(ran(**waits(0.8, steps=30)))


class Slow(Dataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, at):
        time.sleep(2e-3)
        return torch.full((4,), float(at)), at % 2


def test_only_waiting_in_training_is_counted():
    observer = Observer()
    with observer.watching():
        net = nn.Linear(4, 2)
        optimiser = torch.optim.SGD(net.parameters(), lr=1e-3)
        for x, y in DataLoader(Slow(20), batch_size=4):
            optimiser.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimiser.step()
            with torch.no_grad():
                for _ in DataLoader(Slow(8), batch_size=8):
                    pass
            time.sleep(5e-3)
    (record,) = observer.records.values()
    course = record.course()
    assert course.workers == 0
    assert (course.waited >= 8e-3).all()  # four samples of 2 ms
    rest = course.seconds - course.waited
    assert (rest[1:] >= 16e-3 + 5e-3).all()  # the evaluation's eight, and the pause
