"""Examine a training from inside its process, for as little time as it is allowed to take."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from sounding.capture.compiled import is_compiled
from sounding.capture.guard import FAILURES
from sounding.capture.layers import Layers
from sounding.capture.outermost import ModelCall
from sounding.capture.passes import finish
from sounding.capture.recorder import Recorder
from sounding.capture.tape import Tape
from sounding.capture.training import Listener, Training
from sounding.exam import Checkup
from sounding.measure.examination import readings
from sounding.watch.journal import Journal
from sounding.watch.record import Evaluated, Now, Record
from sounding.watch.ring import Ring
from sounding.watch.unsent import is_nan, least, no_number, total_norm
from sounding.watch.whose import holds, parallel, unwrapped

NORMS = 0.4  # of the budget, for the norms of gradients at steps that are not examined
RING = 0.7  # of it, that these and the ring of the last steps may take together
ALWAYS = 500  # steps whose gradients are measured in any case
SPARING, GENEROUS, LONG = 0.01, 0.03, 0.01  # budgets of longer and shorter steps; seconds
UNSTEPPED = 8  # calls of backward without a step, more than one step of most accumulations has
LISTENED = 256  # evaluations that are looked at
# What an unexamined step costs for each second in our code: torch's way to it, and caches left
# cold, cannot be timed there. 1.4 to 1.7 where a step takes 10 ms, beside its time without us.
WHOLE = 1.6


class Observer(Listener):
    """Records every step, keeps the first calls, examines the first step and then one in a while.

    A step is examined again only when all that examining has cost so far, measured as time above
    the median plain step, is under `budget` of the time since the start. With a journal everything
    is read whenever the steps have doubled, and between only the sizes in every layer (`Layers`).
    It never raises into the training: its own failures are counted, and after three it takes its
    hooks off and says so.
    """

    def __init__(
        self,
        *,
        budget: float | None = 0.03,
        keep: bool = True,
        every: int | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.training = Training(self)
        self.fixed = budget  # None: by the length of a step
        self.keep = keep
        self.every = every  # steps from one examination to the next, whatever it costs
        self.journal = journal
        self.judge: Callable[[], Checkup | None] | None = None  # asked when all was read anew
        self.steps = 0  # optimiser steps seen so far
        self.clipped_late = 0  # calls of clipping behind the step
        self.latest: torch.Tensor | float = math.nan  # loss
        self.records: dict[int, Record] = {}  # by optimiser, in the order of their first steps
        self.evaluated: dict[int, Evaluated] = {}  # by model
        self._movers: list[Record] = []  # that stepped since the last evaluation: it is theirs
        self._scored = False  # it has come after their last step
        self.failures: list[str] = []
        self.examined: list[int] = []
        self._now = self._shared = Now()
        self._waiting: dict[int, Record] = {}  # whose optimiser has not stepped yet
        self._recorder: Recorder | Layers | None = None
        self._layers: dict[int, Layers] = {}  # by model, of those that were examined
        self._model: nn.Module | None = None  # last called in training
        self._holders: list[Optimizer] = []  # of its parameters
        self._due = True  # the next step may be examined
        self._measuring = True  # the norm of its gradients is taken
        self._looked = False  # this one was
        self._judgeable = False  # there are new readings, on which the rules were not asked
        self._own = 0.0  # seconds in this step that ran code of ours
        self._cost = 0.0  # seconds that examining has taken, as they are reported
        self._spent = 0.0  # on steps that were examined, seconds
        self._idle = 0.0  # on the others
        self._start = self._last = time.perf_counter()
        self._plain: list[float] = []  # durations of the last steps that were not examined
        self._usual = 0.0  # their median

    @property
    def budget(self) -> float:
        """Fraction of the time that examining may take."""
        if self.fixed is not None:
            return self.fixed
        return SPARING if self._usual >= LONG else GENEROUS

    @contextlib.contextmanager
    def watching(self):
        """Install everything around the script; nothing is left behind at the end."""
        with self.training:
            self.training.arm()
            yield self

    # -- events -----------------------------------------------------------------------------

    def made(self, optimizer: Optimizer) -> None:
        """Another training begins."""
        if len(self.failures) < FAILURES:
            self.training.arm()

    def call(self, model: nn.Module, args: Any, kwargs: Any) -> Recorder | Layers | None:
        """Watch the first training call of this step; the later ones are not mixed in."""
        return self._try(self._called, model)

    def output(self, model: nn.Module, given: Any, output: Any) -> Tape | None:
        """Keep the call, with a tape for the loss that follows, while there is room."""
        return self._try(self._kept, model, given, output)

    def model_call(self, model: nn.Module, call: ModelCall) -> None:
        """One more call of the coming step."""
        for record in self.records.values():
            if record.model is model and record.ring is not None:
                record.ring.call(call)

    def evaluation(self, model: nn.Module, args: Any) -> None:
        """A call without gradients."""
        self._try(self._evaluated, model, args)

    def held_out(self, function: str, value: torch.Tensor, block: int) -> None:
        """A loss of an evaluation; no waiting for a device here either."""
        self._scored = True
        for record in self._movers:
            self._try(record.held_out.loss, function, value, block, record.count)

    def copied(self) -> None:
        """The script keeps the weights of this moment."""
        for record in self.records.values():
            record.held_out.copied(record.count)

    def loss(self, value: torch.Tensor) -> None:
        """Keep the number; no waiting for a device here."""
        if len(self.failures) >= FAILURES:
            return
        if self._measuring or self._recorder is not None:
            self._try(self._backward, value)
        try:
            self._now.losses.append(value.item() if value.is_cpu else value.detach().clone())
        except Exception as error:
            self._failed(error)

    def clipped(self, norm: torch.Tensor, bound: float) -> None:
        """The loop clips its gradients; before any backward of the step they are used up."""
        if not self._now.losses:
            self.clipped_late += 1
            return
        self._now.clipped_from = norm
        self._now.bound = bound

    def before_step(self, optimizer: Optimizer) -> None:
        """The gradients of this step are complete: read them, if the step is examined."""
        self._try(self._read, optimizer, True)

    def after_step(self, optimizer: Optimizer) -> None:
        """Close the step, and decide whether the next one is examined."""
        if self._recorder is not None:  # a closure's forward and backward ran inside the step
            self._try(self._read, optimizer, False)
        self._try(self._close, optimizer)
        self._own = 0.0

    # -- a call -----------------------------------------------------------------------------

    def _called(self, model: nn.Module) -> Recorder | Layers | None:
        root = unwrapped(self.training.root(model))
        if not self.steps:  # what came before the first forward pass was no step
            self._start = self._last = min(self._last, time.perf_counter())
        holders = [o for o in self.training.optimizers if holds(o, root)]
        if not holders and self._model is not None and self._model is not root:
            return None  # nobody trains it, and another model is
        self._model, self._holders = root, holders
        whole = not is_compiled(model)  # hooks on every call would be compiled too
        self.training.hears_evaluations &= whole
        for optimizer in holders or [None]:
            if id(optimizer) not in self.records and id(optimizer) not in self._waiting:
                spread = parallel(self.training.root(model))
                # In a sharded net every pass waits for the other processes: none is made again.
                keep = self.keep and whole and spread != "FSDP"
                record = Record(root, optimizer, keep=keep)
                record.parallel = spread
                self._waiting[id(optimizer)] = record
        if self._recorder is not None and self._recorder.model is root:
            return None
        if not self._due and not self._is_new(root):
            return None
        every = [r for r in (*self.records.values(), *self._waiting.values()) if r.model is root]
        whole = self.journal is None or any(record.due for record in every)
        layers = None if whole else self._layers.get(id(root))
        if self._recorder is not None:  # another model is called than was expected
            self.training.outermost.surround(self._recorder.model, None)
        self._recorder = Recorder(root) if layers is None else layers.restart()
        return self._recorder

    def _is_new(self, root: nn.Module) -> bool:
        """Whether some training of this model has not been examined yet."""
        every = (*self.records.values(), *self._waiting.values())
        return any(r.model is root and not r.readings for r in every)

    def _kept(self, model: nn.Module, given: Any, output: Any) -> Tape | None:
        top = self.training.root(model)
        root = unwrapped(top)
        every = (*self._waiting.values(), *self.records.values())
        record = next((r for r in every if r.model is root and r.open), None)
        if record is None or (model is not root and model is top):  # it is a wrapper
            return None
        step, tape = record.keep(model, given, output)
        self._now.kept.append(step)
        return tape

    def _evaluated(self, model: nn.Module, args: Any) -> None:
        root = unwrapped(self.training.root(model))
        seen = self.evaluated.setdefault(id(root), Evaluated())
        seen.call(model, args, self.steps)
        if seen.count >= LISTENED:
            self.training.hears_evaluations = False

    def _backward(self, value: torch.Tensor) -> None:
        if self._model is not None and self._measuring:
            turns = [r.optimizer for r in self.records.values() if r.several and r.optimizer]
            for optimizer in dict.fromkeys([*self._holders, *turns]):
                self._carry(optimizer)
        if isinstance(self._recorder, Layers):
            self._recorder.finish()

    def _carry(self, optimizer: Optimizer) -> None:
        """What gradients are there before backward; none once they were seen to be zeroed."""
        now, key = self._now, id(optimizer)
        known = now.carried.get(key)
        if known is not None and isinstance(known, float) and known == 0:
            return
        held = (p.grad for group in optimizer.param_groups for p in group["params"])
        there = total_norm([grad for grad in held if grad is not None])
        # zeroed before any backward of the step is zeroed; gradients of an input come first
        now.carried[key] = there if known is None else least(known, there)

    # -- a step -----------------------------------------------------------------------------

    def _affords(self, record: Record, share: float) -> bool:
        """Whether unexamined steps have cost less than so much of the budget; early on it may."""
        spent = self.budget * (time.perf_counter() - self._start)
        return record.count < ALWAYS or self._idle < share * spent

    def _record(self, optimizer: Optimizer) -> Record | None:
        """The record of the optimiser that steps; a stale one gets that of the unheld model."""
        key = id(optimizer)
        if key in self._waiting and (old := self._remade(optimizer)) is not None:
            del self._waiting[key]
            self.records[key] = record = self.records.pop(old)
            self._holders = [o for o in self._holders if o is not record.optimizer]
            if record.optimizer is not None:
                self.training.optimizers.discard(record.optimizer)
            record.change(optimizer)
        if key in self._waiting:
            self.records[key] = self._waiting.pop(key)
            if self.journal is not None:
                self.journal.begin(self.records[key], optimizer)
            others = [r for r in self.records.values() if r is not self.records[key]]
            for other in others:
                if other.count < 3:
                    other.several = self.records[key].several = True
        if key not in self.records and id(None) in self._waiting:
            self.records[key] = record = self._waiting.pop(id(None))
            record.optimizer = optimizer
            if self.journal is not None:
                self.journal.begin(record, optimizer)
        return self.records.get(key)

    def _remade(self, optimizer: Optimizer) -> int | None:
        """The record of an optimiser that made one step with the same parameters, and is gone."""
        own = [id(p) for group in optimizer.param_groups for p in group["params"]]
        for key, record in self.records.items():
            if record.once and record.optimizer is not None:
                groups = record.optimizer.param_groups
                if own == [id(p) for group in groups for p in group["params"]]:
                    return key
        return None

    def _read(self, optimizer: Optimizer, before: bool) -> None:
        recorder, record = self._recorder, self._record(optimizer)
        if recorder is None or not self._now.losses or record is None:
            return
        empty = isinstance(recorder, Recorder) and not recorder.nodes
        if empty or record.model is not recorder.model:
            return
        self._recorder = None
        self.training.outermost.surround(recorder.model, None)
        self._own += recorder.seconds
        if isinstance(recorder, Recorder):
            record.facts.look(recorder, recorder.model, optimizer, self._held())
            if record.due and not is_compiled(recorder.model) and not recorder.in_parts:
                self._layers[id(recorder.model)] = Layers(recorder)
        elif recorder.broken:
            self._layers.pop(id(recorder.model), None)
        self.examined.append(self.steps)
        self._looked = True
        if self.journal is not None:
            self.journal.look(recorder, optimizer, before=before)
        if isinstance(recorder, Recorder) and (self.journal is None or record.due):
            recording = finish(recorder, recorder.model, float(self._now.losses[-1]))
            taken = readings(recorder.model, recording, step=record.count, optimizer=optimizer)
            record.keep_reading(taken)
            self._judgeable = True

    def _close(self, optimizer: Optimizer) -> None:
        began = time.perf_counter()
        record = self.records.get(id(optimizer)) or self._record(optimizer)
        if record is not None:
            record.facts.stepped()
            norm: torch.Tensor | float = math.nan
            if self._measuring:
                held = [p.grad for g in optimizer.param_groups for p in g["params"]]
                norm = total_norm([g for g in held if g is not None])
            first = next((p for g in optimizer.param_groups for p in g["params"]), None)
            waited = self.training.waiting.take(first)
            record.workers = self.training.waiting.workers
            record.step(self._made_of(optimizer), norm, began - self._last, waited)
            self._moved(record)
            self._turn(record, optimizer, norm)
            self._measuring = self._affords(record, NORMS)
            if self.journal is not None and self._looked:
                self.journal.stepped(record, record.count - 1)
                if self._judgeable and self.judge is not None:
                    self._judgeable = False
                    self.journal.judged(self.steps, self.judge())
        if self._now.losses:
            self.steps += 1
            self.latest = self._now.loss()
            self._shared = self._now
        self._shared.stepped.add(id(optimizer))
        self._now = Now()
        self._timed(began)

    def _moved(self, record: Record) -> None:
        """The first step after an evaluation ends it, and opens the next one's list."""
        if self._scored:
            for one in self._movers:
                one.held_out.stepped()
            self._movers, self._scored = [], False
        if record not in self._movers:
            self._movers.append(record)
        record.held_out.stepped()

    def _made_of(self, optimizer: Optimizer) -> Now:
        """What this step is made of: a backward may serve several optimisers, each once."""
        if self._now.losses or id(optimizer) in self._shared.stepped:
            return self._now
        return dataclasses.replace(self._shared, kept=[])

    def _turn(self, record: Record, optimizer: Optimizer, norm: torch.Tensor | float) -> None:
        """Turn the ring of the last steps on by one."""
        ring = record.ring
        if ring is None:
            if record.count == 1 and self._repeatable(record, optimizer):
                ring = Ring(record.model, optimizer)
                record.ring = ring if ring.fits else None
                self._begin(record, ring.fits)
        elif ring.generations:
            self._turned(ring, record, optimizer, norm)
        elif not record.several:
            self._begin(record, self._affords(record, RING))

    def _turned(
        self, ring: Ring, record: Record, optimizer: Optimizer, norm: torch.Tensor | float
    ) -> None:
        """The same; it is stopped where a number is none any more."""
        broken = record.rows.broken or any(map(no_number, self._now.losses)) or is_nan(norm)
        lapsed = record.rows.lapse.now
        if record.several or (ring.stopped and not broken and not lapsed):
            ring.clear()
        if ring.stopped:
            return
        rates = tuple(group.get("lr", math.nan) for group in optimizer.param_groups)
        going = ring.step(record.count - 1, rates, self._now.bound)
        ring.stopped = bool(ring.generations) and (broken or (lapsed and not going))
        ring.broken = ring.stopped and broken
        if ring.stopped or record.several:
            self.training.outermost.remove(record.model)
        elif not going:
            self._begin(record, self._affords(record, RING))

    def _begin(self, record: Record, afforded: bool) -> None:
        """The next generation of steps, where there is time for it."""
        if afforded and record.ring is not None:
            record.ring.begin()
            self.training.outermost.add(record.model)
        elif record.ring is not None and record.ring.generations:
            record.ring.clear()
            self.training.outermost.remove(record.model)

    def _repeatable(self, record: Record, optimizer: Optimizer) -> bool:
        """Whether steps of this training can be made again from what a ring holds."""
        alone = sum(other.model is record.model for other in self.records.values()) == 1
        plain = not isinstance(optimizer, torch.optim.LBFGS)
        kept = record.begin is not None and not isinstance(record.model, torch.jit.ScriptModule)
        return alone and plain and kept

    def _timed(self, began: float) -> None:
        now = time.perf_counter()
        own = self._own + now - began + self.training.outermost.seconds
        self.training.outermost.seconds = 0.0
        if self._looked:
            self._spent += max(now - self._last - self._usual, own)
            self._cost += own
        else:
            self._idle += WHOLE * own
            self._plain.append(began - self._last)
            if len(self._plain) >= 32 or not self._usual:
                self._usual = float(np.median(self._plain))
                self._plain.clear()
        self._looked, self._last = False, now
        self._due = self._is_due(now)
        if len(self.failures) < FAILURES and (self._due or not self.training.idle):
            self._expect()

    def _expect(self) -> None:
        """Be ready for the next step, with as little as it takes."""
        keeps = any(r.open for r in self.records.values())
        layers = self._glances() if self._due else None
        if layers is not None:
            self._recorder = layers.restart()
            self.training.outermost.surround(layers.model, layers.one_call)
        if keeps or (self._due and layers is None):
            self.training.arm()
        elif layers is not None:
            self.training.disarm()
            self.training.attend()
        elif self._recorder is None:
            self.training.disarm()

    def _glances(self) -> Layers | None:
        """What looks at the coming step, where a look at the layers is enough for it."""
        if self._recorder is not None or self._waiting or len(self.records) != 1:
            return None
        (record,) = self.records.values()
        layers = self._layers.get(id(record.model))
        return layers if layers is not None and layers.plain and not record.due else None

    def _is_due(self, now: float) -> bool:
        if self.every is not None:  # where nothing is written, only whole examinations are of use
            wanted = self.journal is not None or any(r.due for r in self.records.values())
            return wanted and self.steps % self.every == 0
        return self._spent + self._idle < self.budget * (now - self._start)

    def _held(self) -> set[int]:
        every = self.training.optimizers
        return {id(p) for o in every for g in o.param_groups for p in g["params"]}

    def _try(self, function: Any, *args: Any) -> Any:
        if len(self.failures) >= FAILURES:
            return None
        began = time.perf_counter()
        try:
            return function(*args)
        except Exception as error:  # an observer never kills a training
            self._failed(error)
            return None
        finally:
            self._own += time.perf_counter() - began

    def _failed(self, error: Exception) -> None:
        self.failures.append(f"{type(error).__name__}: {error}")
        if self._recorder is not None:
            self.training.outermost.surround(self._recorder.model, None)
            self._recorder = None
        self.training.disarm()

    # -- for the file -----------------------------------------------------------------------

    def metrics(self, values: dict[str, float]) -> None:
        """Numbers from the training's author."""
        if self.journal is not None:
            self._try(self.journal.metrics, self.steps, values)

    def ended(self, reason: str) -> None:
        """The training is over: everything that is known goes into the file."""
        if self.journal is not None:
            for record in self.records.values():
                self._try(record.rows.send)
                self._try(record.held_out.send)
            self._try(self.journal.ended, reason, len(self.examined), self.overhead())

    def unstepped(self) -> None:
        """Read a training whose optimiser never stepped, if its weights are as they were."""
        if self.steps or self._recorder is None or len(self._now.losses) < UNSTEPPED:
            return
        for key, record in list(self._waiting.items()):
            optimizer, begin = record.optimizer, record.begin
            if optimizer is None or begin is None or begin.moved():
                continue
            self.records[key] = self._waiting.pop(key)
            record.facts.unstepped = len(self._now.losses)
            self._try(self._read, optimizer, True)

    # -- afterwards -------------------------------------------------------------------------

    def overhead(self) -> float:
        """Fraction of the time since the start that examining took.

        Our own code is timed, and at unexamined steps torch's way to it allowed for (WHOLE); what
        torch loads at its first step is not ours.
        """
        return (self._cost + self._idle) / max(self._last - self._start, 1e-9)
