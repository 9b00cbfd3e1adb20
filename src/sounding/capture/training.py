"""See a training loop from outside: models, losses, optimiser steps, with no change to its code.

Everything that is wrapped or hooked stands in this file and is taken off at the end. On a step
that is not measured only the hook after an optimiser's step and the wrapper of `backward` run, a
few microseconds.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_module_registration_hook,
)
from torch.optim import Optimizer
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.hooks import RemovableHandle

from sounding.capture.compiled import without_hook_warning
from sounding.capture.keep import given_back
from sounding.capture.layers import Layers
from sounding.capture.modes import pushed
from sounding.capture.outermost import ModelCall, Outermost
from sounding.capture.patched import patched, replaced
from sounding.capture.recorder import Recorder
from sounding.capture.scoring import Scoring
from sounding.capture.sources import remembered
from sounding.capture.tape import Tape
from sounding.capture.waiting import Waiting

SEQUENCE = (tuple, list)  # `tuple | list` would be made at every step


class Listener:
    """What happens at the events of a training loop; override what is of interest.

    What a listener raises reaches the training: one that only looks must guard itself.
    """

    def made(self, optimizer: Optimizer) -> None:
        """An optimiser is constructed."""

    def call(self, model: nn.Module, args: Any, kwargs: Any) -> Recorder | Layers | None:
        """The outermost call of a model in training begins; what is returned here watches it."""

    def output(self, model: nn.Module, given: Any, output: Any) -> Tape | None:
        """That call has ended; a Tape returned here records from now on, up to the loss.

        `given` is (args, kwargs).
        """

    def evaluation(self, model: nn.Module, args: Any) -> None:
        """The outermost call of a model without gradients begins."""

    def held_out(self, function: str, value: torch.Tensor, block: int) -> None:
        """A loss of that name was computed without gradients, () a mean, in the block so numbered.

        `value` must not be kept: the script may add to it in place.
        """

    def copied(self) -> None:
        """The script takes a copy of a net's weights: to save them, or to come back to them."""

    def loss(self, value: torch.Tensor) -> None:
        """`backward` is called on `value`, which still has its graph: it must not be kept."""

    def clipped(self, norm: torch.Tensor, bound: float) -> None:
        """Torch's clipping was called: the norm that it saw, and its bound (by value: nan)."""

    def model_call(self, model: nn.Module, call: ModelCall) -> None:
        """A model that was added to `Training.outermost` was called, with gradients."""

    def scores(self, output: torch.Tensor, target: torch.Tensor) -> None:
        """Cross-entropy of class scores (N, K) and labels (N,) is computed, with gradients on."""

    def before_step(self, optimizer: Optimizer) -> None:
        """Gradients are ready, the parameters not yet changed; told where armed or attending."""

    def after_step(self, optimizer: Optimizer) -> None:
        """The parameters have been changed."""


