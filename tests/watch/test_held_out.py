"""What a script evaluates, and how long it waits for its data, stands in the file of its run.

The oracle is the script's own bookkeeping. No other test sees an evaluation that is told of the
wrong training, or a file of an older version that no longer reads.
"""

import dataclasses
import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import sounding
from sounding.result import Series
from sounding.view.page import page
from sounding.watch import Watched, watch
from sounding.watch.file import Writer
from sounding.watch.held_out import MOST, HeldOutLosses
from sounding.watch.thin import thinned

X, Y = torch.randn(120, 8, generator=torch.Generator().manual_seed(0)), torch.arange(120) % 4


def step(model, optimizer, loss=F.cross_entropy):
    optimizer.zero_grad()
    loss(model(X[:64]), Y[:64]).backward()
    optimizer.step()


@torch.no_grad()
def score(model, part):
    return float(F.cross_entropy(model(X[part]), Y[part]))


def whole(model, parts):
    """All parts in one block."""
    with torch.no_grad():
        return np.mean([float(F.cross_entropy(model(X[p]), Y[p])) for p in parts])


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


def recorded(tmp_path, model, optimizer, loop):
    path = tmp_path / "run.sounding"
    with watch(model, optimizer, path, tests=False) as seen:
        loop()
    assert seen.note == ""
    return sounding.load(path).trainings


def test_two_sets_as_the_script_scores_them(tmp_path):
    model, own = nn.Linear(8, 4), []
    optimizer = sgd(model)
    valid, test = [slice(64, 80), slice(80, 90)], [slice(90, 120)]

    def loop():
        for _ in range(4):
            for _ in range(3):
                step(model, optimizer)
            own.append([whole(model, valid), whole(model, test)])

    (training,) = recorded(tmp_path, model, optimizer, loop)
    first, second = training.held_out
    assert (first.quantity, second.quantity) == ("cross_entropy 1", "cross_entropy 2")
    np.testing.assert_array_equal([first.steps, second.steps], [[3, 6, 9, 12]] * 2)
    np.testing.assert_allclose(np.transpose([first.values, second.values]), own, rtol=1e-5)
    assert np.isnan(training.waited).all()  # no loader of torch was asked


def test_a_block_for_each_batch_is_one_set(tmp_path):
    model, own = nn.Linear(8, 4), []
    optimizer, parts = sgd(model), [slice(60 + 10 * i, 70 + 10 * i) for i in range(6)]

    def loop():
        for _ in range(3):
            step(model, optimizer)
            own.append(np.mean([score(model, part) for part in parts]))

    (training,) = recorded(tmp_path, model, optimizer, loop)
    (series,) = training.held_out
    np.testing.assert_array_equal(series.steps, [1, 2, 3])
    np.testing.assert_allclose(series.values, own, rtol=1e-5)


def test_an_evaluation_belongs_to_the_trainings_that_moved_before_it(tmp_path):
    """Two folds one after the other, then both in turns: steps are counted by each for itself."""
    models = [nn.Linear(8, 4), nn.Linear(8, 4)]
    first, second = (sgd(model) for model in models)
    own = []

    def loop():
        for model, optimizer, count in ((models[0], first, 2), (models[1], second, 3)):
            for _ in range(count):
                step(model, optimizer)
                own.append(score(model, slice(64, 120)))
        for model, optimizer in ((models[0], first), (models[1], second)):
            step(model, optimizer)
        own.append(score(models[0], slice(64, 120)))

    one, other = recorded(tmp_path, models, [first, second], loop)
    assert (list(one.held_out[0].steps), list(other.held_out[0].steps)) == ([1, 2, 3], [1, 2, 3, 4])
    np.testing.assert_allclose(one.held_out[0].values, [*own[:2], own[-1]], rtol=1e-5)
    np.testing.assert_allclose(other.held_out[0].values, own[2:], rtol=1e-5)


class Slow(Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, at):
        time.sleep(2e-3)
        return X[at], at % 4


