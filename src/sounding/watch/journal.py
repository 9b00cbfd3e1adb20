"""Write into the file of a run what an observer sees of it."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import math
import os
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from sounding.capture.layers import Layers
from sounding.capture.recorder import Recorder
from sounding.capture.sample import dense
from sounding.exam import Checkup
from sounding.measure.examination import read_optimiser
from sounding.watch.file import VERSION
from sounding.watch.glance import Glance, glance
from sounding.watch.motion import Motion
from sounding.watch.record import Record
from sounding.watch.rows import Block
from sounding.watch.sending import Entries
from sounding.watch.thin import COLUMNS, shortest


class Journal:
    """One entry for the run, one for each training in it, then what happens to them."""

    def __init__(self, writer: Entries, *, subject: str, budget: float | None, every: int | None):
        self.writer = writer
        self._numbers: dict[int, int] = {}  # of the trainings, by their records
        self._layers: dict[tuple[int, tuple[Any, ...]], int] = {}
        self._motions: dict[tuple[int, int], Motion] = {}  # by model and optimiser
        self._looked: tuple[Glance, Motion | None, float] | None = None
        self._ended = False
        writer.add(
            {
                "kind": "run",
                "version": VERSION,
                "subject": subject,
                "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "pid": os.getpid(),
                "rank": environment("RANK", 0),
                "ranks": environment("WORLD_SIZE", 1),
                "budget": budget,
                "every": every,
                "versions": {
                    "sounding": importlib.metadata.version("sounding"),
                    "torch": str(torch.__version__),
                },
            }
        )

    def begin(self, record: Record, optimizer: Optimizer) -> None:
        """The first step of a training."""
        number = self._numbers[id(record)] = len(self._numbers)
        read = read_optimiser(optimizer)
        self.writer.add(
            {
                "kind": "training",
                "training": number,
                "model": type(record.model).__name__,
                "optimiser": read.name,
                "eps": read.eps,
                "parameters": sum(p.numel() for p in record.model.parameters()),
                "parallel": record.parallel,
                "weights": _mark(record) if record.parallel else "",
            }
        )
        record.rows.heard = functools.partial(self._steps, number, record)
        record.held_out.heard = functools.partial(self._held_out, number)

    def _steps(self, number: int, record: Record, at: int, block: Block) -> None:
        entry: dict[str, Any] = {"kind": "steps", "training": number, "at": at}
        for name in COLUMNS:
            if name != "waited" or record.workers >= 0:  # without a loader nothing was measured
                entry[name] = shortest(block[name])
        entry["loss"] = block["loss"]
        self.writer.add({k: v for k, v in entry.items() if v is not None})

    def _held_out(
        self, number: int, place: int, function: str, steps: list[int], losses: list[float]
    ) -> None:
        self.writer.add(
            {
                "kind": "held_out",
                "training": number,
                "set": place,
                "function": function,
                "step": np.array(steps),
                "loss": np.array(losses),
            }
        )

    def look(self, seen: Recorder | Layers, optimizer: Optimizer, *, before: bool) -> None:
        """Gradients are ready; `before` says whether the parameters have not been moved yet."""
        motion = self._motion(seen.model, optimizer) if before else None
        if motion is not None:
            motion.before()
        lr = float(optimizer.param_groups[0].get("lr", math.nan))
        self._looked = glance(seen), motion, lr

    def _motion(self, model: nn.Module, optimizer: Optimizer) -> Motion:
        known = self._motions.get((id(model), id(optimizer)))
        if known is None or not known.fits:
            known = self._motions[id(model), id(optimizer)] = Motion(model, optimizer)
        return known

    def stepped(self, record: Record, step: int) -> None:
        """The step that was looked at is made."""
        if self._looked is None or id(record) not in self._numbers:
            return
        seen, motion, lr = self._looked
        self._looked = None
        number = self._numbers[id(record)]
        parameters = () if motion is None else motion.names
        entry = {
            "kind": "depth",
            "training": number,
            "step": step,
            "layers": self._named(number, seen.layers, parameters),
            "lr": lr,
            "signal": seen.signal,
            "signal_error": seen.signal_error,
            "gradient": seen.gradient,
            "gradient_error": seen.gradient_error,
        }
        self.writer.add(entry | ({} if motion is None else motion.after()))

    def _named(self, training: int, layers: tuple[str, ...], parameters: tuple[str, ...]) -> int:
        """The number of a list of names, which is written once."""
        key = training, (layers, parameters)
        if key not in self._layers:
            self._layers[key] = len(self._layers)
            self.writer.add(
                {
                    "kind": "layers",
                    "training": training,
                    "number": self._layers[key],
                    "layers": list(layers),
                    "parameters": list(parameters),
                }
            )
        return self._layers[key]

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Numbers that the training's author handed over."""
        for name, value in values.items():
            self.writer.add({"kind": "metric", "name": name, "step": step, "value": value})

    def judged(self, step: int, checkup: Checkup | None) -> None:
        """What the rules say after `step` steps; it takes the place of what they said before."""
        found = () if checkup is None else checkup.findings
        self.writer.add(
            {
                "kind": "findings",
                "step": step,
                "found": [
                    {
                        "code": f.code,
                        "name": f.name,
                        "severity": f.severity,
                        "message": f.message,
                        "layers": list(f.layers[:64]),
                    }
                    for f in found
                ],
            }
        )

    def ended(self, reason: str, examined: int, overhead: float) -> None:
        """Say how the training ended, and what watching it cost. Only the first reason counts."""
        if not self._ended:
            self._ended = True
            self.writer.add(
                {"kind": "end", "reason": reason, "examined": examined, "overhead": overhead}
            )

    def end(self, checkup: Checkup | None) -> None:
        """The last entry: the whole checkup."""
        if checkup is not None:
            self.writer.add({"kind": "checkup", "checkup": checkup.to_dict()})
        self.writer.close()


def environment(name: str, usual: int) -> int:
    """A number that a launcher of several processes has set."""
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else usual


def _mark(record: Record) -> str:
    """A sum over all weights, by which equal ones are known."""
    parts = [dense(p.detach()) for p in record.model.parameters()]
    return repr(sum(float(p.double().abs().sum()) for p in parts))