class Training:
    """Installs the hooks for one listener; use as ``with Training(listener) as training``."""

    def __init__(self, listener: Listener, *, scores: bool = False) -> None:
        self.listener = listener
        self.optimizers: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        self.parents: weakref.WeakKeyDictionary[nn.Module, weakref.ref[nn.Module]]
        self.parents = weakref.WeakKeyDictionary()
        self.outermost = Outermost(listener.model_call)
        self.waiting = Waiting()
        self._held_out = Scoring(listener.held_out)
        self._scores, self._scoring = scores, False
        self._stack = contextlib.ExitStack()
        self._calls: contextlib.ExitStack | None = None
        self._latest = 0  # identity of the optimiser that stepped last
        self._before: RemovableHandle | None = None
        self._armed = False
        self._evaluating = 0  # blocks without gradients that are open
        self._evaluated: nn.Module | None = None  # outermost module that runs in one
        # and its inputs
        self._running: tuple[nn.Module, Any, Any, Recorder | Layers | None] | None = None
        self._pass = contextlib.ExitStack()  # what listens until the loss is there
        self._open = False  # something does
        self._recorder: Recorder | Layers | None = None
        self._tape: Tape | None = None
        self._asking = False  # the listener is at work, and may call the model itself
        self.hears_evaluations = True

    def __enter__(self) -> Training:
        stack = self._stack
        stack.enter_context(without_hook_warning())
        stack.enter_context(remembered())
        stack.enter_context(_constructed(self._new))
        after = register_optimizer_step_post_hook(lambda o, a, k: self._after_step(o))
        stack.callback(after.remove)
        stack.callback(register_module_module_registration_hook(self._registered).remove)
        stack.enter_context(replaced(torch.autograd, "backward", self._backward))
        for owner in (nn.utils, nn.utils.clip_grad):
            stack.enter_context(patched(owner, "clip_grad_norm_", self._clip_norm))
            stack.enter_context(patched(owner, "clip_grad_value_", self._clip_value))
        for kind in (torch.no_grad, torch.inference_mode):
            stack.enter_context(patched(kind, "__enter__", self._without_gradients))
            stack.enter_context(patched(kind, "__exit__", self._with_gradients_again))
        stack.enter_context(self.waiting.listening())
        stack.enter_context(patched(nn.Module, "state_dict", self._copied))
        stack.enter_context(patched(nn.Parameter, "__deepcopy__", self._copied))
        stack.callback(self._held_out.end)
        if self._scores:
            stack.enter_context(patched(nn.functional, "cross_entropy", self._cross_entropy))
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take everything off; a second call does nothing."""
        self.disarm()
        self.outermost.close()
        self._running = None
        self._end_pass()
        self._stack.close()

    def arm(self) -> None:
        """From now on `listener.call` hears of outermost calls; idle steps should be disarmed."""
        self._armed = True
        self._hook()
        self.attend()

    def attend(self) -> None:
        """`listener.before_step` is told of steps, until it is disarmed."""
        if self._before is None:
            hear = register_optimizer_step_pre_hook(lambda o, a, k: self._before_step(o))
            self._before = hear

    def disarm(self) -> None:
        """No hook is left but that after a step, and for evaluations while they run."""
        self._armed = False
        self._unhook()
        if self._before is not None:
            self._before.remove()
            self._before = None

    @property
    def idle(self) -> bool:
        """Whether it is neither armed nor attends to the next step."""
        return self._before is None

    def _hook(self) -> None:
        if self._calls is None:
            self._calls = contextlib.ExitStack()
            enter = register_module_forward_pre_hook(self._enter)
            leave = register_module_forward_hook(self._leave, always_call=True)
            self._calls.callback(enter.remove)
            self._calls.callback(leave.remove)

    def _unhook(self) -> None:
        if self._calls is not None:
            self._calls.close()
            self._calls = None

    def root(self, module: nn.Module) -> nn.Module:
        """The topmost module that `module` was registered in: what the user calls the model."""
        with contextlib.suppress(TypeError):
            while True:
                parent = self.parents.get(module)
                above = parent() if parent is not None else None
                if above is None or not any(child is module for child in above.children()):
                    return module
                module = above
        return module

    def adopt(self, models: list[nn.Module], optimizers: list[Optimizer]) -> None:
        """Know those that were made before: which modules are parts of others, who trains."""
        for model in models:
            for module in model.modules():
                for name, child in module.named_children():
                    self._registered(module, name, child)
        for optimizer in optimizers:
            self._new(optimizer)

    def _new(self, optimizer: Optimizer) -> None:
        self.optimizers.add(optimizer)
        self.listener.made(optimizer)

    # -- the hooks --------------------------------------------------------------------------

    def _registered(self, parent: nn.Module, name: str, child: nn.Module | None) -> None:
        with contextlib.suppress(TypeError):  # modules that cannot be hashed have no root but they
            if child is not None:
                self.parents[child] = weakref.ref(parent)

    def _enter(self, module: nn.Module, args: Any) -> None:
        if self._asking or _inside_backward():
            return
        if self._running is not None:
            if self._running[3] is not None:
                self._running[3].enter(module, args)
            return
        if not any(p.requires_grad for p in module.parameters()):
            return  # a loss, a metric, a net that is frozen as a whole
        if not torch.is_grad_enabled():
            if self._evaluated is None:
                self._evaluated = module
                self._ask(self.listener.evaluation, module, args)
        elif self._armed:
            self._begin(module, args)

    def _begin(self, module: nn.Module, args: Any) -> None:
        """The outermost call of a model in training."""
        if isinstance(self._recorder, Recorder) and self._recorder.goes_on(module):
            self._running = (module, args, _keywords(module), self._recorder)
            self._recorder.enter(module, args)
            return
        if self._recorder is not None:  # a second call before backward is no part of the first
            self._recorder.finish()
            self._recorder.cut = True
            self._recorder = None
        if self._tape is None:
            self._end_pass()
        kwargs = _keywords(module)
        recorder = self._ask(self.listener.call, module, args, kwargs)
        self._running = (module, args, kwargs, recorder)
        if recorder is not None:
            self._recorder = recorder
            self._open = True
            self._pass.enter_context(recorder.listening())
            recorder.inputs((args, kwargs))
            recorder.enter(module, args)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._evaluated is module:
            self._evaluated = None
        if self._running is None or self._asking:
            return
        outermost, given, keywords, recorder = self._running
        if recorder is not None:
            recorder.leave(module, (given, keywords) if outermost is module else args, {}, output)
        if outermost is not module:
            return
        self._running = None
        if output is None:
            self._end_pass()
            return
        if self._tape is not None and self.root(module) is not module:
            return  # one more part of a model that is called in parts
        tape = self._ask(self.listener.output, module, (given, keywords), output)
        if tape is not None:
            self._tape, self._open = tape, True
            self._pass.enter_context(pushed(tape))

    def _ask(self, function: Callable, *args: Any) -> Any:
        self._asking = True
        try:
            return function(*args)
        finally:
            self._asking = False

    def _backward(self, original: Callable, tensors: Any, *args: Any, **kwargs: Any) -> Any:
        one = tensors[0] if isinstance(tensors, SEQUENCE) and len(tensors) == 1 else tensors
        if isinstance(one, torch.Tensor) and one.numel() == 1:
            if self._open:
                self._ends_with(one)
            self.listener.loss(one)
        elif self._open:
            self._end_recording()
        return original(tensors, *args, **kwargs)

    def _ends_with(self, loss: torch.Tensor) -> None:
        if self._recorder is not None:
            self._recorder.ends_with(loss)
        if self._tape is not None:
            self._tape.ends_with(loss)
        self._end_recording()

    def _end_recording(self) -> None:
        """Nothing more is recorded; the modes stay until they can be removed.

        `backward` itself runs inside of them, as a method of the loss.
        """
        if self._recorder is not None:
            self._recorder.finish()
            self._recorder = None
        if self._tape is not None:
            self._tape.ended = True
            self._tape = None

    def _end_pass(self) -> None:
        self._end_recording()
        self._pass.close()
        self._open = False

    def _before_step(self, optimizer: Optimizer) -> None:
        self._end_pass()
        self.optimizers.add(optimizer)  # one that was made before anybody listened
        self.listener.before_step(optimizer)

    def _after_step(self, optimizer: Optimizer) -> None:
        if self._open:  # it was disarmed in between
            self._end_pass()
        if id(optimizer) != self._latest:
            self._latest = id(optimizer)
            self.optimizers.add(optimizer)
        self.listener.after_step(optimizer)

    def _without_gradients(self, original: Callable, *args: Any) -> Any:
        self._evaluating += 1
        if self._running is None and self._evaluating == 1:
            self._held_out.begin()
        if self._running is None and self.hears_evaluations:
            self._hook()
        return original(*args)

    def _with_gradients_again(self, original: Callable, *args: Any) -> Any:
        self._evaluating -= 1
        if not self._evaluating:
            self._evaluated = None
            self._held_out.end()
        if not self._evaluating and not self._armed and self._running is None:
            self._unhook()
        return original(*args)

    def _copied(self, original: Callable, *args: Any, **kwargs: Any) -> Any:
        self.listener.copied()
        return original(*args, **kwargs)

    def _clip_norm(self, original: Callable, parameters: Any, max_norm: Any, *args, **kwargs):
        norm = original(parameters, max_norm, *args, **kwargs)
        self.listener.clipped(norm.detach(), float(max_norm))
        return norm

    def _clip_value(self, original: Callable, parameters: Any, *args: Any, **kwargs: Any) -> None:
        held = [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)
        gradients = [p.grad for p in held if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients).detach()  # before it cuts in place
        original(held, *args, **kwargs)
        self.listener.clipped(norm, float("nan"))

    def _cross_entropy(self, original: Callable, *args: Any, **kwargs: Any) -> Any:
        if len(args) >= 2 and torch.is_grad_enabled() and not self._scoring:
            output, target = args[:2]
            labels = not target.is_floating_point() and target.dim() == output.dim() - 1
            if labels and output.requires_grad:
                self.listener.scores(output.detach(), target.detach())
        self._scoring, outer = True, self._scoring  # inside a mode torch calls it by name again
        try:
            return original(*args, **kwargs)
        finally:
            self._scoring = outer


def _inside_backward() -> bool:
    """Whether autograd is at work in this thread: checkpoints make their part of a pass again."""
    return torch._C._current_graph_task_id() >= 0


def _keywords(module: nn.Module) -> dict[str, Any]:
    """The keyword arguments of the call that runs a global pre-hook, which is not told them.

    They stand in the frame of ``nn.Module._call_impl``; {} where a later torch names it otherwise.
    """
    frame = sys._getframe(2)
    for _ in range(3):
        if frame is None:
            break
        names = frame.f_locals
        if names.get("self") is module and isinstance(names.get("kwargs"), dict):
            return names["kwargs"]
        frame = frame.f_back
    return {}


def forward_again(module: nn.Module, args: Any, kwargs: Any) -> Callable[[], Any]:
    """A function that repeats a call which is about to begin, leaving no trace on the module.

    For use inside a forward pre-hook; global hooks do not see the repetition as a new call.
    """

    def again() -> Any:
        with given_back(module):
            return module(*args, **kwargs)

    return again


@contextlib.contextmanager
def _constructed(hear: Callable[[Optimizer], None]) -> Iterator[None]:
    """Of every optimiser made inside is told."""
    original = Optimizer.__init__

    @functools.wraps(original)
    def init(self: Optimizer, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        hear(self)

    Optimizer.__init__ = init  # type: ignore[method-assign]
    try:
        yield
    finally:
        Optimizer.__init__ = original  # type: ignore[method-assign]
