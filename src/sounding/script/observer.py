"""Examine a training from inside its process, for as little time as it is allowed to take."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from sounding.capture.passes import finish
from sounding.capture.recorder import FAILURES, Recorder
from sounding.capture.training import Listener, Training
from sounding.checkup import Checkup, judged
from sounding.measure.examination import readings
from sounding.measure.readings import Readings
from sounding.result import Series
from sounding.rules import RULES, Rule

KEPT = 8  # readings kept besides the first one; the older of them are thinned out


class Observer(Listener):
    """Records the loss of every step, and examines the first step and then one in a while.

    A step is examined again only when all that examining has cost so far, measured as time above
    the median plain step, is under `budget` of the time since the start. It never raises into the
    training: its own failures are counted, and after three it takes its hooks off and says so.
    """

    def __init__(self, *, budget: float = 0.03) -> None:
        self.training = Training(self)
        self.budget = budget
        self.losses: list[torch.Tensor | float] = []  # one a step
        self.readings: list[Readings] = []
        self.failures: list[str] = []
        self.examined: list[int] = []
        self._window: list[torch.Tensor] = []  # losses since the last step
        self._recorder: Recorder | None = None
        self._spent = 0.0
        self._start = self._last = time.perf_counter()
        self._seconds: dict[int, float] = {}  # step -> what reading it took
        self._plain: list[float] = []  # durations of the last steps that were not examined

    @property
    def steps(self) -> int:
        """Optimiser steps seen so far."""
        return len(self.losses)

    @contextlib.contextmanager
    def watching(self):
        """Install everything around the script; nothing is left behind at the end."""
        with self.training:
            self.training.arm()
            yield self

    # -- events -----------------------------------------------------------------------------

    def call(self, model: nn.Module, args: Any, kwargs: Any) -> Recorder | None:
        """Watch the first training call of this step; the later ones are not mixed in."""
        if self._recorder is not None or len(self.failures) >= FAILURES:
            return None
        return self._try(self._start_recording, model)

    def _start_recording(self, model: nn.Module) -> Recorder | None:
        root = unwrapped(self.training.root(model))
        if not self._optimised(root):
            return None
        if not self.losses:  # what came before the first forward pass was no step
            self._start = self._last = time.perf_counter()
        self._recorder = Recorder(root)
        return self._recorder

    def loss(self, value: torch.Tensor) -> None:
        """Keep the number; no waiting for a device here."""
        self._window.append(value.clone())

    def before_step(self, optimizer: Optimizer) -> None:
        """The gradients of this step are complete: read them, if the step is examined."""
        self._try(self._read, optimizer)

    def after_step(self, optimizer: Optimizer) -> None:
        """Close the step, and decide whether the next one is examined."""
        self._try(self._read, optimizer)  # a closure's forward and backward ran inside the step
        self._try(self._close)

    # -- what they do -----------------------------------------------------------------------

    def _read(self, optimizer: Optimizer) -> None:
        recorder = self._recorder
        if recorder is None or not recorder.nodes or not self._window:
            return
        if all(p.grad is None for p in recorder.model.parameters()):
            return
        start = time.perf_counter()
        self._recorder = None
        self.training.disarm()
        recording = finish(recorder, recorder.model, float(self._window[-1]))
        taken = readings(recorder.model, recording, step=self.steps, optimizer=optimizer)
        self._keep(taken, time.perf_counter() - start)

    def _close(self) -> None:
        if self._window:
            self.losses.append(torch.stack([w.reshape(()).float() for w in self._window]).mean())
            self._window = []
        now = time.perf_counter()
        examined = bool(self.examined) and self.examined[-1] == self.steps - 1
        if examined:
            plain = float(np.median(self._plain)) if self._plain else 0.0
            self._spent += max(now - self._last - plain, 0.0)
        else:
            self._plain = [*self._plain[-31:], now - self._last]
        self._last = now
        quiet = self._recorder is None and len(self.failures) < FAILURES
        if quiet and self._spent < self.budget * (now - self._start):
            self.training.arm()

    def _keep(self, taken: Readings, seconds: float) -> None:
        self.examined.append(self.steps)
        self.readings.append(taken)
        self._seconds[taken.step] = seconds
        if len(self.readings) > KEPT + 1:  # the first stays, the rest is thinned evenly
            self.readings = [self.readings[0], *self.readings[2::2]]

    def _optimised(self, model: nn.Module) -> bool:
        """Whether some optimiser holds a parameter of this model; without any, assume so."""
        held = {
            id(p) for o in self.training.optimizers for g in o.param_groups for p in g["params"]
        }
        return not held or any(id(p) in held for p in model.parameters())

    def _try(self, function: Any, *args: Any) -> Any:
        if len(self.failures) >= FAILURES:
            return None
        try:
            return function(*args)
        except Exception as error:  # an observer never kills a training
            self.failures.append(f"{type(error).__name__}: {error}")
            self._recorder = None
            self.training.disarm()
            return None

    # -- afterwards -------------------------------------------------------------------------

    def history(self) -> Series | None:
        """The training loss of every step so far."""
        if not self.losses:
            return None
        values = np.array([float(value) for value in self.losses])
        return Series(
            quantity="training loss", unit="", steps=np.arange(len(values)), values=values
        )

    def checkup(self, subject: str, *, rules: tuple[Rule, ...] = RULES) -> Checkup | None:
        """The first examination with a problem, else with a finding, else the last."""
        history = self.history()
        exams = [self._judged(taken, history, subject, rules) for taken in self.readings]
        if not exams:
            return None
        return next(
            (e for e in exams if e.problems), next((e for e in exams if e.findings), exams[-1])
        )

    def _judged(
        self, taken: Readings, history: Series | None, subject: str, rules: tuple[Rule, ...]
    ) -> Checkup:
        exam = judged(dataclasses.replace(taken, history=history), rules=rules, subject=subject)
        return dataclasses.replace(exam, seconds=exam.seconds + self._seconds[taken.step])

    def overhead(self) -> float:
        """Fraction of the time since the start that examining took."""
        return self._spent / max(self._last - self._start, 1e-9)


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's own model inside the wrappers of torch.compile and of data parallelism."""
    inner = getattr(model, "_orig_mod", None)
    if inner is None and type(model).__name__ in ("DataParallel", "DistributedDataParallel"):
        inner = getattr(model, "module", None)
    return unwrapped(inner) if isinstance(inner, nn.Module) else model