def test_what_was_waited_for(tmp_path):
    model = nn.Linear(8, 4)
    optimizer = sgd(model)

    def loop():
        for x, y in DataLoader(Slow(), batch_size=4):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()

    (training,) = recorded(tmp_path, model, optimizer, loop)
    assert (training.waited >= 8e-3).all()  # four samples of 2 ms
    assert (training.waited <= training.seconds * (1 + 1e-5))[1:].all()


def test_many_evaluations_are_bounded_and_none_is_lost_on_the_way():
    held, told = HeldOutLosses(), []
    held.heard = lambda place, function, steps, losses: told.extend(zip(steps, losses, strict=True))
    for at in range(3 * MOST):
        held.loss("mse_loss", torch.tensor(float(at)), at, at)
        held.stepped()
    (series,) = held.result(put_back=False)
    assert MOST / 2 <= len(series.steps) <= MOST
    np.testing.assert_array_equal(series.steps, series.loss)
    assert told == [(at, float(at)) for at in range(3 * MOST)]


# -- the file --------------------------------------------------------------------------------------


def evaluations(at, count, place=0):
    steps = np.arange(at, at + count)
    return {
        "kind": "held_out", "training": 0, "set": place, "function": "mse_loss", "step": steps,
        "loss": steps / 8,
    }  # fmt: skip


def row(at):
    return {"kind": "steps", "training": 0, "at": at, "loss": [1.0], "seconds": 0.5}


HEAD = [{"kind": "run", "version": 1}, {"kind": "training", "training": 0, "model": "Net"}]


def test_a_file_of_an_older_version_reads(tmp_path):
    writer = Writer(tmp_path / "old")
    for entry in (*HEAD, row(0), row(1) | {"waited": 0.25}):
        writer.add(entry)
    (training,) = sounding.load(tmp_path / "old").trainings
    np.testing.assert_array_equal(training.waited, [np.nan, 0.25])
    assert training.held_out == ()
    saved = Watched.to_dict(sounding.load(tmp_path / "old"))
    for name in ("waited", "held_out", "beside"):
        del saved["trainings"][0][name]
    found = Watched.from_dict(saved)
    assert found.trainings[0].waited.size == 0
    assert page(found).count("<canvas") > 3


def test_old_evaluations_are_thinned_evenly_and_each_set_for_itself():
    given = [evaluations(10 * i, 10, place) for i in range(8) for place in (0, 1)]
    found = list(thinned(lambda: [*HEAD, *given]))
    for place in (0, 1):
        steps = np.concatenate([e["step"] for e in found if e.get("set") == place])
        np.testing.assert_array_equal(steps, [*range(0, 60, 2), *range(60, 80)])


def test_waiting_is_thinned_as_a_mean_over_the_steps(tmp_path):
    rows = [row(at) | {"waited": 0.1 * (at % 2)} for at in range(16)]
    (first, *_) = [e for e in thinned(lambda: [*HEAD, *rows]) if e["kind"] == "steps"]
    np.testing.assert_allclose(first["waited"], 0.05)


@pytest.mark.parametrize(
    "broken",
    [
        {"set": "x"}, {"step": [1, 2]}, {"loss": [[1.0]]}, {"step": [None]}, {"loss": "nan"},
        {"step": [2.0**60]}, {"function": None, "step": 5},
    ],
)  # fmt: skip
def test_a_damaged_evaluation_is_counted_and_left_out(tmp_path, broken):
    writer = Writer(tmp_path / "run")
    for entry in (*HEAD, evaluations(3, 1), evaluations(4, 1) | broken):
        writer.add(entry)
    found = sounding.load(tmp_path / "run")
    assert found.damaged == 1
    assert found.trainings[0].held_out[0].steps.tolist() == [3]


def test_a_result_saves_and_loads_with_its_evaluations(tmp_path):
    writer = Writer(tmp_path / "run")
    for entry in (*HEAD, row(0), evaluations(1, 4)):
        writer.add(entry)
    found = sounding.load(tmp_path / "run")
    one = Series(quantity="process 1", unit="", steps=np.arange(2), values=np.ones(2))
    training = dataclasses.replace(found.trainings[0], beside=(one,))
    training.save(tmp_path / "saved.json")
    back = sounding.load(tmp_path / "saved.json")
    assert back.to_dict() == training.to_dict()
    assert back.beside[0].values.tolist() == [1, 1]
