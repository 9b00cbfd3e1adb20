"""The sizes of signal and gradient at the weighted calls of one pass, and nothing besides.

What a `Recorder` reads of these calls, under the same names, for a small part of its time: no graph
of calls is kept, no sample is copied. Between two products of matrices a line of Python costs many
times what it costs among its like, because everything it needs has left the cache. So while the
pass runs its tensors are only held, and all are reduced in one go at the end of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from sounding.capture import operations
from sounding.capture.compiled import uncompiled
from sounding.capture.graph import is_signal
from sounding.capture.guard import Guard
from sounding.capture.modes import pushed
from sounding.capture.nested import tensors
from sounding.capture.operations import Args, Kwargs
from sounding.capture.origins import Origins
from sounding.capture.recorder import FOLLOWED, Recorder, opened
from sounding.capture.sample import Reduced, measured
from sounding.capture.scope import Scope
from sounding.capture.weighted import weight_of, weighting

SEEN = {*operations.WEIGHTED, *operations.PRODUCTS, *operations.RECURRENT, *operations.PASSING}
HELD = 16 * 2**20  # bytes of a pass that are held, at most


@dataclasses.dataclass(slots=True, eq=False)
class Layer:
    """One weighted call."""

    name: str  # as the recorder names it
    output: Reduced | None = None
    gradient: Reduced | None = None
    arrived: list[torch.Tensor] = dataclasses.field(default_factory=list)  # gradients, till then


class Layers:
    """Takes the place of a `Recorder`, for the passes that come after one that it has `seen`.

    Where all weighted calls went through torch's functions with parameters as weights (`plain`), it
    is enough to stand in for these functions while the model runs (`one_call`), and no module has a
    hook; else a mode goes through all calls, as a recorder does.
    """

    def __init__(self, seen: Recorder) -> None:
        self.model = seen.model
        self.weighted: list[Layer] = []  # calls, in the order in which they ran
        self.cut = False  # another call began before the loss of this one was there
        self._names = defaultdict[tuple[str, int], list[str]](list)  # by function and weight
        parameters = dict(self.model.named_parameters())
        for node in seen.weighted:
            if node.operation in operations.WEIGHTED and node.weight:
                self._names[node.operation, id(parameters[node.weight])].append(node.name)
        self._expected = [node.name for node in seen.weighted]
        self.plain = sum(map(len, self._names.values())) == len(self._expected)
        self._functions = {name for name, _ in self._names}
        self._guarded = Guard()
        self._scope, self._origins = Scope(self.model), Origins(self.model)
        self._calls = Counter[Any]()
        self._ended = False
        self._made: list[tuple[Layer, torch.Tensor, int]] = []  # with versions, to be followed
        self._held: list[tuple[Layer, torch.Tensor]] = []  # to be reduced
        self._bytes = 0
        self._steady: set[str] = set()  # calls whose output was seen not to be overwritten

    @property
    def seconds(self) -> float:
        """Time that was spent on this."""
        return self._guarded.seconds

    @property
    def broken(self) -> bool:
        """Whether it failed too often, and hears nothing any more."""
        return self._guarded.broken

    # -- a pass -----------------------------------------------------------------------------

    def restart(self) -> Layers:
        """Another pass begins."""
        self.weighted, self._made, self._held, self._bytes = [], [], [], 0
        self.cut = self._ended = False
        self._guarded.seconds = 0.0
        self._calls.clear()
        self._scope.restart()
        return self

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Calls made inside are seen; of modules the caller tells by `enter` and `leave`."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(uncompiled())
            stack.callback(self.finish)
            stack.enter_context(pushed(_Mode(self)))
            yield

    @contextlib.contextmanager
    def one_call(self) -> Iterator[None]:
        """The model is called inside, and its layers are heard; only the first call counts."""
        if self._calls[""] and not self._ended:  # before backward, a second one: no part of it
            self.finish()
            self.cut = True
        self._calls[""] += 1
        if self._ended:
            yield
            return
        originals = {name: getattr(functional, name) for name in self._functions}
        try:
            for name, original in originals.items():
                setattr(functional, name, self._standing_in(name, original))
            yield
            self._guarded(self._follow)
        finally:
            for name, original in originals.items():
                setattr(functional, name, original)

    def finish(self) -> None:
        """The forward pass is over."""
        if not self._ended:
            self._ended = True
            self._guarded(self._follow)

    def read(self) -> None:
        """The backward pass is over too: reduce what is still held."""
        self._guarded(self._reduce)
        self.plain = self.plain and {layer.name for layer in self.weighted} >= {*self._expected}

    # -- what is told -----------------------------------------------------------------------

    def inputs(self, batch: Any) -> None:
        """What goes in is of no interest here."""

    def ends_with(self, loss: torch.Tensor) -> None:
        """Nor is the loss."""

    def enter(self, module: nn.Module, args: Any) -> None:
        """`module` begins to run."""
        self._scope.enter(module)

    def leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """`module` is done."""
        if self._scope.running(module):
            self._scope.leave()

    # -- functions --------------------------------------------------------------------------

    def _standing_in(self, name: str, original: Any) -> Any:
        @functools.wraps(original)
        def function(*args: Any, **kwargs: Any) -> Any:
            output = original(*args, **kwargs)
            if not self._ended and torch.is_grad_enabled():
                self._guarded(self._heard, name, args, kwargs, output)
            return output

        return function

    def _heard(self, name: str, args: Args, kwargs: Kwargs, output: torch.Tensor) -> None:
        key = name, id(weight_of(name, args, kwargs)[0])
        names, at = self._names.get(key, ()), self._calls[key]
        self._calls[key] += 1
        if at < len(names):
            self._take(names[at], output)

    def call(self, function: Any, args: Args, kwargs: Kwargs) -> Any:
        """Run `function`, of all that torch has, and follow what it makes if it weighs."""
        name = operations.canonical(getattr(function, "__name__", ""))
        if self._ended or self._guarded.broken:
            return function(*args, **kwargs)
        if name in operations.OPENED and (inside := opened(function)) is not None:
            with _Mode(self):
                return inside(*args, **kwargs)
        output = function(*args, **kwargs)
        if name in SEEN:
            self._guarded(self._after, name, args, kwargs, output)
        return output

    def _after(self, name: str, args: Args, kwargs: Kwargs, output: Any) -> None:
        own = self._origins.parameter
        if name in operations.PASSING:
            both = isinstance(args[0], torch.Tensor) and isinstance(output, torch.Tensor)
            if both and (passed := own(args[0])):
                self._origins.same_parameter(output, passed)
            return
        weighs = weighting(name, args, kwargs, own)
        ours = weighs is not None and (self._scope.inside or own(weighs.weight))
        for tensor in [t for t in tensors(output) if is_signal(t)][:FOLLOWED]:
            # Products of two signals are counted too, for they bear names of the same row.
            label = self._scope.unique(self._scope.label(name))
            if ours:
                self._take(label, tensor)

    # -- tensors ----------------------------------------------------------------------------

    def _take(self, name: str, tensor: torch.Tensor) -> None:
        """`tensor` was made; where nothing is going to overwrite it, it is looked at later."""
        layer = Layer(name)
        self.weighted.append(layer)
        self._bytes += 2 * tensor.nbytes  # with its gradient
        if name in self._steady and self._bytes <= HELD:
            self._made.append((layer, tensor, tensor._version))
            return
        (layer.output,) = measured([tensor.detach()])
        if self._bytes <= HELD:
            self._made.append((layer, tensor, tensor._version))
        self._await(layer, tensor, hold=self._bytes <= HELD)

    def _follow(self) -> None:
        """The call is over: wait for the gradients, learn what is never overwritten."""
        made, self._made = self._made, []
        for layer, tensor, version in made:
            if tensor._version != version:
                self._steady.discard(layer.name)
            elif layer.output is None:
                self._held.append((layer, tensor.detach()))
                self._await(layer, tensor, hold=True)
            else:
                self._steady.add(layer.name)

    def _await(self, layer: Layer, tensor: torch.Tensor, *, hold: bool) -> None:
        if tensor.requires_grad and tensor.grad_fn is not None:
            keep = functools.partial(self._guarded, _keep, layer)
            tensor.register_hook(layer.arrived.append if hold else keep)

    def _reduce(self) -> None:
        held, self._held = self._held, []
        came = [layer for layer in self.weighted if layer.arrived]
        sizes = iter(measured([t for _, t in held] + [layer.arrived[-1] for layer in came]))
        for layer, _ in held:
            layer.output = next(sizes)
        for layer in came:
            layer.gradient = next(sizes)
            layer.arrived.clear()


def _keep(layer: Layer, gradient: torch.Tensor) -> None:
    (layer.gradient,) = measured([gradient])


class _Mode(TorchFunctionMode):
    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.layers = layers

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return self.layers.call(func, args, kwargs or {})
