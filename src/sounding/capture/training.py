"""See a training loop from outside: models, losses, optimiser steps, with no change to its code.

Everything that is wrapped or hooked stands in this file and is taken off at the end. On a step
that is not measured only the optimiser's step hooks and the wrapper of `backward` run, a few
microseconds.
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

from sounding.capture.compiled import without_hook_warning
from sounding.capture.keep import given_back
from sounding.capture.recorder import Recorder
from sounding.capture.sources import remembered


class Listener:
    """What happens at the events of a training loop; override what is of interest.

    What a listener raises reaches the training: one that only looks must guard itself.
    """

    def call(self, model: nn.Module, args: Any, kwargs: Any) -> Recorder | None:
        """The outermost call of a model in training begins; a Recorder returned here watches it."""

    def loss(self, value: torch.Tensor) -> None:
        """`backward` is called on `value`, which is detached."""

    def scores(self, output: torch.Tensor, target: torch.Tensor) -> None:
        """Cross-entropy of class scores (N, K) and labels (N,) is computed, with gradients on."""

    def before_step(self, optimizer: Optimizer) -> None:
        """Gradients are ready, the parameters not yet changed."""

    def after_step(self, optimizer: Optimizer) -> None:
        """The parameters have been changed."""


class Training:
    """Installs the hooks for one listener; use as ``with Training(listener) as training``."""

    def __init__(self, listener: Listener, *, scores: bool = False) -> None:
        self.listener = listener
        self.optimizers: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        self.parents: weakref.WeakKeyDictionary[nn.Module, weakref.ref[nn.Module]]
        self.parents = weakref.WeakKeyDictionary()
        self._scores = scores
        self._stack = contextlib.ExitStack()
        self._calls: contextlib.ExitStack | None = None
        self._running: tuple[nn.Module, contextlib.ExitStack, Recorder | None] | None = None
        self._asking = False  # the listener is at work, and may call the model itself

    def __enter__(self) -> Training:
        stack = self._stack
        stack.enter_context(without_hook_warning())
        stack.enter_context(remembered())
        stack.enter_context(_constructed(self.optimizers))
        before = register_optimizer_step_pre_hook(lambda o, a, k: self.listener.before_step(o))
        after = register_optimizer_step_post_hook(lambda o, a, k: self.listener.after_step(o))
        stack.callback(before.remove)
        stack.callback(after.remove)
        stack.callback(register_module_module_registration_hook(self._registered).remove)
        stack.enter_context(_patched(torch.autograd, "backward", self._backward))
        if self._scores:
            stack.enter_context(_patched(nn.functional, "cross_entropy", self._cross_entropy))
        return self

    def __exit__(self, *_: object) -> None:
        self.disarm()
        if self._running is not None:  # interrupted in the middle of a forward pass
            self._running[1].close()
        self._stack.close()

    def arm(self) -> None:
        """From now on `listener.call` hears of outermost calls; idle steps should be disarmed."""
        if self._calls is None:
            self._calls = contextlib.ExitStack()
            enter = register_module_forward_pre_hook(self._enter)
            leave = register_module_forward_hook(self._leave, always_call=True)
            self._calls.callback(enter.remove)
            self._calls.callback(leave.remove)

    def disarm(self) -> None:
        """No hook is left on the forward pass."""
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

    # -- the hooks --------------------------------------------------------------------------

    def _registered(self, parent: nn.Module, name: str, child: nn.Module | None) -> None:
        with contextlib.suppress(TypeError):  # modules that cannot be hashed have no root but they
            if child is not None:
                self.parents[child] = weakref.ref(parent)

    def _enter(self, module: nn.Module, args: Any) -> None:
        if self._asking:
            return
        if self._running is not None:
            if self._running[2] is not None:
                self._running[2].enter(module, args)
            return
        if not torch.is_grad_enabled() or not any(p.requires_grad for p in module.parameters()):
            return  # an evaluation; a loss, a frozen metric
        self._asking = True
        try:
            kwargs = _keywords(module)
            recorder = self.listener.call(module, args, kwargs)
        finally:
            self._asking = False
        stack = contextlib.ExitStack()
        self._running = (module, stack, recorder)
        if recorder is not None:
            stack.enter_context(recorder.watching_call(module, args, kwargs))

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._running is None or self._asking:
            return
        outermost, stack, recorder = self._running
        if outermost is module:
            self._running = None
            stack.close()
        elif recorder is not None:
            recorder.leave(module, args, {}, output)

    def _backward(self, original: Callable, tensors: Any, *args: Any, **kwargs: Any) -> Any:
        one = tensors[0] if isinstance(tensors, tuple | list) and len(tensors) == 1 else tensors
        if isinstance(one, torch.Tensor) and one.numel() == 1:
            self.listener.loss(one.detach())
        return original(tensors, *args, **kwargs)

    def _cross_entropy(self, original: Callable, *args: Any, **kwargs: Any) -> Any:
        if len(args) >= 2 and torch.is_grad_enabled():
            output, target = args[:2]
            labels = not target.is_floating_point() and target.dim() == output.dim() - 1
            if labels and output.requires_grad:
                self.listener.scores(output.detach(), target.detach())
        return original(*args, **kwargs)


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
def _constructed(optimizers: weakref.WeakSet[Optimizer]) -> Iterator[None]:
    """Optimisers made inside are remembered."""
    original = Optimizer.__init__

    @functools.wraps(original)
    def init(self: Optimizer, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        optimizers.add(self)

    Optimizer.__init__ = init  # type: ignore[method-assign]
    try:
        yield
    finally:
        Optimizer.__init__ = original  # type: ignore[method-assign]


@contextlib.contextmanager
def _patched(owner: Any, name: str, wrapper: Callable) -> Iterator[None]:
    """`owner.name` goes through `wrapper(original, ...)` inside."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    setattr(owner, name, call)
    try:
        yield
    finally:
        setattr(owner, name, original)
