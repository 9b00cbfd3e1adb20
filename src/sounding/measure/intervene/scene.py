"""A training that can be asked again: its model, its first batches, its loss, its state."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sounding.capture.keep import given_back
from sounding.capture.nested import tensors
from sounding.capture.tape import Tape
from sounding.measure.course import Course
from sounding.measure.loss_call import LossCall


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """One call of the model in training, and the way from its output to the loss."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tape: Tape
    autocast: torch.dtype | None = None  # that the call ran in, None: no automatic casts
    called: nn.Module | None = None  # a part of the model, where the model itself is not called

    @property
    def given(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the model is given, as the tape knows it."""
        return self.args, self.kwargs

    def casts(self) -> AbstractContextManager[object]:
        """The automatic casts, or none, that the call ran under."""
        first = next(iter(tensors(self.given)), None)
        kind = "cpu" if first is None else first.device.type
        return torch.autocast(kind, self.autocast, enabled=self.autocast is not None)

    @property
    def rows(self) -> int:
        """Samples in the batch."""
        first = next((t for t in tensors(self.given) if t.dim()), None)
        return 0 if first is None else first.shape[0]


class Snapshot:
    """The tensors of a model and the state of its optimiser at one moment."""

    def __init__(self, model: nn.Module, optimizer: Optimizer | None) -> None:
        held = [] if optimizer is None else [p for g in optimizer.param_groups for p in g["params"]]
        own = [*model.parameters(), *model.buffers(), *held]
        self._tensors = [(t, t.detach().clone()) for t in dict.fromkeys(own)]
        self._modes = [(m, m.training) for m in model.modules()]
        self._optimizer = optimizer
        self._settings: list[dict[str, Any]] = []
        self._state: dict[Any, Any] = {}
        if optimizer is not None:
            self._settings = [_settings(group) for group in optimizer.param_groups]
            self._state = copy.deepcopy({id(p): s for p, s in optimizer.state.items()})

    def moved(self) -> bool:
        """Whether any trainable tensor has another value now."""
        return any(t.requires_grad and not torch.equal(t, saved) for t, saved in self._tensors)

    def modes(self) -> None:
        """Put every module into the mode, training or evaluation, that it was in."""
        for module, training in self._modes:
            module.training = training

    @torch.no_grad()
    def kinds(self) -> None:
        """Turn every tensor into the precision that it was in."""
        for tensor, saved in self._tensors:
            if tensor.dtype != saved.dtype:
                tensor.grad, tensor.data = None, tensor.data.to(saved.dtype)

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back, in place."""
        for tensor, saved in self._tensors:
            if tensor.shape == saved.shape and tensor.dtype == saved.dtype:
                tensor.copy_(saved)
            else:
                tensor.data = saved.clone()
        self.modes()
        if self._optimizer is None:
            return
        for group, settings in zip(self._optimizer.param_groups, self._settings, strict=False):
            group.update(settings)
        state = self._optimizer.state
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        state.clear()
        for p in parameters:
            if id(p) in self._state:
                state[p] = copy.deepcopy(self._state[id(p)])


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {key: copy.copy(value) for key, value in group.items() if key != "params"}


@dataclasses.dataclass(eq=False)
class Scene:
    """What interventions work on; whatever they change is given back."""

    model: nn.Module
    optimizer: Optimizer | None
    steps: list[Step]  # the first calls in training, in order
    begin: Snapshot | None  # as the training began; None: too large to keep
    course: Course
    call: LossCall | None
    several: bool = False  # other optimisers step in between
    evaluated: int = 0  # samples in one call without gradients; 0: none was seen
    exchanged: dict[int, torch.Tensor] = dataclasses.field(default_factory=dict)  # for constants

    @property
    def called(self) -> nn.Module:
        """What the script calls: the model, or a part of it that the stored batches go into."""
        return next((step.called for step in self.steps if step.called is not None), self.model)

    def output(self, step: Step) -> Any:
        """The model's output for a stored batch."""
        return self.answer(step)

    def answer(self, step: Step, given: Any = None) -> Any:
        """The model's output for a stored batch, or for others `given` in its form.

        Raises:
            ValueError: If the model is given more of that batch on its way.
        """
        if given is not None and step.tape.depends(step.rows):
            raise ValueError("the model is given more of the batch on its way to the output")
        args, kwargs = given = given or step.given
        with step.casts():
            returned = (step.called or self.model)(*args, **kwargs)
            return step.tape.lead(given, returned)

    def loss(self, step: Step) -> torch.Tensor:
        """The user's own loss of a stored batch, with its graph."""
        output = self.output(step)
        with step.casts():
            return step.tape.replay(step.given, output, exchanged=self.exchanged)

    def tensor(self, output: Any) -> torch.Tensor:
        """The first floating point tensor of an output.

        Raises:
            ValueError: If there is none.
        """
        for tensor in tensors(output):
            if tensor.is_floating_point() and tensor.dim():
                return tensor
        raise ValueError("the model's output holds no floating point tensor")

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Inside, weights and optimiser may be changed; they are put back at the end.

        The model is in the mode and the precision in which it was trained.
        """
        end = Snapshot(self.model, self.optimizer)
        with given_back(self.model):
            try:
                if self.begin is not None:
                    self.begin.modes()
                    self.begin.kinds()
                yield
            finally:
                end.restore()

    @contextlib.contextmanager
    def begun_again(self) -> Iterator[None]:
        """Inside, the training is as it began.

        Raises:
            ValueError: If that was not kept.
        """
        if self.begin is None:
            raise ValueError("the weights that the training began with were too large to keep")
        with self.kept():
            self.begin.restore()
            yield
