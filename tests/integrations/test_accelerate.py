"""The tracker in accelerate's own loop, and its trackers as loggers of ours."""

import subprocess
import sys

import pytest
import torch
from loops import loader, net
from torch.nn.functional import cross_entropy

import sounding

pytestmark = pytest.mark.hosts


def train(log_with, after=None, steps=8, watch=None):
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState

    AcceleratorState._reset_state()
    PartialState._reset_state()
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2, log_with=log_with or None)
    model, step = net(), 0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model, optimizer, batches = accelerator.prepare(model, optimizer, loader())
    accelerator.init_trackers("test")
    while step < steps:
        for x, y in batches:
            with accelerator.accumulate(model):
                loss = cross_entropy(model(x), y)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(model.parameters(), 0.1)
                optimizer.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                accelerator.log({"mine": step, "note": "text"}, step=step)
                step += 1
    accelerator.end_training()
    return accelerator.unwrap_model(model)


def test_a_loop_is_watched_between_its_trackers_and_keeps_its_bits(tmp_path):
    from sounding.integrations.accelerate import SoundingTracker

    path = tmp_path / "run.sounding"
    tracker = SoundingTracker(path, every=3, tests=False, quiet=True)
    plain, seen = train([]), train([tracker])
    assert all(map(torch.equal, plain.state_dict().values(), seen.state_dict().values()))
    run = sounding.load(path)
    (training,) = run.trainings
    assert (run.end, len(training.loss)) == ("finished", 8)
    assert training.layers == ("0", "2")
    assert list(training.examined) == [0, 3, 6]
    assert training.clipped_from.shape == (8,)
    (mine,) = run.metrics
    assert (mine.quantity, list(mine.values)) == ("mine", list(range(8)))
    assert tracker.checkup.problems == ()


def test_its_trackers_can_be_told(tmp_path):
    from accelerate.tracking import GeneralTracker

    from sounding.integrations.accelerate import SoundingTracker
    from sounding.integrations.anything import Anything

    class Kept(GeneralTracker):
        name, requires_logging_directory, told = "kept", False, []
        tracker = None

        def log(self, values, step=None, **kwargs):
            self.told.append((step, values))

    kept = Kept()
    logger = Anything(lambda values, step: kept.log(values, step=step))
    tracker = SoundingTracker(None, every=3, tests=False, quiet=True, to=logger)
    train([kept, tracker])
    names = {name for _, values in kept.told for name in values}
    assert {"mine", "sounding/loss", "sounding/signal/2", "sounding/mine"} <= names


def test_a_loop_that_fails_has_a_complete_file_when_the_process_has_ended(tmp_path):
    (tmp_path / "train.py").write_text(
        """
import torch
from accelerate import Accelerator
from sounding.integrations.accelerate import SoundingTracker

accelerator = Accelerator(cpu=True, log_with=[SoundingTracker(tests=False, quiet=True)])
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model, optimizer = accelerator.prepare(model, optimizer)
accelerator.init_trackers("test")
for step in range(9):
    if step == 5:
        raise RuntimeError("the data ended")
    accelerator.backward(model(torch.ones(3, 4)).square().mean())
    optimizer.step()
    optimizer.zero_grad()
"""
    )
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip().endswith("RuntimeError: the data ended")
    run = sounding.load(tmp_path / "run.sounding")
    assert (run.end, len(run.trainings[0].loss)) == ("RuntimeError: the data ended", 5)
    assert run.checkup is not None
