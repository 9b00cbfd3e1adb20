"""Examine a training from inside its process, for as little time as it is allowed to take."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

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
from sounding.watch.pace import Pace
from sounding.watch.record import Evaluated, Now, Record
from sounding.watch.rings import Rings
from sounding.watch.stride import Stride, first_of
from sounding.watch.unsent import total_norm
from sounding.watch.whose import holds, own, parallel, unwrapped

NORMS = 0.4  # of the budget, for the norms of gradients at steps that are not examined
RING = 0.7  # of it, that these and the ring of the last steps may take together
ALWAYS = 500  # steps whose gradients are measured in any case
UNSTEPPED = 8  # calls of backward without a step, more than one step of most accumulations has
LISTENED = 256  # evaluations that are looked at


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
        self.pace = Pace(budget, every)
        self.keep = keep
        self.journal = journal
        self._rings = Rings(self.training.outermost, lambda r: self._affords(r, RING))
        self.judge: Callable[[], Checkup | None] | None = None  # asked when all was read anew
        self.clipped_late = 0  # calls of clipping behind the step
        self.latest: torch.Tensor | float = math.nan  # loss
        self.evaluated: dict[int, Evaluated] = {}  # by model
        self._movers: list[Record] = []  # that stepped since the last evaluation: it is theirs
        self._scored = False  # it has come after their last step
        self.failures: list[str] = []
        self.examined: list[int] = []
        self._steps = 0
        self._records: dict[int, Record] = {}
        self._stride: Stride | None = None  # steps that go their even way, since the last look
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

    @property
    def steps(self) -> int:
        """Optimiser steps seen so far."""
        self._settle()
        return self._steps

    @property
    def records(self) -> dict[int, Record]:
        """What is kept of each training, by optimiser, in the order of their first steps."""
        self._settle()
        return self._records

    @contextlib.contextmanager
    def watching(self):
        """Install everything around the script; nothing is left behind at the end."""
        with self.training:
            self.training.arm()
            yield self

    # -- events -----------------------------------------------------------------------------

    def made(self, optimizer: Optimizer) -> None:
        """Another training begins; its first step is examined, and not just looked at."""
        self._settle()
        if isinstance(self._recorder, Layers):
            self.training.outermost.surround(self._recorder.model, None)
            self._recorder = None
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
        for record in self._records.values():
            if record.model is model and record.ring is not None:
                record.ring.call(call)

    def evaluation(self, model: nn.Module, args: Any) -> None:
        """A call without gradients."""
        self._settle()
        self._try(self._evaluated, model, args)

    def held_out(self, function: str, value: torch.Tensor, block: int) -> None:
        """A loss of an evaluation; no waiting for a device here either."""
        self._settle()
        self._scored = True
        for record in self._movers:
            self._try(record.held_out.loss, function, value, block, record.count)

    def copied(self) -> None:
        """The script keeps the weights of this moment."""
        self._settle()
        for record in self._records.values():
            record.held_out.copied(record.count)

    def loss(self, value: torch.Tensor) -> None:
        """Keep the number; no waiting for a device here."""
        if self._stride is not None and self._stride.lost(value):
            return
        self._settle()
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
        if self._stride is not None and self._stride.clipped(norm, bound):
            return
        self._settle()
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
        if self._stride is not None and self._stride.stepped(optimizer):
            if not self._stride.left:
                self._settle()
                self._try(self._decide)
            return
        self._settle()
        if self._recorder is not None:  # a closure's forward and backward ran inside the step
            self._try(self._read, optimizer, False)
        self._try(self._close, optimizer)
        self._own = 0.0

    # -- a call -----------------------------------------------------------------------------

    def _called(self, model: nn.Module) -> Recorder | Layers | None:
        root = unwrapped(self.training.root(model))
        if not self._steps:  # what came before the first forward pass was no step
            self.pace.begins()
        holders = [o for o in self.training.optimizers if holds(o, root)]
        if not holders and self._model is not None and self._model is not root:
            return None  # nobody trains it, and another model is
        self._model, self._holders = root, holders
        whole = not is_compiled(model)  # hooks on every call would be compiled too
        self.training.hears_evaluations &= whole
        for optimizer in holders or [None]:
            if id(optimizer) not in self._records and id(optimizer) not in self._waiting:
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
        every = [r for r in (*self._records.values(), *self._waiting.values()) if r.model is root]
        whole = self.journal is None or any(record.due for record in every)
        layers = None if whole else self._layers.get(id(root))
        if self._recorder is not None:  # another model is called than was expected
            self.training.outermost.surround(self._recorder.model, None)
        self._recorder = Recorder(root) if layers is None else layers.restart()
        return self._recorder

    def _is_new(self, root: nn.Module) -> bool:
        """Whether some training of this model has not been examined yet."""
        every = (*self._records.values(), *self._waiting.values())
        return any(r.model is root and not r.readings for r in every)

    def _kept(self, model: nn.Module, given: Any, output: Any) -> Tape | None:
        top = self.training.root(model)
        root = unwrapped(top)
        every = (*self._waiting.values(), *self._records.values())
        record = next((r for r in every if r.model is root and r.open), None)
        if record is None or (model is not root and model is top):  # it is a wrapper
            return None
        step, tape = record.keep(model, given, output)
        self._now.kept.append(step)
        return tape

    def _evaluated(self, model: nn.Module, args: Any) -> None:
        root = unwrapped(self.training.root(model))
        seen = self.evaluated.setdefault(id(root), Evaluated())
        seen.call(model, args, self._steps)
        if seen.count >= LISTENED:
            self.training.hears_evaluations = False

    def _backward(self, value: torch.Tensor) -> None:
        if self._model is not None and self._measuring:
            turns = [r.optimizer for r in self._records.values() if r.several and r.optimizer]
            for optimizer in dict.fromkeys([*self._holders, *turns]):
                self._now.carry(optimizer)
        if isinstance(self._recorder, Layers):
            self._recorder.finish()

    # -- a step -----------------------------------------------------------------------------

    def _affords(self, record: Record, share: float) -> bool:
        """Whether unexamined steps have cost less than so much of the budget; early on it may."""
        return record.count < ALWAYS or self.pace.affords(share)

    def _record(self, optimizer: Optimizer) -> Record | None:
        """The record of the optimiser that steps; a stale one gets that of the unheld model."""
        key = id(optimizer)
        if key in self._waiting and (old := self._remade(optimizer)) is not None:
            del self._waiting[key]
            self._records[key] = record = self._records.pop(old)
            self._holders = [o for o in self._holders if o is not record.optimizer]
            if record.optimizer is not None:
                self.training.optimizers.discard(record.optimizer)
            record.change(optimizer)
        if key in self._waiting:
            self._records[key] = self._waiting.pop(key)
            if self.journal is not None:
                self.journal.begin(self._records[key], optimizer)
            others = [r for r in self._records.values() if r is not self._records[key]]
            for other in others:
                if other.count < 3:
                    other.several = self._records[key].several = True
        if key not in self._records and id(None) in self._waiting:
            self._records[key] = record = self._waiting.pop(id(None))
            record.optimizer = optimizer
            if self.journal is not None:
                self.journal.begin(record, optimizer)
        return self._records.get(key)

    def _remade(self, optimizer: Optimizer) -> int | None:
        """The record of an optimiser that made one step with the same parameters, and is gone."""
        once = {k: r.optimizer for k, r in self._records.items() if r.once and r.optimizer}
        return next((k for k, before in once.items() if own(before) == own(optimizer)), None)

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
            held = {p for o in self.training.optimizers for p in own(o)}
            record.facts.look(recorder, recorder.model, optimizer, held)
            if record.due and not is_compiled(recorder.model) and not recorder.in_parts:
                self._layers[id(recorder.model)] = Layers(recorder)
        elif recorder.broken:
            self._layers.pop(id(recorder.model), None)
        self.examined.append(self._steps)
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
        record = self._records.get(id(optimizer)) or self._record(optimizer)
        if record is not None:
            record.facts.stepped()
            norm: torch.Tensor | float = math.nan
            if self._measuring:
                held = [p.grad for g in optimizer.param_groups for p in g["params"]]
                norm = total_norm([g for g in held if g is not None])
            waited = self.training.waiting.take(first_of(optimizer))
            record.workers = self.training.waiting.workers
            record.step(self._made_of(optimizer), norm, began - self.pace.last, waited)
            self._moved(record)
            alone = sum(other.model is record.model for other in self._records.values()) == 1
            self._rings.turn(record, self._now, norm, alone=alone)
            self._measuring = self._affords(record, NORMS)
            if self.journal is not None and self._looked:
                self.journal.stepped(record, record.count - 1)
                if self._judgeable and self.judge is not None:
                    self._judgeable = False
                    self.journal.judged(self._steps, self.judge())
        if self._now.losses:
            self._steps += 1
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

    def _timed(self, began: float) -> None:
        ours = self._own + time.perf_counter() - began + self.training.outermost.seconds
        self.training.outermost.seconds = 0.0
        if self._looked:
            self.pace.looked(ours)
        else:
            self.pace.passed(ours, [began - self.pace.last], time.perf_counter())
        self._looked = False
        self._decide()

    def _decide(self) -> None:
        """Whether the next step is examined, and whether those after it need a look at all."""
        rare = any(record.due for record in self._records.values())
        wanted = self.journal is not None or rare
        self._due = self.pace.due(self._steps, wanted=wanted, rare=rare)
        if len(self.failures) < FAILURES and (self._due or not self.training.idle):
            self._expect()
        most = self.pace.stride(self._steps, wanted=wanted)
        optimizer = self._even() if most > 1 and len(self.failures) < FAILURES else None
        if optimizer is not None:
            self._stride = Stride(optimizer, self.training.waiting, most, self.pace.last)

    def _even(self) -> Optimizer | None:
        """Whose steps may be noted as they come: nothing is awaited, measured or kept of them."""
        busy = self._due or self._measuring or self._scored or self._waiting
        if busy or not self.training.idle or len(self._records) != 1:
            return None
        (record,) = self._records.values()
        kept = record.ring is not None and record.ring.generations
        return None if kept else record.optimizer

    def _settle(self) -> None:
        """The end of a stride: its steps are looked at, what has come after them goes on."""
        stride, self._stride = self._stride, None
        if stride is not None:
            self._try(self._strode, stride)
            self._own = 0.0

    def _strode(self, stride: Stride) -> None:
        began = time.perf_counter()
        if stride.loss is not None:
            self._now.losses.append(stride.loss)
            self._now.clipped_from, self._now.bound = stride.clipped_from, stride.bound
        if not stride.rows:
            return
        record, last = self._records[id(stride.optimizer)], stride.rows[-1]
        record.facts.stepped()
        record.workers = self.training.waiting.workers
        record.strode(stride)
        self._moved(record)
        self._steps += len(stride.rows)
        self.latest = last.loss
        self._shared = Now(losses=[last.loss], stepped={id(stride.optimizer)})
        self._shared.clipped_from, self._shared.bound = last.clipped_from, last.bound
        self._measuring = self._affords(record, NORMS)
        if not stride.left:  # between two steps: what begins now misses nothing of the next one
            self._rings.begin(record)
        ours = stride.own + time.perf_counter() - began
        end = stride.last if stride.left else time.perf_counter()
        self.pace.passed(ours, [row.seconds for row in stride.rows], end)

    def _expect(self) -> None:
        """Be ready for the next step, with as little as it takes."""
        keeps = any(r.open for r in self._records.values())
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
        if self._recorder is not None or self._waiting or len(self._records) != 1:
            return None
        (record,) = self._records.values()
        layers = self._layers.get(id(record.model))
        return layers if layers is not None and layers.plain and not record.due else None

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
        self._settle()
        if self.journal is not None:
            self._try(self.journal.metrics, self._steps, values)

    def ended(self, reason: str) -> None:
        """The training is over: everything that is known goes into the file."""
        self._settle()
        if self.journal is not None:
            for record in self._records.values():
                self._try(record.rows.send)
                self._try(record.held_out.send)
            self._try(self.journal.ended, reason, len(self.examined), self.overhead())

    def unstepped(self) -> None:
        """Read a training whose optimiser never stepped, if its weights are as they were."""
        self._settle()
        if self._steps or self._recorder is None or len(self._now.losses) < UNSTEPPED:
            return
        for key, record in list(self._waiting.items()):
            optimizer, begin = record.optimizer, record.begin
            if optimizer is None or begin is None or begin.moved():
                continue
            self._records[key] = self._waiting.pop(key)
            record.facts.unstepped = len(self._now.losses)
            self._try(self._read, optimizer, True)

    # -- afterwards -------------------------------------------------------------------------

    def overhead(self) -> float:
        """Fraction of the time since the start that examining took."""
        self._settle()
        return self.pace.overhead()
