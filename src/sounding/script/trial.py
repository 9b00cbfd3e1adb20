"""One trial of a script, inside a process of its own: seeded, treated, stopped after some steps."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from sounding.capture.keep import random_state_given_back
from sounding.capture.layers import Layers
from sounding.capture.recorder import Recorder
from sounding.capture.training import forward_again
from sounding.log import listen
from sounding.remedies import treat_training
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable, Series
from sounding.script.execute import execute
from sounding.script.sandbox import Sandbox
from sounding.train.trial import Trial, final_mean
from sounding.watch.diagnosis import diagnose
from sounding.watch.observer import Observer
from sounding.watch.whose import holds, unwrapped

STRIDE = 1_000_003  # between the seeds of trials, so that a script's own seeds do not overlap


@dataclasses.dataclass(frozen=True)
class Order:
    """What one process is to do."""

    target: tuple[str, ...]  # script.py args...
    seed: int  # 0 leaves the script's own seeds as they are
    steps: int
    remedies: tuple[Remedy, ...]
    scratch: str
    threads: int
    examine: bool = False


class Stopped(Exception):
    """The trial cannot go on; the sentence says why."""


class TrialObserver(Observer):
    """Applies remedies before the first training step, records losses and scores, stops in time."""

    def __init__(self, order: Order, done: Callable[[], None]) -> None:
        super().__init__(budget=0.0, keep=order.examine)
        self.training._scores = True
        self.order = order
        self.done = done
        self.losses: list[torch.Tensor | float] = []  # one a step, of any optimiser
        self.hits: list[torch.Tensor] = []  # accuracy of each training batch
        self.logged: dict[str, list[float]] = {}
        self.refused: str = ""
        self._treated = not order.remedies
        listen(self._log)

    def call(self, model: nn.Module, args: Any, kwargs: Any) -> Recorder | Layers | None:
        """Before the first training call: treat the model; then examine it if that was asked."""
        root = unwrapped(self.training.root(model))
        if not self._treated and self._trained(root):
            self._treated = True
            self._treat(root, model, args, kwargs)
        return super().call(model, args, kwargs) if self.order.examine else None

    def scores(self, output: torch.Tensor, target: torch.Tensor) -> None:
        """The share of labels that get the highest score."""
        self.hits.append((output.argmax(1) == target).float().mean())

    def after_step(self, optimizer: Optimizer) -> None:
        """Stop after the last step, or as soon as the loss is no number."""
        seen = self.steps
        super().after_step(optimizer)
        if self.steps > seen:
            self.losses.append(self.latest)
        if not self._treated:
            self._refuse("the optimiser was made after the model's first call")
        if self.steps and (self.steps >= self.order.steps or self.steps % 20 == 0):
            broken = not bool(torch.isfinite(torch.as_tensor(self.losses[-1])))
            if broken or self.steps >= self.order.steps:
                self.done()

    def trial(self, seconds: float) -> Trial:
        """What has been recorded so far."""
        if not self.losses:
            raise Stopped("no optimiser step was seen, so there is nothing to compare")
        values = np.array([float(value) for value in self.losses])
        finite = np.isfinite(values)
        end = len(finite) if finite.all() else int(np.argmin(finite)) + 1
        metrics = {name: float(final_mean(np.array(v))) for name, v in self.logged.items()}
        if self.hits:
            hits = np.array([float(h) for h in self.hits])
            metrics = {"accuracy": float(final_mean(hits))} | metrics
        if not finite.all():
            metrics = dict.fromkeys(metrics, float("nan"))
        steps = np.arange(end)
        loss = Series(quantity="training loss", unit="", steps=steps, values=values[:end])
        return Trial(
            seed=self.order.seed,
            loss=loss,
            metrics=metrics,
            diverged=not finite.all(),
            seconds=seconds,
        )

    def _treat(self, root: nn.Module, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Apply the remedies; random numbers are drawn apart, so both arms see the same batches."""
        try:
            with random_state_given_back():
                torch.manual_seed(self.order.seed + 1)
                forward = forward_again(module, args, kwargs)
                treat_training(self.order.remedies, root, forward, self.training.optimizers)
        except NotApplicable as reason:
            self._refuse(str(reason))

    def _refuse(self, reason: str) -> None:
        self.refused = reason
        self.done()

    def _trained(self, root: nn.Module) -> bool:
        """Whether some optimiser holds a parameter of this model: it is about to be trained."""
        return any(holds(optimizer, root) for optimizer in self.training.optimizers)

    def _log(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.logged.setdefault(name, []).append(value)


def run_trial(order: Order) -> None:
    """Carry out `order` and leave ``result.json`` in its scratch folder; never returns.

    The process ends as soon as the result is written: no line of the script runs after its last
    step, so nothing is saved, cleaned up or printed by it.
    """
    scratch = Path(order.scratch)
    output = (scratch / "output.txt").open("w", encoding="utf-8", errors="replace")
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    sys.stdout = sys.stderr = output
    began = time.perf_counter()
    torch.set_num_threads(order.threads)
    observer: TrialObserver | None = None

    def leave(answer: dict[str, Any]) -> None:
        sandbox.busy = True
        output.flush()
        (scratch / "result.json").write_text(json.dumps(answer, allow_nan=False), "utf-8")
        os._exit(0)

    def done() -> None:
        assert observer is not None
        sandbox.busy = True
        if observer.refused:
            leave({"not_applicable": observer.refused})
        try:
            answer = {"trial": observer.trial(time.perf_counter() - began).to_dict()}
            observer.training.close()
            exam = diagnose(observer, " ".join(order.target)) if order.examine else None
            leave(answer | ({"checkup": exam.to_dict()} if exam is not None else {}))
        except Stopped as reason:
            leave({"stopped": str(reason)})

    sandbox = Sandbox(scratch, lambda sentence: leave({"stopped": sentence}))
    try:
        observer = TrialObserver(order, done)
        with observer.watching(), _shifted_seeds(order.seed * STRIDE):
            observer.training.arm()
            sandbox.install()
            execute(order.target)
    except SystemExit as error:
        if not (observer and observer.steps) and error.code not in (None, 0):
            leave({"stopped": f"the script exits with {error.code!r} before its first step"})
    except BaseException as error:
        if not (observer and observer.steps >= order.steps):
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            leave({"stopped": f"the script raises {type(error).__name__} at {where}: {error}"})
    done()


@contextlib.contextmanager
def _shifted_seeds(shift: int):
    """Global generators start from `shift`, and the seeds that the script sets are moved by it."""
    random.seed(shift)
    np.random.seed(shift % 2**32)  # noqa: NPY002 - the generator that scripts use
    torch.manual_seed(shift)
    patches = [
        (torch, "manual_seed", 2**63),
        (torch.cuda, "manual_seed", 2**63),
        (torch.cuda, "manual_seed_all", 2**63),
        (np.random, "seed", 2**32),
        (np.random, "default_rng", 2**63),
        (random, "seed", 2**63),
    ]
    with contextlib.ExitStack() as stack:
        for owner, name, limit in patches:
            original = getattr(owner, name)
            setattr(owner, name, _moved(original, shift, limit))
            stack.callback(setattr, owner, name, original)
        yield


def _moved(original: Callable, shift: int, limit: int) -> Callable:
    def seed(*args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], int):
            args = ((args[0] + shift) % limit, *args[1:])
        for name in ("seed", "a"):
            if isinstance(kwargs.get(name), int):
                kwargs[name] = (kwargs[name] + shift) % limit
        return original(*args, **kwargs)

    return seed
