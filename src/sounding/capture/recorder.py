"""Record one forward and backward pass: every call in order, reduced where it happens.

A `TorchFunctionMode` sees each torch function, also the ones that modules hide (functional
activations, losses, in-place operations, attention); module hooks only say which module is running.
Tensors are followed by identity, so each call knows which calls made its inputs.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode

from sounding.capture import operations
from sounding.capture.compiled import uncompiled
from sounding.capture.graph import Arrival, Graph, is_signal
from sounding.capture.guard import FAILURES, Guard
from sounding.capture.losses import Comparison, comparison
from sounding.capture.modes import pushed
from sounding.capture.nested import tensors
from sounding.capture.node import Node
from sounding.capture.origins import CONSTANT, Origins
from sounding.capture.roles import merge_gate, role_of
from sounding.capture.scope import Scope
from sounding.capture.sources import user_line
from sounding.capture.weighted import Weighting, weigh, weighting

__all__ = ["FAILURES", "Node", "Recorder"]

FOLLOWED = 8  # outputs of one call that become calls of their own; a split may have many


class _Before(NamedTuple):
    """What is known about a call before it runs; it may overwrite its inputs."""

    name: str
    arrivals: list[Arrival]
    strange: bool  # whether an input is of unknown origin
    severed: int  # the call that an input was computed from without a gradient, -1: none
    activation: str | None
    preactivation: torch.Tensor | None


class Recorder:
    """Collects the calls of one pass over `model`: run it in :meth:`watching`, then read `nodes`.

    It never raises into the pass that it watches: its own failures are kept in `failures`, and
    after three it stops recording.
    """

    def __init__(self, model: nn.Module, *, prefix: str = "") -> None:
        self.model = model
        self.end = -1  # the call that made the loss, where it is known
        self.compared: Comparison | None = None  # how the loss was called
        self.strangers: dict[str, int] = {}  # calls with a tensor of nobody that wants one
        self.cut = False  # another call began before the loss of this one was there
        self.in_parts = False  # modules of the model are called, but not the model itself
        self._ended = False
        self.scope = Scope(model, prefix)
        self.origins = Origins(model)
        self._guarded = Guard()
        self.graph = Graph(self.scope, self.origins, self._guarded)

    @property
    def nodes(self) -> list[Node]:
        """The calls, in the order in which they ran."""
        return self.graph.nodes

    @property
    def weighted(self) -> list[Node]:
        """Of these the weighted ones."""
        return [node for node in self.nodes if node.role == "weight"]

    @property
    def failures(self) -> list[BaseException]:
        """Its own."""
        return self._guarded.failures

    @property
    def seconds(self) -> float:
        """Time that was spent on recording itself."""
        return self._guarded.seconds

    # -- what the pass is run in ------------------------------------------------------------

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Everything called inside is recorded: a forward pass and the loss after it.

        A compiled model runs uncompiled inside.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(register_module_forward_pre_hook(self.enter).remove)
            # Without the keywords: torch 2.13 forgets to forget a hook that asked for them.
            leave = register_module_forward_hook(self._left, always_call=True)
            stack.callback(leave.remove)
            stack.enter_context(self.listening())
            yield

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """The same without module hooks, for use inside of one.

        It registers none itself, because torch goes through the list of hooks when a module raises.
        The caller tells of every module by `enter` and `leave`, and of the loss by `ends_with`.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(uncompiled())
            stack.callback(self.finish)
            stack.enter_context(pushed(_Mode(self)))
            yield

    def finish(self) -> None:
        """The forward pass is over, the backward pass has not begun; nothing is recorded now."""
        if not self._ended:
            self._ended = True
            self.graph.finish()

    def inputs(self, batch: Any) -> None:
        """Name the tensors in `batch` as what goes in; the first call's arguments are, anyway."""
        self._guarded(self._inputs, batch)

    def _inputs(self, batch: Any) -> None:
        for tensor in tensors(batch):
            if self.origins.maker(tensor) is None:
                self.graph.add_input(tensor)

    def ends_with(self, loss: torch.Tensor) -> None:
        """`loss` is what the backward pass starts from."""
        maker = self._guarded(self.origins.maker, loss)
        self.end = -1 if maker is None else maker
        if self.compared is not None:
            self._guarded(self.compared.ends_with, loss)

    def goes_on(self, module: nn.Module) -> bool:
        """Whether a call of `module` belongs to this pass: a part of the model, after others."""
        return not self._ended and module is not self.model and self.scope.knows(module)

    # -- module hooks -----------------------------------------------------------------------

    def enter(self, module: nn.Module, args: Any) -> None:
        """`module` begins to run."""
        if self.scope.inside:
            self._guarded(self._meet, args)  # what it is given was made outside of it
            self.scope.enter(module)
        elif self.scope.enter(module):
            self.in_parts |= module is not self.model
            self.inputs(args)

    def _meet(self, given: Any) -> None:
        for tensor in tensors(given):
            self.graph.maker(tensor)

    def leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """`module` is done; the output is None where it raised."""
        if not self.scope.running(module):
            return
        if output is not None:
            self._guarded(self._bridge, module, (args, kwargs), output)
        self.scope.leave()

    def _left(self, module: nn.Module, args: Any, output: Any) -> None:
        self.leave(module, args, {}, output)

    def _bridge(self, module: nn.Module, given: Any, output: Any) -> None:
        """A module whose inside was not seen (a script, a foreign kernel) becomes one call."""
        for tensor in tensors(output):
            maker = self.origins.maker(tensor)
            if maker is None and is_signal(tensor):
                known = [m for m in map(self.origins.maker, tensors(given)) if m is not None]
                known = [m for m in known if m != CONSTANT] or self.origins.behind(tensor)
                kind = getattr(module, "original_name", type(module).__name__)
                self.graph.add_opaque(kind, known, tensor, name=self.scope.running_name)
            elif maker is not None and maker != CONSTANT:
                self.graph.wait_for(maker, tensor)

    # -- torch functions --------------------------------------------------------------------

    def call(self, function: Callable, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run `function` and record it where it is of interest."""
        name = operations.canonical(getattr(function, "__name__", ""))
        deaf = self._guarded.busy or self._ended or self._guarded.broken
        if deaf or name in operations.QUESTIONS:
            return function(*args, **kwargs)
        if name in operations.OPENED and (inside := opened(function)) is not None:
            with _Mode(self):
                return inside(*args, **kwargs)
        before = self._guarded(self._before, name, args, kwargs)
        output = function(*args, **kwargs)
        if before is not None:
            self._guarded(self._after, before, args, kwargs, output)
        return output

    def _before(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Before:
        arrivals, strange = [], False
        given = [] if name in operations.FRESH else tensors(args)
        if kwargs:
            given += tensors(tuple(kwargs.values()))
        for tensor in given:
            maker = self.graph.maker(tensor)
            if maker is None:
                strange = True
            elif maker != CONSTANT:
                self.graph.wait_for(maker, tensor)
                arrivals.append((maker, tensor.grad_fn, tensor.output_nr))
        activation = operations.activation_of(name, args, kwargs) if arrivals else None
        preactivation = None
        if activation and args and isinstance(args[0], torch.Tensor):
            preactivation = self.graph.sample_of(args[0])
        severed = self.origins.severed(given)
        return _Before(name, arrivals, strange, severed, activation, preactivation)

    def _after(
        self, before: _Before, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        name = before.name
        unknown = self.compared is None or not self.compared.function
        if unknown and (self.compared is None or operations.is_loss(name)):
            self._compare(name, args, kwargs, output)
        if operations.passes(name, args, kwargs):
            self._pass_on(args, output)
            return
        made = [t for t in tensors(args[0] if name == "setitem" else output) if is_signal(t)]
        known = list(dict.fromkeys(maker for maker, _, _ in before.arrivals))
        weighs = weighting(name, args, kwargs, self.origins.parameter)
        data = weighs.data if weighs is not None and not known else None
        if data is not None and self.origins.maker(data) is None:  # it came by an unseen way
            known = [self.graph.add_input(data)]
        if not made or (not known and name not in operations.WEIGHTED):
            if not before.strange:
                self._set_aside(tensors(output), known, before.severed)
            return
        role = role_of(name, before.activation, weighs, [self.nodes[k] for k in known])
        carrier = self._carrier(role, weighs, args, kwargs)
        for tensor in made[:FOLLOWED]:
            node = self.graph.add(name, role, known, tensor, carrier=carrier)
            self._describe(node, before, weighs, args, kwargs)
            self.graph.observe(node, tensor)
            self.graph.follow(node, before.arrivals, tensor)
        for tensor in made[FOLLOWED:]:
            self.origins.claim(tensor, len(self.nodes) - 1)

    def _compare(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        """Keep the call if it compares the output with a target: a loss, or the start of one."""
        if operations.is_loss(name) or (not self.scope.inside and self.nodes):
            found = comparison(name, args, kwargs, output, self._of_the_model, user_line)
            self.compared = found or self.compared

    def _of_the_model(self, tensor: torch.Tensor) -> int | None:
        """The call of the model that made the tensor; None for a target or a constant."""
        maker = self.origins.maker(tensor)
        made = maker is not None and maker >= 0 and self.nodes[maker].role != "input"
        return maker if made else None

    def _set_aside(self, made: list[torch.Tensor], known: list[int], severed: int) -> None:
        """Claim what carries no signal: constants; indices that were cut from an input stay it.

        Of what was computed from the model's own numbers (by argmax, say) it is noted from which.
        """
        of_inputs = known and all(self.nodes[k].role == "input" for k in known)
        source = max(known, default=severed)
        for tensor in made:
            self.origins.claim(tensor, known[0] if of_inputs else CONSTANT)
            if not of_inputs and source >= 0:
                self.origins.sever(tensor, source)

    def _pass_on(self, args: tuple[Any, ...], output: Any) -> None:
        """The output holds the values of the first argument: its maker made it."""
        first = args[0] if args else None
        if not isinstance(first, torch.Tensor) or not isinstance(output, torch.Tensor):
            return
        maker = self.origins.maker(first)
        if name := self.origins.parameter(first):
            self.origins.same_parameter(output, name)
        elif maker is not None:
            self.origins.claim(output, maker)
            if (severed := self.origins.severed([first])) >= 0:
                self.origins.sever(output, severed)

    def _carrier(
        self, role: str, weighs: Weighting | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> int | None:
        """The maker of the argument that carries the signal, where the operation tells which."""
        carrier = None
        if role == "weight" and weighs is not None:
            carrier = weighs.data
        elif role == "attention":
            carrier = operations.argument("value", 2, None, args, kwargs)
        maker = self.origins.maker(carrier) if isinstance(carrier, torch.Tensor) else None
        return maker if maker is not None and maker >= 0 else None

    def _describe(
        self,
        node: Node,
        before: _Before,
        weighs: Weighting | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        node.severed = before.severed
        if self.scope.inside:
            self._look_for_strangers(node, args, kwargs)
        if node.role == "weight" and weighs is not None:
            weigh(node, weighs, self.origins.parameter)
        elif node.role == "activation" and before.activation is not None:
            node.arguments = operations.activation_arguments(before.name, args, kwargs)
            node.operation, node.preactivation = before.activation, before.preactivation
        elif node.operation == "mul":
            merge_gate(node, self.nodes)
        else:
            node.arguments = operations.settings(before.name, args, kwargs)

    def _look_for_strangers(
        self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Does the call take a tensor that wants a gradient, made by nobody and no parameter?"""
        for tensor in tensors((args, kwargs)):
            if tensor.is_leaf and tensor.requires_grad and self.origins.maker(tensor) is None:
                self.strangers[node.name] = id(tensor)


class _Mode(TorchFunctionMode):
    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return self.recorder.call(func, args, kwargs or {})


def opened(function: Callable) -> Callable | None:
    """`function`, of those that torch writes in Python, made to show what it calls.

    Such a function first asks whether somebody overrides it. A copy of it that is told no runs its
    body in the open; torch's own is left as it is.
    """
    if not isinstance(function, types.FunctionType):
        return None
    world = {**function.__globals__, "has_torch_function": lambda _: False}
    copy = types.FunctionType(
        function.__code__, world, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
