"""Remedies of the recipe reach the live optimiser of a script, whatever schedule it has.

The oracle is the script with the change written into its text.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sounding.remedies import Remedy, prescribe
from sounding.result import NotApplicable
from sounding.script.arm import Script
from sounding.script.trial import STRIDE

STEPS = 15
TRAIN = """
import torch
from torch import nn
from torch.optim.lr_scheduler import StepLR

torch.manual_seed(3)
model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
scheduler = SCHEDULE
x = torch.randn(64, 6)
y = torch.randint(0, 3, (64,))
for step in range(40):
    rows = torch.randperm(64)[:32]
    loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    # READY
    optimizer.step()
    scheduler.step()
    # NEXT
"""
SCHEDULED = {"RATE": "0.2", "SCHEDULE": "StepLR(optimizer, 4, 0.5)"}
BY_HAND = {  # a schedule that sets absolute rates
    "RATE": "0.2",
    "scheduler.step()": "optimizer.param_groups[0]['lr'] = 0.2 / (2 + step)",
    "SCHEDULE": "None",
}


def changed(changes: dict[str, str]) -> str:
    """The training text with these changes."""
    text = TRAIN
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


def treated(folder: Path, changes: dict[str, str], *remedies: Remedy) -> np.ndarray:
    """The losses of a trial with the seed 1."""
    path = folder / "train.py"
    path.write_text(changed(changes))
    return Script([str(path)], steps=STEPS).train(remedies, 1).loss.values


def alone(changes: dict[str, str]) -> np.ndarray:
    """The losses that the text has when it is run here, with that seed."""
    text = changed(changes).replace("manual_seed(3)", f"manual_seed({3 + STRIDE})")
    names: dict = {"losses": []}
    with torch.random.fork_rng():
        exec(text.replace("# NEXT", "losses.append(loss.item())\n    # NEXT"), names)
    return np.array(names["losses"][:STEPS])


WRITTEN = [
    (SCHEDULED, prescribe("scale_lr", factor=0.5), SCHEDULED | {"RATE": "0.1"}),
    (
        BY_HAND,
        prescribe("scale_lr", factor=0.5),
        BY_HAND | {"RATE": "0.1", "0.2 /": "0.1 /"},
    ),
    (SCHEDULED, prescribe("hold_lr"), SCHEDULED | {"SCHEDULE": "StepLR(optimizer, 99)"}),
    (
        SCHEDULED,
        prescribe("change_optimiser", to="adam", lr=0.01),
        {
            "RATE": "0.01",
            "optim.SGD": "optim.Adam",
            "SCHEDULE": "StepLR(optimizer, 4, 0.5)",
        },
    ),
    (
        SCHEDULED,
        prescribe("clip_norm", bound=0.1),
        SCHEDULED | {"# READY": "nn.utils.clip_grad_norm_(model.parameters(), 0.1)"},
    ),
    (
        SCHEDULED | {"    optimizer.zero_grad()\n": ""},
        prescribe("zero_gradients"),
        SCHEDULED,
    ),
    (
        SCHEDULED,
        prescribe("freeze", upto="0"),
        SCHEDULED | {"x = torch.randn": "model[0].requires_grad_(False)\nx = torch.randn"},
    ),
]


@pytest.mark.parametrize(("text", "remedy", "written"), WRITTEN, ids=[str(w[1]) for w in WRITTEN])
def test_a_treated_script_is_the_changed_script(
    tmp_path: Path, text: dict[str, str], remedy: Remedy, written: dict[str, str]
) -> None:
    found = treated(tmp_path, text, remedy)
    np.testing.assert_allclose(found, alone(written), rtol=1e-4)
    assert not np.allclose(found, alone(text), rtol=1e-4)


def test_new_parameters_and_a_schedule_that_counts_groups(tmp_path: Path) -> None:
    both = prescribe("insert_norm"), prescribe("scale_lr", factor=0.5)
    found = treated(tmp_path, SCHEDULED, *both)
    assert len(found) == STEPS
    assert np.isfinite(found).all()


def test_what_a_script_does_not_show_is_not_applicable(tmp_path: Path) -> None:
    with pytest.raises(NotApplicable, match="SGD has no epsilon"):
        treated(tmp_path, SCHEDULED, prescribe("set_epsilon"))
    with pytest.raises(NotApplicable, match="the loss and its targets are not seen here"):
        treated(tmp_path, SCHEDULED, prescribe("set_output_bias"))
    late = {
        "optimizer = torch.optim.SGD(model.parameters(), lr=RATE)\nscheduler = SCHEDULE\n": "",
        "    optimizer.zero_grad()\n": (
            "    if step == 0:\n"
            "        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
            "        scheduler = StepLR(optimizer, 9)\n"
        ),
    }
    with pytest.raises(NotApplicable, match="made after the model's first call"):
        treated(tmp_path, late, prescribe("scale_lr"))
