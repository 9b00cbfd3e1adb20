"""Permute the hidden units of one network so that its weights lie near another's.

Weight matching, algorithm 1 of Ainsworth et al. 2022 (arXiv:2209.04836): one group of units after
the other is given the permutation that maximises the inner product of the weights that touch it, a
linear assignment problem, until none changes. Which units belong together is read from the graph:
element-wise layers, pooling and normalisation pass a group on, a sum joins two of them, and
whatever is not understood keeps its units where they are.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional as F

PASSED_ON = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid,
    nn.Softplus, nn.Hardtanh, nn.Hardswish, nn.Mish, nn.Dropout, nn.Dropout1d, nn.Dropout2d,
    nn.Identity, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
FUNCTIONS = {
    F.relu, F.leaky_relu, F.elu, F.gelu, F.silu, F.softplus, F.dropout, F.max_pool2d, F.avg_pool2d,
    F.adaptive_avg_pool2d, F.tanh, F.sigmoid, torch.relu, torch.tanh, torch.sigmoid, torch.sin,
}  # fmt: skip
METHODS = {"relu", "tanh", "sigmoid", "relu_", "contiguous"}
SUMS = {operator.add, operator.iadd, operator.sub, operator.mul, torch.add, torch.mul, torch.sub}
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.modules.batchnorm._BatchNorm,)


class _Units:
    """A group of units that are permuted together; joined groups share a root."""

    def __init__(self, size: int) -> None:
        self.size, self.parent, self.fixed = size, self, False
        self.touched: list[tuple[str, int]] = []  # (name of a tensor, its axis)

    def root(self) -> _Units:
        unit = self
        while unit.parent is not unit:
            unit = unit.parent
        return unit


@dataclasses.dataclass(frozen=True)
class Group:
    """Units that are permuted together.

    Attributes:
        size: How many.
        touched: Names of tensors with the axis along which the units lie; an axis that is longer
            than `size` holds a block of entries for each unit (an image that was flattened).
    """

    size: int
    touched: tuple[tuple[str, int], ...]


def groups(model: nn.Module) -> list[Group]:
    """The hidden units that can be permuted without a change of the model's function.

    Raises:
        ValueError: If the model's graph cannot be read.
    """
    try:
        graph = fx.Tracer().trace(model)
    except Exception as error:  # tracing runs the model's own code
        raise ValueError(
            f"the units of {type(model).__name__} cannot be matched, as its graph cannot be read "
            f"({type(error).__name__}: {str(error).splitlines()[0][:100]}); pass match=False"
        ) from error
    walk = _Walk(model)
    for node in graph.nodes:
        walk.visit(node)
    found: dict[int, list[tuple[str, int]]] = {}
    roots = {}
    for units in walk.every:
        root = units.root()
        roots[id(root)] = root
        found.setdefault(id(root), []).extend(units.touched)
    return [
        Group(roots[key].size, tuple(dict.fromkeys(touched)))
        for key, touched in found.items()
        if not roots[key].fixed and roots[key].size > 1
    ]


class _Walk:
    """Follows the units from node to node; a value without known units is None."""

    def __init__(self, model: nn.Module) -> None:
        self.modules = dict(model.named_modules())
        self.values: dict[fx.Node, _Units | None] = {}
        self.outputs: dict[str, _Units] = {}
        self.every: list[_Units] = []

    def visit(self, node: fx.Node) -> None:
        """Give the node's value its units."""
        given = [self.values.get(n) for n in node.all_input_nodes]
        if node.op == "call_module":
            self.values[node] = self._module(str(node.target), given)
        elif node.op in ("call_function", "call_method"):
            self.values[node] = self._function(node, given)
        else:  # inputs, parameters used alone, the output
            self._fix(given)
            self.values[node] = None

    def _module(self, name: str, given: list[_Units | None]) -> _Units | None:
        module, one = self.modules[name], given[0] if len(given) == 1 else None
        if isinstance(module, PASSED_ON) or (
            isinstance(module, nn.Flatten) and module.start_dim == 1
        ):
            return one
        plain = isinstance(module, nn.Linear) or (
            isinstance(module, CONVOLUTIONS) and module.groups == 1
        )
        if plain:
            if one is not None:
                one.touched.append((f"{name}.weight", 1))
            return self._made(name, module)
        if isinstance(module, (*NORMS, nn.LayerNorm)) and one is not None:
            if isinstance(module, nn.LayerNorm) and module.normalized_shape != (one.size,):
                self._fix(given)
                return None
            one.touched += [
                (f"{name}.{key}", 0)
                for key in ("weight", "bias", "running_mean", "running_var")
                if getattr(module, key, None) is not None
            ]
            return one
        self._fix(given)
        return None

    def _made(self, name: str, module: Any) -> _Units:
        """The units that a layer gives out; the same ones each time it is called."""
        if name not in self.outputs:
            units = _Units(module.weight.shape[0])
            units.touched.append((f"{name}.weight", 0))
            if module.bias is not None:
                units.touched.append((f"{name}.bias", 0))
            self.outputs[name] = units
            self.every.append(units)
        return self.outputs[name]

    def _function(self, node: fx.Node, given: list[_Units | None]) -> _Units | None:
        target, numbers = node.target, [a for a in node.args[1:] if not isinstance(a, fx.Node)]
        if len(given) == 1:
            flat = target in (torch.flatten, "flatten") and numbers[:1] == [1]
            mean = target in (torch.mean, "mean") and numbers[:1] in (
                [(2, 3)],
                [[2, 3]],
                [(-2, -1)],
            )
            known = target in FUNCTIONS or target in METHODS
            if known or flat or mean or (target in SUMS and _scalars(numbers)):
                return given[0]
        one, other = (*given, None, None)[:2]
        if target in SUMS and len(given) == 2 and one is not None and other is not None:
            return self._joined(one, other)
        self._fix(given)
        return None

    def _joined(self, one: _Units, other: _Units) -> _Units | None:
        first, second = one.root(), other.root()
        if first.size != second.size:
            self._fix([one, other])
            return None
        if first is not second:
            second.parent = first
            first.fixed |= second.fixed
        return one

    def _fix(self, given: Iterable[_Units | None]) -> None:
        for units in given:
            if units is not None:
                units.root().fixed = True


