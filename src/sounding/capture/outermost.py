"""Hear of every call of one model, without hooks: of its inputs, its output and its gradients.

Hooks on modules make every module slow, and one on the model itself would be copied along with it.
So the model's class is given a `__call__` that compares one number, and it is taken away again.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from sounding.capture.nested import tensors

Around = Callable[[], AbstractContextManager[None]]
OUTPUTS = 8  # tensors of one output whose gradients are kept


@dataclasses.dataclass(slots=True, eq=False)
class ModelCall:
    """One call: references to its inputs, and to the gradient that came back to its output."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    random: tuple[torch.Tensor, torch.Tensor | None]  # states of the generators, CPU and CUDA
    autocast: torch.dtype | None  # that the call ran in, None: no automatic casts
    versions: tuple[int, ...]  # of its tensors; an in-place change raises them
    gradients: list[torch.Tensor | None] = dataclasses.field(default_factory=list)
    closed: bool = False  # the step is over, what comes later belongs to no step

    @property
    def bytes(self) -> int:
        """What the inputs hold; the gradients of the outputs come to that."""
        held = (*tensors((self.args, self.kwargs)), *(g for g in self.gradients if g is not None))
        return sum(t.numel() * t.element_size() for t in held) + self.random[0].numel()

    @property
    def whole(self) -> bool:
        """Whether the inputs still are what they were, and a gradient came back."""
        unchanged = versions(self.args, self.kwargs) == self.versions
        return unchanged and any(g is not None for g in self.gradients)

    def follow(self, output: Any) -> None:
        """Keep the gradients that come back to `output`."""
        every = (output,) if isinstance(output, torch.Tensor) else tensors(output)
        made = [t for t in every if t.requires_grad][:OUTPUTS]
        self.gradients = [None] * len(made)
        for at, tensor in enumerate(made):
            tensor.register_hook(self._keeper(at))

    def _keeper(self, at: int) -> Callable[[torch.Tensor], None]:
        def keep(gradient: torch.Tensor) -> None:
            if not self.closed:
                known, new = self.gradients[at], gradient.detach()
                self.gradients[at] = new if known is None else known + new

        return keep


class Outermost:
    """Tells `hear(model, call)` of every call with gradients of the models that were added."""

    def __init__(self, hear: Callable[[nn.Module, ModelCall], None]) -> None:
        self._hear = hear
        self._models: dict[int, nn.Module] = {}
        self._devices: dict[int, torch.device] = {}
        self._around: dict[int, tuple[nn.Module, Around]] = {}
        self._own: dict[type, Any] = {}  # classes with ours, and the `__call__` that they had
        self.seconds = 0.0  # that was spent on it, gradients not counted
        self._inside = False

    def add(self, model: nn.Module) -> None:
        """Hear of this one, from now on."""
        self._models[id(model)] = model
        self._devices[id(model)] = next((p.device for p in model.parameters()), torch.device("cpu"))
        self._patch(type(model))

    def remove(self, model: nn.Module) -> None:
        """Hear no more of it."""
        self._models.pop(id(model), None)
        self._clean(type(model))

    def surround(self, model: nn.Module, around: Around | None) -> None:
        """From now on a call of `model` is made inside of what `around` returns; None: no more."""
        if around is not None:
            self._around[id(model)] = model, around
            self._patch(type(model))
        elif self._around.pop(id(model), None) is not None:
            self._clean(type(model))

    def close(self) -> None:
        """Hear of none any more."""
        self._models.clear()
        self._around.clear()
        for kind in list(self._own):
            self._clean(kind)

    def _patch(self, kind: type) -> None:
        if kind not in self._own:
            self._own[kind] = kind.__dict__.get("__call__")
            kind.__call__ = self._wrapped(kind, self._own[kind])

    def _clean(self, kind: type) -> None:
        """A class of which no model is left is as it was."""
        left = (*self._models.values(), *(model for model, _ in self._around.values()))
        if kind in self._own and not any(type(model) is kind for model in left):
            before = self._own.pop(kind)
            if before is None:
                del kind.__call__
            else:
                kind.__call__ = before

    def _wrapped(self, kind: type, before: Callable | None) -> Callable:
        models, around = self._models, self._around

        def __call__(module: Any, /, *args: Any, **kwargs: Any) -> Any:
            above: Any = super(kind, type(module))
            original = before if before is not None else above.__call__
            heard = id(module) in models or id(module) in around
            outermost = heard and not self._inside and torch.is_grad_enabled()
            if not outermost or torch.compiler.is_compiling():
                return original(module, *args, **kwargs)
            call = self._begun(module, args, kwargs) if id(module) in models else None
            self._inside = True  # a model that calls itself is called once
            try:
                if id(module) in around:
                    with around[id(module)][1]():
                        output = original(module, *args, **kwargs)
                else:
                    output = original(module, *args, **kwargs)
            finally:
                self._inside = False
            if call is not None:
                self._ended(module, call, output)
            return output

        return __call__

    def _begun(self, module: nn.Module, args: Any, kwargs: Any) -> ModelCall | None:
        """A call before it is made; None, and no more calls, where it cannot be noted."""
        began = time.perf_counter()
        try:
            device = self._devices[id(module)]
            now = _random(device), casts(device.type), versions(args, kwargs)
            return ModelCall(args, kwargs, *now)
        except Exception:  # whatever the arguments are, the training goes on
            self.close()
            return None
        finally:
            self.seconds += time.perf_counter() - began

    def _ended(self, module: nn.Module, call: ModelCall, output: Any) -> None:
        began = time.perf_counter()
        try:
            call.follow(output)
            if call.gradients:
                self._hear(module, call)
        except Exception:
            self.close()
        finally:
            self.seconds += time.perf_counter() - began


def versions(args: Any, kwargs: Any) -> tuple[int, ...]:
    """How often each tensor has been changed in place; -1 where that is not counted."""
    if not kwargs and all(type(a) is torch.Tensor for a in args):  # nearly always
        held: Any = args
    else:
        held = tensors((args, kwargs))
    return tuple([-1 if t.is_inference() else t._version for t in held])


def casts(device: str) -> torch.dtype | None:
    """What automatic casts are to at this moment, on a kind of device."""
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def _random(device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    state = torch.get_rng_state()
    return state, torch.cuda.get_rng_state(device) if device.type == "cuda" else None
