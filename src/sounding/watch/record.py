"""All that is kept of the training of one optimiser."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from sounding.capture.nested import tensors, with_tensors
from sounding.capture.tape import Tape
from sounding.measure.course import Course
from sounding.measure.intervene import Scene, Snapshot, Step
from sounding.measure.loop import Evaluations
from sounding.measure.readings import Readings
from sounding.watch.facts import Facts
from sounding.watch.held_out import HeldOutLosses
from sounding.watch.ring import Ring
from sounding.watch.rows import Row, Rows
from sounding.watch.stride import Stride, first_of, version_of
from sounding.watch.turned import turned
from sounding.watch.unsent import least, total_norm

STEPS = 64  # calls that are kept, to be made again
BYTES = 20 * 2**20  # that their tensors may fill
WEIGHTS = 512 * 2**20  # bytes of weights up to which their first values are kept
READINGS = 8  # kept besides the first one; the older of them are thinned out
OFTEN = 2.0  # the factor between steps at which everything is read, where less is read besides
EVALUATED = 8  # inputs of evaluations that are kept


@dataclasses.dataclass
class Now:
    """What happened since the last step."""

    losses: list[torch.Tensor | float] = dataclasses.field(default_factory=list)
    # norm of the gradients that an optimiser's parameters had before backward, by the optimiser
    carried: dict[int, Any] = dataclasses.field(default_factory=dict)
    stepped: set[int] = dataclasses.field(default_factory=set)  # optimisers that used this
    clipped_from: Any = math.nan
    bound: float = math.nan
    kept: list[Step] = dataclasses.field(default_factory=list)

    def carry(self, optimizer: Optimizer) -> None:
        """Note what gradients there are before backward; none once they were seen to be zeroed."""
        known = self.carried.get(id(optimizer))
        if known is not None and isinstance(known, float) and known == 0:
            return
        held = (p.grad for group in optimizer.param_groups for p in group["params"])
        there = total_norm([grad for grad in held if grad is not None])
        # zeroed before any backward of the step is zeroed; gradients of an input come first
        self.carried[id(optimizer)] = there if known is None else least(known, there)

    def loss(self) -> torch.Tensor | float:
        """The mean over the calls of backward; nan where there was none."""
        if len(self.losses) < 2:
            return self.losses[0] if self.losses else math.nan
        if all(isinstance(value, float) for value in self.losses):
            return math.fsum(map(float, self.losses)) / len(self.losses)
        return torch.stack([torch.as_tensor(v).reshape(()).float() for v in self.losses]).mean()


class Record:
    """One optimiser, the model that it trains, and their history."""

    def __init__(self, model: nn.Module, optimizer: Optimizer | None, *, keep: bool = True) -> None:
        self.model, self.optimizer = model, optimizer
        self.facts = Facts()
        self.facts.meet(model)
        self.readings: list[Readings] = []
        self.examined: list[int] = []
        self.steps: list[Step] = []
        keep = keep and _bytes(model) <= WEIGHTS
        self.begin = Snapshot(model, optimizer) if keep else None
        self.several = False
        self.parallel = ""  # 'DistributedDataParallel' or 'FSDP', where there are more processes
        self.rows = Rows()
        self.held_out = HeldOutLosses()
        self.ring: Ring | None = None  # the last steps, where they are kept
        self.workers = -1  # of the data loader
        self._version = -1  # of the first parameter after the last step
        self._bytes = 0
        self._since = 0  # steps that other optimisers made before this one

    @property
    def count(self) -> int:
        """Optimiser steps so far."""
        return self.rows.count

    @property
    def open(self) -> bool:
        """Whether more calls are kept."""
        return self.begin is not None and len(self.steps) < STEPS and self._bytes < BYTES

    @property
    def once(self) -> bool:
        """Whether its optimiser has made one step only."""
        return self.count - self._since == 1

    def change(self, optimizer: Optimizer) -> None:
        """The training goes on with another optimiser."""
        self.optimizer, self._since = optimizer, self.count
        self.facts.remade += 1

    def keep(self, called: nn.Module, given: Any, output: Any) -> tuple[Step, Tape]:
        """A call of the model, or of a part of it, with a tape for what follows.

        Its tensors are copied.
        """
        tape = Tape(given, output)
        args, kwargs = with_tensors(given, lambda t: t.detach().clone())
        self._bytes += sum(t.numel() * t.element_size() for t in tensors((args, kwargs)))
        part = None if called is self.model else called
        return Step(args, kwargs, tape, _autocast(self.model), part), tape

    def step(self, now: Now, norm: Any, seconds: float, waited: float) -> None:
        """One step has been made, `seconds` after the one before, of which it `waited` so many."""
        groups = [] if self.optimizer is None else self.optimizer.param_groups
        self.rows.append(
            Row(
                loss=now.loss(),
                gradient_norm=norm,
                lr=groups[0].get("lr", math.nan) if groups else math.nan,
                backwards=len(now.losses),
                carried=now.carried.get(id(self.optimizer), math.nan),
                clipped_from=now.clipped_from,
                bound=now.bound,
                seconds=seconds,
                waited=waited,
            )
        )
        self.steps += now.kept[: STEPS - len(self.steps)]
        self._version = version_of(first_of(self.optimizer))

    def strode(self, stride: Stride) -> None:
        """Some steps have been made."""
        self.rows.append(*stride.rows)
        self._version = stride.version

    @property
    def put_back(self) -> bool:
        """Whether weights were changed after the last step."""
        return version_of(first_of(self.optimizer)) != self._version

    @property
    def due(self) -> bool:
        """Whether it is time for all readings, and not the sizes in every layer alone."""
        return not self.readings or self.count >= OFTEN * self.examined[-1]

    def keep_reading(self, taken: Readings) -> None:
        """The first stays, the rest is thinned evenly."""
        self.examined.append(self.count)
        self.readings.append(taken)
        if len(self.readings) > READINGS + 1:
            self.readings = [self.readings[0], *self.readings[2::2]]

    def course(self) -> Course:
        """The series, as numbers on the CPU."""
        names = [field.name for field in dataclasses.fields(Course) if field.name != "workers"]
        columns = {name: self.rows.column(name) for name in names}
        return Course(**columns, workers=self.workers)

    def scene(self) -> Scene:
        """What interventions work on."""
        groups = [] if self.optimizer is None else self.optimizer.param_groups
        own = {id(p) for p in self.model.parameters()} | {
            id(p) for g in groups for p in g["params"]
        }
        for step in self.steps:
            step.tape.part(own)
        calls = [r.loss_call for r in self.readings if r.loss_call is not None]
        return Scene(
            model=self.model,
            optimizer=self.optimizer,
            steps=self.steps,
            begin=self.begin,
            course=self.course(),
            call=calls[0] if calls else None,
            several=self.several,
        )


class Evaluated:
    """The calls of one model without gradients."""

    def __init__(self) -> None:
        self.count = self.training = self.blocks = self.again = 0
        self._inputs: list[torch.Tensor] = []
        self._step = -1
        self._block: set[Any] = set()  # the inputs of this block, as good as told apart

    def call(self, model: nn.Module, args: Any, step: int) -> None:
        """One more of them, after `step` steps of the training."""
        self.count += 1
        self.training += model.training
        if step != self._step:
            self._step, self._block = step, set()
            self.blocks += 1
        mark = tuple((t.shape, float(t.flatten()[:999].double().sum())) for t in tensors(args))
        self.again += mark in self._block
        self._block.add(mark)
        first = next((t for t in tensors(args) if t.is_floating_point() and t.dim() > 1), None)
        if first is not None and len(self._inputs) < EVALUATED and first.numel() < 2**22:
            self._inputs.append(first.detach().clone())

    def result(self, steps: list[Step]) -> Evaluations:
        """Beside the inputs of training, feature by feature."""
        trained = [
            t for s in steps for t in tensors(s.args)[:1] if t.is_floating_point() and t.dim() > 1
        ]
        shapes = {t.shape[1:] for t in (*trained, *self._inputs)}
        bare = Evaluations(
            count=self.count, training=self.training, low=None, high=None,
            outside=math.nan, expected=math.nan, rows=sum(map(len, self._inputs)),
            blocks=self.blocks, again=self.again, each=_median(map(len, self._inputs)),
        )  # fmt: skip
        if not trained or not self._inputs or len(shapes) != 1:
            return bare
        rows, seen = (torch.cat(part).flatten(1).float() for part in (trained, self._inputs))
        over = turned(rows, seen, shapes.pop())
        low, high = rows.min(0).values, rows.max(0).values
        kept = slice(0, 4096)
        return dataclasses.replace(
            bare,
            low=low[kept].cpu().numpy(),
            high=high[kept].cpu().numpy(),
            outside=float(((seen < low) | (seen > high)).double().mean()),
            expected=2 / (len(rows) + 1),
            mean=(float(rows.mean()), float(seen.mean())),
            std=(float(rows.std()), float(seen.std())),
            turned=over.how,
            apart=(over.as_is, over.turned),
        )


def _median(counts: Iterable[int]) -> int:
    return int(statistics.median([*counts] or [0]))


def _autocast(model: nn.Module) -> torch.dtype | None:
    """What automatic casts are to at this moment, on the model's device."""
    kind = next((p.device.type for p in model.parameters()), "cpu")
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


def _bytes(model: nn.Module) -> float:
    held = (*model.parameters(), *model.buffers())
    if any(map(is_lazy, held)):
        return math.inf  # not there yet
    return sum(t.numel() * t.element_size() for t in held)
