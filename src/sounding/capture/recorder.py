"""Record one forward and backward pass: every call in order, reduced where it happens.

A `TorchFunctionMode` sees each torch function, also the ones that modules hide (functional
activations, losses, in-place operations, attention); module hooks only say which module is running.
Tensors are followed by identity, so each call knows which calls made its inputs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode

from sounding.capture import operations
from sounding.capture.sample import Reduced, norm, reduce, sample

FAILURES = 3  # of its own that a recorder forgives before it switches itself off


@dataclasses.dataclass(slots=True, eq=False)
class Node:
    """One executed call, as it is being recorded."""

    index: int
    name: str
    module: str
    operation: str
    role: str
    inputs: list[int]
    main: int = -1
    depth: int = 0  # weighted calls on the longest way from the input
    arguments: dict[str, float] = dataclasses.field(default_factory=dict)
    weight: str = ""
    bias: str = ""
    fan_in: int = 0
    fan_out: int = 0
    units: int = 0
    weight_second_moment: float = float("nan")
    bias_second_moment: float = float("nan")
    output: Reduced | None = None
    gradient: Reduced | None = None
    preactivation: torch.Tensor | None = None  # sample of an activation's input
    dead: torch.Tensor | None = None  # () units that are zero on the whole batch
    zeros: torch.Tensor | None = None  # () count of exact zeros
    consumers: list[tuple[Node, Any, Any]] = dataclasses.field(default_factory=list)
    contributions: dict[int, Any] = dataclasses.field(default_factory=dict)  # consumer -> norm


class Recorder:
    """Collects the nodes of one pass over `model`; use :meth:`forward`, then read `nodes`.

    It never raises into the pass that it watches: its own failures are counted in `failures`,
    and after three it stops recording.
    """

    def __init__(self, model: nn.Module, *, prefix: str = "") -> None:
        self.model = model
        self.nodes: list[Node] = []
        self.failures: list[BaseException] = []
        self.prefix = prefix
        self._names = {id(m): name for name, m in model.named_modules()}
        self._parameters = {
            id(p): name for name, p in model.named_parameters(remove_duplicate=False)
        }
        self._producers: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}
        self._scope: list[tuple[str, nn.Module]] = []  # names and modules that are running
        self._module_calls: Counter[str] = Counter()
        self._names_used: Counter[str] = Counter()
        self._moments: dict[int, float] = {}

    # -- what the pass is run in ------------------------------------------------------------

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Everything called inside is recorded: a forward pass and the loss after it."""
        with contextlib.ExitStack() as stack:
            before = register_module_forward_pre_hook(self._enter)
            stack.callback(before.remove)
            stack.callback(register_module_forward_hook(self._leave, always_call=True).remove)
            stack.enter_context(_Mode(self))
            yield

    @contextlib.contextmanager
    def watching_call(self, module: nn.Module, args: Any, kwargs: Any) -> Iterator[None]:
        """The same inside one call of the outermost module that has already begun."""
        with self.watching():
            self._guarded(self.inputs, (args, kwargs))
            self._enter(module, args)
            try:
                yield
            finally:
                self._leave(module, args, None)

    # -- module hooks -----------------------------------------------------------------------

    def _enter(self, module: nn.Module, args: Any) -> None:
        name = self._names.get(id(module))
        if name is None:
            return
        if not self._scope:
            self._guarded(self.inputs, args)
        full = ".".join(part for part in (self.prefix, name) if part)
        self._module_calls[full] += 1
        count = self._module_calls[full]
        self._scope.append((full if count == 1 else f"{full}@{count}", module))

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if not self._scope or self._scope[-1][1] is not module:
            return
        name, _ = self._scope.pop()
        if output is not None:
            self._guarded(self._bridge, name, module, args, output)

    def inputs(self, batch: Any) -> None:
        """Name the tensors in `batch` as what goes in; the first call's arguments are, anyway."""
        for tensor in _tensors(batch):
            if self._producer(tensor) is None:
                node = self._node("input", "input", "input", [])
                if tensor.is_floating_point():
                    node.output = reduce(tensor)
                self._claim(tensor, node)

    def _bridge(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        """A module whose inside was not seen (a custom function, a script) becomes one call."""
        known = [p for p in map(self._producer, _tensors(args)) if p is not None]
        for tensor in _tensors(output):
            if known and self._producer(tensor) is None and tensor.is_floating_point():
                node = self._node(name, type(module).__name__, "other", known)
                self._observe(node, tensor)

    # -- torch functions --------------------------------------------------------------------

    def call(self, function: Callable, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run `function` and record it where it is of interest."""
        name = operations.base_name(getattr(function, "__name__", ""))
        if name in operations.QUESTIONS or len(self.failures) >= FAILURES:
            return function(*args, **kwargs)
        activation = operations.activation_of(name, args, kwargs)
        before = None
        if activation and args and isinstance(args[0], torch.Tensor):
            with torch.no_grad():  # before the call: an in-place activation destroys its input
                before = self._guarded(lambda: sample(args[0].detach()))
        known = [p for p in map(self._producer, _tensors((args, kwargs))) if p is not None]
        output = function(*args, **kwargs)
        if known or name in operations.WEIGHTED:
            self._guarded(self._record, name, activation, before, known, args, kwargs, output)
        return output

    def _record(
        self,
        name: str,
        activation: str | None,
        before: torch.Tensor | None,
        known: list[int],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Any,
    ) -> None:
        if known and operations.passes(name, args, kwargs):
            if isinstance(output, torch.Tensor):
                self._claim(output, self.nodes[known[0]])
            return
        outputs = [t for t in _tensors(output) if t.is_floating_point()]
        if not outputs:
            return
        role = self._role(name, activation, known, args, kwargs)
        label = self._label(name)
        for tensor in outputs[:8]:  # a split into many parts is followed for the first eight
            node = self._node(label, name, role, known)
            self._link(node, known, args, kwargs, tensor)
            if role == "weight":
                self._weigh(node, name, args, kwargs)
            if role == "activation" and activation is not None:
                node.arguments = operations.activation_arguments(name, args, kwargs)
                node.operation, node.preactivation = activation, before
            self._observe(node, tensor)

    def _role(
        self,
        name: str,
        activation: str | None,
        known: list[int],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> str:
        if not self._scope:
            return "loss"
        if name in operations.WEIGHTED or (
            name in operations.PRODUCTS and self._own_factor(args) is not None
        ):
            return "weight"
        if activation:
            return "activation"
        if name in operations.NORMALISATIONS:
            return "normalisation"
        if name in operations.ADDITIONS and len(known) > 1:
            return "skip"
        return "attention" if name in operations.ATTENTION else "other"

    def _own_factor(self, args: tuple[Any, ...]) -> torch.Tensor | None:
        """The factor of a matrix product that is a parameter of the model."""
        for tensor in _tensors(args):
            if id(tensor) in self._parameters and tensor.dim() >= 2:
                return tensor
        return None

    def _weigh(self, node: Node, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if name in operations.WEIGHTED:
            weight, bias = operations.weight_of(name, args, kwargs)
        else:
            weight, bias = self._own_factor(args), None
        if weight is None:
            return
        node.weight = self._parameters.get(id(weight), "")
        node.weight_second_moment = self._second_moment(weight)
        node.fan_in, node.fan_out, node.units = _fans(name, weight, args)
        if bias is not None:
            node.bias = self._parameters.get(id(bias), "")
            node.bias_second_moment = self._second_moment(bias)
        else:
            node.bias_second_moment = 0.0

    def _second_moment(self, tensor: torch.Tensor) -> float:
        if id(tensor) not in self._moments:
            with torch.no_grad():
                self._moments[id(tensor)] = float(norm(tensor.detach())) ** 2 / tensor.numel()
        return self._moments[id(tensor)]

    # -- nodes and the graph between them ---------------------------------------------------

    def _node(self, label: str, operation: str, role: str, known: list[int]) -> Node:
        self._names_used[label] += 1
        count = self._names_used[label]
        module = self._scope[-1][0].split("@")[0] if self._scope else ""
        inputs = list(dict.fromkeys(known))
        node = Node(
            index=len(self.nodes),
            name=label if count == 1 else f"{label}.{count}",
            module=module,
            operation=operation,
            role=role,
            inputs=inputs,
        )
        if inputs:
            node.main = max(inputs, key=lambda i: (self.nodes[i].depth, i))
            node.depth = self.nodes[node.main].depth
        node.depth += role == "weight"
        self.nodes.append(node)
        return node

    def _label(self, operation: str) -> str:
        if not self._scope:
            return operation
        name, module = self._scope[-1]
        own = type(module).__module__.startswith("torch.nn") and not any(module.children())
        return name if own and name else f"{name}#{operation}"

    def _link(
        self, node: Node, known: list[int], args: Any, kwargs: Any, output: torch.Tensor
    ) -> None:
        """Tell the producers who uses them; where one has several users, split its gradient."""
        for tensor in _tensors((args, kwargs)):
            producer = self._producer(tensor)
            if producer is None or producer not in known:
                continue
            users = self.nodes[producer].consumers
            users.append((node, output.grad_fn, tensor.grad_fn))
            if len(users) == 2:
                _split_gradient(self.nodes[producer], *users[0])
            if len(users) >= 2:
                _split_gradient(self.nodes[producer], *users[-1])

    def _observe(self, node: Node, tensor: torch.Tensor) -> None:
        with torch.no_grad():
            node.output = reduce(tensor, sampled=node.role not in ("other", "loss"))
            if node.role == "activation" and node.operation in operations.RECTIFIERS:
                node.zeros = tensor.numel() - torch.count_nonzero(tensor.detach())
                node.dead, node.units = _dead_units(tensor.detach(), self._unit_axis(node, tensor))
        self._claim(tensor, node)
        if tensor.requires_grad:
            tensor.register_hook(_GradientHook(node))

    def _unit_axis(self, node: Node, tensor: torch.Tensor) -> int:
        """Channels come second after a convolution, last after everything else."""
        at = node.main
        while at >= 0:
            operation = self.nodes[at].operation
            if "conv" in operation or operation == "batch_norm":
                return 1
            if self.nodes[at].role == "weight":
                break
            at = self.nodes[at].main
        return 1 if tensor.dim() in (2, 4, 5) else tensor.dim() - 1

    def _producer(self, tensor: torch.Tensor) -> int | None:
        entry = self._producers.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else None

    def _claim(self, tensor: torch.Tensor, node: Node) -> None:
        self._producers[id(tensor)] = (weakref.ref(tensor), node.index)

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


class _GradientHook:
    """Reduces the gradient that arrives at a call's output; keeps only the numbers."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def __call__(self, gradient: torch.Tensor) -> None:
        with contextlib.suppress(Exception), torch.no_grad():
            self.node.gradient = reduce(gradient, sampled=self.node.role not in ("other", "loss"))


def _split_gradient(producer: Node, consumer: Node, user_fn: Any, made_by: Any) -> None:
    """Record what one consumer alone sends back to a tensor that several consume."""
    found = _edge(user_fn, made_by)
    if found is None:
        return
    function, position = found

    def keep(inputs: tuple[torch.Tensor | None, ...], _: Any) -> None:
        gradient = inputs[position]
        if gradient is not None:
            with contextlib.suppress(Exception), torch.no_grad():
                producer.contributions[consumer.index] = norm(gradient.detach())

    function.register_hook(keep)


def _edge(user_fn: Any, made_by: Any, reach: int = 5) -> tuple[Any, int] | None:
    """The autograd node within `reach` of `user_fn` that feeds `made_by`, and at which place."""
    level = [user_fn]
    for _ in range(reach):
        following = []
        for function in level:
            if function is None or made_by is None:
                continue
            for position, (below, _) in enumerate(function.next_functions):
                if below is made_by:
                    return function, position
                following.append(below)
        level = following
    return None


def _dead_units(tensor: torch.Tensor, axis: int) -> tuple[torch.Tensor, int]:
    """How many units are zero on the whole batch, and how many there are."""
    if tensor.dim() == 0:
        return (tensor == 0).sum(), 1
    others = [d for d in range(tensor.dim()) if d != axis]
    largest = tensor.amax(dim=others) if others else tensor
    return (largest == 0).sum(), largest.numel()


def _fans(operation: str, weight: torch.Tensor, args: tuple[Any, ...]) -> tuple[int, int, int]:
    """Summed inputs per output unit, outputs fed per input unit, and output units."""
    shape = tuple(weight.shape)
    if operation.startswith("embedding"):
        return 1, shape[1], shape[1]  # a row is looked up, nothing is summed
    if operation.startswith("conv"):
        groups = next((a for a in args[6:7] if isinstance(a, int)), 1)
        field = weight[0][0].numel()
        transposed = "transpose" in operation
        if transposed:
            return shape[0] // groups * field, shape[1] * field, shape[1] * groups
        return shape[1] * field, shape[0] // groups * field, shape[0]
    if operation == "linear":
        return shape[1], shape[0], shape[0]
    return shape[-2], shape[-1], shape[-1]  # x @ W


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in arguments, through tuples, lists and dicts."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