def _scalars(values: list[Any]) -> bool:
    return all(isinstance(v, int | float) for v in values)


def matched(
    model: nn.Module, target: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor],
    *, seed: int = 0, rounds: int = 100,
) -> tuple[dict[str, torch.Tensor], int]:  # fmt: skip
    """`state` with its hidden units permuted to lie near `target`, and how many units moved.

    The function that `state` computes stays the same. Each permutation is found by
    ``scipy.optimize.linear_sum_assignment``: cubic in the number of units of a group.

    Raises:
        ValueError: If the model's graph cannot be read.
    """
    from scipy.optimize import linear_sum_assignment

    found = groups(model)
    state = {name: torch.as_tensor(value).detach().clone() for name, value in state.items()}
    where = {id(group): torch.arange(group.size) for group in found}
    generator = np.random.default_rng(seed)
    for _ in range(rounds):
        changed = False
        for i in generator.permutation(len(found)):
            group = found[i]
            gain = _similarity(group, target, state)
            order = torch.from_numpy(linear_sum_assignment(gain.numpy(), maximize=True)[1])
            better = gain[torch.arange(group.size), order].sum() - gain.diagonal().sum()
            if float(better) > 1e-9 * float(gain.abs().sum()):
                _permute(group, state, order)
                where[id(group)] = where[id(group)][order]
                changed = True
        if not changed:
            break
    moved = sum(int((w != torch.arange(len(w))).sum()) for w in where.values())
    return state, moved


def _similarity(
    group: Group, target: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """(size, size) inner products of what touches unit i of `target` and unit j of `state`."""
    total = torch.zeros(group.size, group.size, dtype=torch.float64)
    for name, axis in group.touched:
        if name in target and not name.endswith(("running_mean", "running_var")):
            one, other = (
                _by_unit(t[name], axis, group.size).double().cpu() for t in (target, state)
            )
            total += one @ other.T
    return total


def _by_unit(tensor: torch.Tensor, axis: int, size: int) -> torch.Tensor:
    """(size, rest) a row a unit, blocks of entries of a unit together."""
    return torch.as_tensor(tensor).detach().movedim(axis, 0).reshape(size, -1)


def _permute(group: Group, state: dict[str, torch.Tensor], order: torch.Tensor) -> None:
    for name, axis in group.touched:
        if name not in state:
            continue
        value = state[name].movedim(axis, 0)
        block = value.reshape(group.size, -1)[order.to(value.device)]
        state[name] = block.reshape(value.shape).movedim(0, axis).contiguous()
