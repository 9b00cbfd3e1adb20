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
from sounding.capture.nested import tensors
from sounding.capture.node import Node
from sounding.capture.origins import CONSTANT, Origins
from sounding.capture.returning import Edge, split_gradients, watch_gradient
from sounding.capture.roles import role_of, settle
from sounding.capture.sample import norm, reduce, sample
from sounding.capture.scope import Scope
from sounding.capture.units import peaks
from sounding.capture.weighted import Weighting, weighting

__all__ = ["FAILURES", "Node", "Recorder"]

FAILURES = 3  # of its own that a recorder forgives before it switches itself off
FOLLOWED = 8  # outputs of one call that become calls of their own; a split may have many


class _Before(NamedTuple):
    """What is known about a call before it runs; it may overwrite its inputs."""

    name: str
    arrivals: list[tuple[int, Any, int]]  # maker of an input, its autograd node and place there
    strange: bool  # whether an input is of unknown origin
    activation: str | None
    preactivation: torch.Tensor | None


class Recorder:
    """Collects the calls of one pass over `model`: run it in :meth:`watching`, then read `nodes`.

    It never raises into the pass that it watches: its own failures are kept in `failures`, and
    after three it stops recording.
    """

    def __init__(self, model: nn.Module, *, prefix: str = "") -> None:
        self.model = model
        self.nodes: list[Node] = []
        self.failures: list[BaseException] = []
        self.end = -1  # the call that made the loss, where it is known
        self.opaque: list[str] = []  # calls whose inside was not seen
        self.scope = Scope(model, prefix)
        self.origins = Origins(model)
        self._edges: list[Edge] = []
        self._returning: set[int] = set()  # calls whose gradient is waited for

    # -- what the pass is run in ------------------------------------------------------------

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Everything called inside is recorded: a forward pass and the loss after it.

        A compiled model runs uncompiled inside.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(register_module_forward_pre_hook(self.enter).remove)
            leave = register_module_forward_hook(self.leave, with_kwargs=True, always_call=True)
            stack.callback(leave.remove)
            stack.enter_context(self._listening())
            yield

    @contextlib.contextmanager
    def watching_call(self, module: nn.Module, args: Any, kwargs: Any) -> Iterator[None]:
        """The same inside one call of the outermost module that has already begun.

        For use in a module hook: it registers none itself, because torch goes through the list of
        hooks when a module raises. The caller tells of inner modules by `enter` and `leave`.
        """
        with self._listening():
            self._guarded(self.inputs, (args, kwargs))
            self.enter(module, args)
            try:
                yield
            finally:
                self.leave(module, args, kwargs, None)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(uncompiled())
            stack.callback(self._finish)
            stack.enter_context(_Mode(self))
            yield

    def inputs(self, batch: Any) -> None:
        """Name the tensors in `batch` as what goes in; the first call's arguments are, anyway."""
        for tensor in tensors(batch):
            if self.origins.maker(tensor) is None:
                self._input(tensor)

    def ends_with(self, loss: torch.Tensor) -> None:
        """`loss` is what the backward pass starts from."""
        maker = self._guarded(self.origins.maker, loss)
        self.end = -1 if maker is None else maker

    def _finish(self) -> None:
        """Between the forward and the backward pass; the autograd graph is let go of."""
        self._guarded(settle, self.nodes)
        self._guarded(split_gradients, self.nodes, self._edges, self._guarded)
        self._edges = []
        self.origins.forget()

    # -- module hooks -----------------------------------------------------------------------

    def enter(self, module: nn.Module, args: Any) -> None:
        """`module` begins to run."""
        outermost = not self.scope.inside
        if self.scope.enter(module) and outermost:
            self._guarded(self.inputs, args)

    def leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any = None) -> None:
        """`module` is done; without an output where it raised (then torch leaves out `kwargs`)."""
        if not self.scope.running(module):
            return
        if output is not None:
            self._guarded(self._bridge, module, (args, kwargs), output)
        self.scope.leave()

    def _bridge(self, module: nn.Module, given: Any, output: Any) -> None:
        """A module whose inside was not seen (a script, a foreign kernel) becomes one call."""
        for tensor in tensors(output):
            maker = self.origins.maker(tensor)
            if maker is None and _is_signal(tensor):
                known = [m for m in map(self.origins.maker, tensors(given)) if m is not None]
                known = [m for m in known if m != CONSTANT] or self.origins.behind(tensor)
                name = getattr(module, "original_name", type(module).__name__)
                self._opaque(name, tensor, known, whole=True)
            elif maker is not None and maker >= 0:
                self._wait_for(maker, tensor)

    # -- torch functions --------------------------------------------------------------------

    def call(self, function: Callable, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run `function` and record it where it is of interest."""
        name = operations.canonical(getattr(function, "__name__", ""))
        if name in operations.QUESTIONS or len(self.failures) >= FAILURES:
            return function(*args, **kwargs)
        if name in operations.OPENED and (inside := _opened(function)) is not None:
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
            maker = self.origins.maker(tensor)
            if maker is None:
                maker = self._made_unseen(tensor)
            if maker is None:
                strange = True
            elif maker != CONSTANT:
                self._wait_for(maker, tensor)
                arrivals.append((maker, tensor.grad_fn, tensor.output_nr))
        activation = operations.activation_of(name, args, kwargs) if arrivals else None
        preactivation = None
        if activation and args and isinstance(args[0], torch.Tensor):
            preactivation = self._sample_of(args[0])
        return _Before(name, arrivals, strange, activation, preactivation)

    def _sample_of(self, tensor: torch.Tensor) -> torch.Tensor:
        """A sample of the tensor as it is now: its maker's, unless it was overwritten since."""
        maker = self.origins.maker(tensor)
        if maker is not None and maker >= 0:
            node = self.nodes[maker]
            kept = node.output.sample if node.output is not None else None
            if kept is not None and node.version == _version(tensor):
                return kept
        return sample(tensor)

    def _after(
        self, before: _Before, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        name = before.name
        if operations.passes(name, args, kwargs):
            self._pass_on(args, output)
            return
        made = [t for t in tensors(args[0] if name == "setitem" else output) if _is_signal(t)]
        known = list(dict.fromkeys(maker for maker, _, _ in before.arrivals))
        weighs = weighting(name, args, kwargs, self.origins.parameter)
        if weighs is not None and not known and self._is_strange(weighs.data):
            known = [self._input(weighs.data).index]
        if not known and weighs is None:
            if not before.strange:  # nothing of the input is in it
                for tensor in made:
                    self.origins.claim(tensor, CONSTANT)
            return
        role = role_of(name, before.activation, weighs, [self.nodes[k] for k in known])
        for tensor in made[:FOLLOWED]:
            node = self._node(name, role, known, self._carrier(role, weighs, args, kwargs), tensor)
            self._describe(node, before, weighs, args, kwargs)
            self._observe(node, tensor)
            self._follow(node, before, tensor)
        for tensor in made[FOLLOWED:]:
            self.origins.claim(tensor, len(self.nodes) - 1)

    def _pass_on(self, args: tuple[Any, ...], output: Any) -> None:
        """The output holds the values of the first argument: its maker made it."""
        if not args or not isinstance(output, torch.Tensor) or not isinstance(args[0], torch.Tensor):
            return
        maker = self.origins.maker(args[0])
        if name := self.origins.parameter(args[0]):
            self.origins.same_parameter(output, name)
        elif maker is not None:
            self.origins.claim(output, maker)

    # -- nodes ------------------------------------------------------------------------------

    def _node(
        self,
        operation: str,
        role: str,
        known: list[int],
        carrier: int | None,
        tensor: torch.Tensor,
        *,
        whole: bool = False,
    ) -> Node:
        node = Node(
            index=len(self.nodes),
            name=self.scope.name(operation, whole=whole),
            module=self.scope.module,
            operation=operation,
            role=role,
            inputs=known,
            inside=self.scope.inside,
            numel=tensor.numel(),
        )
        node.ancestors = 1 << node.index
        for index in known:
            node.ancestors |= self.nodes[index].ancestors
            self.nodes[index].consumers.append(node.index)
        if known:
            node.main = self._main(role, known, node.numel) if carrier is None else carrier
            node.depth = self.nodes[node.main].depth
        node.depth += role == "weight"
        self.nodes.append(node)
        return node

    def _main(self, role: str, known: list[int], numel: int) -> int:
        """The input that carries the signal: of the output's size, behind most weights, latest.

        The size tells a gate, a mask or a squeezed branch from what it is applied to.
        """
        same = [k for k in known if self.nodes[k].numel == numel]
        chosen = known if role == "loss" or not same else same
        return max(chosen, key=lambda k: (self.nodes[k].depth, k))

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
        if node.role == "weight" and weighs is not None:
            self._weigh(node, weighs)
        elif node.role == "activation" and before.activation is not None:
            node.arguments = operations.activation_arguments(before.name, args, kwargs)
            node.operation, node.preactivation = before.activation, before.preactivation
        elif node.operation == "mul":
            self._gate(node)

    def _weigh(self, node: Node, weighs: Weighting) -> None:
        node.fan_in, node.fan_out, node.units = weighs.fan_in, weighs.fan_out, weighs.units
        node.weight = self.origins.parameter(weighs.weight)
        node.others = tuple(self.origins.parameter(w) for w in weighs.others)
        if not node.weight:  # of the model's own ones `finish` knows the size
            node.weight_second_moment = _mean_square(weighs.weight)
        if weighs.bias is None:
            node.bias_second_moment = 0.0
        else:
            node.bias = self.origins.parameter(weighs.bias)
            if not node.bias:
                node.bias_second_moment = _mean_square(weighs.bias)

    def _gate(self, node: Node) -> None:
        """x sigmoid(x), written by hand, is one activation (SiLU), and its sigmoid is none."""
        for index in node.inputs:
            gate = self.nodes[index]
            whole = operations.GATES.get(gate.operation)
            if gate.role == "activation" and whole and gate.main in node.inputs:
                node.role, node.operation, node.main = "activation", whole, gate.main
                node.preactivation, gate.preactivation = gate.preactivation, None
                gate.role, gate.peaks = "other", None
                return

    def _observe(self, node: Node, tensor: torch.Tensor) -> None:
        node.output = reduce(tensor, sampled=node.role != "loss")
        node.version = _version(tensor)
        if node.role == "activation" and node.operation in operations.RECTIFIERS:
            node.peaks = peaks(node, self.nodes, tensor)
            node.units = node.peaks.numel()
        self.origins.claim(tensor, node.index)
        self._wait_for(node.index, tensor)

    def _follow(self, node: Node, before: _Before, tensor: torch.Tensor) -> None:
        """Remember how the call uses the one before it on the main path."""
        for maker, function, place in before.arrivals:
            if maker == node.main:
                self._edges.append(Edge(maker, node.index, tensor.grad_fn, function, place))

    def _wait_for(self, index: int, tensor: torch.Tensor) -> None:
        """Watch for the gradient, at the first of the call's tensors that is in the graph."""
        if index not in self._returning and watch_gradient(
            self.nodes[index], tensor, self._guarded
        ):
            self._returning.add(index)

    def _input(self, tensor: torch.Tensor) -> Node:
        node = self._node("input", "input", [], None, tensor)
        node.rows = tensor.shape[0] if tensor.dim() else 1
        if _is_signal(tensor):
            node.output = reduce(tensor)
            node.version = _version(tensor)
        self.origins.claim(tensor, node.index)
        return node

    def _is_strange(self, tensor: torch.Tensor | None) -> bool:
        return tensor is not None and self.origins.maker(tensor) is None

    def _made_unseen(self, tensor: torch.Tensor) -> int | None:
        """An unknown tensor with a history was made by something that torch does not show."""
        if tensor.grad_fn is None or not _is_signal(tensor):
            return None
        known = self.origins.behind(tensor)
        if not known:
            return None
        return self._opaque(tensor.grad_fn.name().removesuffix("Backward"), tensor, known)

    def _opaque(
        self, operation: str, tensor: torch.Tensor, known: list[int], *, whole: bool = False
    ) -> int:
        known = list(dict.fromkeys(known))
        node = self._node(operation, "other", known, None, tensor, whole=whole)
        self.opaque.append(node.name)
        self._observe(node, tensor)
        return node.index

    def _guarded(self, function: Callable, *args: Any) -> Any:
        if len(self.failures) >= FAILURES:
            return None
        try:
            return function(*args)
        except Exception as error:  # an observer never kills the pass that it watches
            self.failures.append(error)
            return None


class _Mode(TorchFunctionMode):
    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func, types, args=(), kwargs=None):  # noqa: D105
        return self.recorder.call(func, args, kwargs or {})


def _opened(function: Callable) -> Callable | None:
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


def _mean_square(tensor: torch.Tensor) -> float:
    return float(norm(tensor)) ** 2 / max(tensor.numel(), 1)


def _is_signal(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version
