"""Loggers are told what the file of the run holds, and cannot disturb the training.

The oracle is the file, which tests of its own compare with the loop.
"""

import doctest

import numpy as np
import pytest
import torch
from loops import fit, net

import sounding
from sounding.integrations import anything, words
from sounding.watch import send, watch


class Kept:
    """A logger that remembers."""

    def __init__(self):
        self.told, self.depth, self.found, self.ends = {}, {}, [], []

    def numbers(self, step, values):
        for name, value in values.items():
            self.told.setdefault(name, {})[step] = value

    def layers(self, step, quantity, values):
        self.depth[quantity, step] = dict(values)

    def findings(self, step, found):
        self.found.append((step, [one["code"] for one in found]))

    def end(self, checkup):
        self.ends.append(checkup)


def watched(to, path=None, sick=False, steps=20, **how):
    torch.manual_seed(0)
    model = net(sick)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with watch(model, optimizer, path, to=to, every=5, tests=False, **how) as seen:
        fit(model, optimizer, steps, lambda step: seen.log(mine=step))
    return model, seen


def said(checkups):
    return [[(f.code, f.message, f.layers) for f in checkup.findings] for checkup in checkups]


def test_a_logger_is_told_what_the_file_holds(tmp_path):
    kept = Kept()
    watched(kept, tmp_path / "run.sounding")
    run = sounding.load(tmp_path / "run.sounding")
    (training,) = run.trainings
    assert list(training.examined) == [0, 5, 10, 15]
    for row, step in enumerate(training.examined):
        for quantity, names in (("signal", training.layers), ("gradient", training.layers)):
            values = kept.depth[quantity, step]
            assert tuple(values) == names
            stored = getattr(training, quantity)[row]
            np.testing.assert_allclose(list(values.values()), stored, rtol=1e-3)
        values = kept.depth["ratio", step]
        assert tuple(values) == training.parameters
        np.testing.assert_allclose(list(values.values()), training.ratio[row], rtol=1e-3)
    assert kept.told["mine"] == {step + 1: step for step in range(20)}  # steps so far
    assert said(kept.ends) == said([run.checkup])


def test_many_steps_are_told_as_one_mean_at_the_last_of_them(tmp_path):
    kept = Kept()
    watched(kept, tmp_path / "run.sounding", steps=300)
    (training,) = sounding.load(tmp_path / "run.sounding").trainings
    ends = list(kept.told["loss"])
    assert ends[-1] == 299
    assert len(ends) < 100
    first = 0
    for end in ends:
        mean = training.loss[first : end + 1].mean()
        assert kept.told["loss"][end] == pytest.approx(mean, rel=1e-5)
        first = end + 1


def test_the_file_tells_afterwards_what_was_told_on_the_way(tmp_path):
    live, later = Kept(), Kept()
    watched(live, tmp_path / "run.sounding", sick=True, steps=60)
    send(tmp_path / "run.sounding", later)
    assert live.found
    assert (later.found, later.told.keys()) == (live.found, live.told.keys())
    assert later.depth.keys() == live.depth.keys()
    for name, told in live.told.items():
        assert later.told[name] == pytest.approx(told, rel=1e-5)
    assert said(later.ends) == said(live.ends) != [[]]


def test_findings_are_told_when_they_change_and_at_the_end():
    kept = Kept()
    _, seen = watched(kept, sick=True, steps=60)
    assert [f.code for f in seen.findings] == ["SD401"]
    assert len(kept.found) == 1
    assert kept.found[0][1] == ["SD401"]
    assert kept.ends[0].findings[0].code == "SD401"


def test_a_logger_that_fails_is_left_alone_and_the_training_keeps_its_bits(tmp_path, capsys):
    class Broken(Kept):
        def numbers(self, step, values):
            self.told[step] = True
            raise OSError("the network is down")

    broken, kept = Broken(), Kept()
    model, seen = watched([broken, kept], tmp_path / "run.sounding", steps=300)
    plain, _ = watched((), steps=300)
    assert all(map(torch.equal, model.state_dict().values(), plain.state_dict().values()))
    assert (seen.note, len(broken.told)) == ("", 3)
    assert len(kept.ends) == 1
    said = capsys.readouterr().err
    assert said.count("Broken failed") == 1
    assert "OSError: the network is down" in said


def test_a_second_training_is_told_apart():
    torch.manual_seed(0)
    kept, one, other = Kept(), net(), net()
    first, second = (torch.optim.SGD(m.parameters(), lr=0.1) for m in (one, other))
    with watch([one, other], [first, second], None, to=kept, every=1, tests=False):
        fit(one, first, 3)
        fit(other, second, 2)
    assert kept.told["loss"][2] > 0
    assert max(kept.told["training 1/loss"]) == 1
    assert list(kept.depth["signal", 0]) == ["training 1/0", "training 1/2"]


def test_what_is_no_logger_is_refused_before_anything_happens(tmp_path):
    model = net()
    with pytest.raises(TypeError, match=r"`to` has a function, which is no logger .*Anything"):
        watch(model, (), tmp_path / "run.sounding", to=[lambda values, step: None])
    assert not list(tmp_path.iterdir())


def test_anything_turns_a_function_into_a_logger():
    told = []
    watched(anything.Anything(lambda values, step: told.append((step, values))), sick=True, steps=9)
    names = {name for _, values in told for name in values}
    assert {"sounding/loss", "sounding/lr", "sounding/signal/0", "sounding/ratio/2.bias"} <= names
    assert told[-1][1] == {"sounding/problems": 1, "sounding/cautions": 0}


@pytest.mark.parametrize("module", [anything, words])
def test_examples_in_the_docstrings_are_true(module):
    assert doctest.testmod(module).failed == 0
