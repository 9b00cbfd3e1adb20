"""The output of a model for one batch, linear in the parameters: J v, J'u, and the loss behind it.

J, (m, n), is the derivative of the output's m numbers by the n parameters. J'u is a backward pass.
J v is a backward pass through the graph of that one, as J'u is linear in u (the "double backward
trick", Townsend 2017); or forward mode; or a central difference of outputs.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from typing import Any, cast

import torch
from torch import nn

from sounding.curvature.backward import Backward
from sounding.curvature.products import (
    SINGLE_STEPS,
    STEPS,
    Product,
    backward,
    differenced,
    saved_bytes,
)
from sounding.curvature.recomputed import Packing, packing, recomputed
from sounding.curvature.setting import Subject, widened
from sounding.curvature.shortcuts import Shortcuts
from sounding.objective import Batch, as_objective
from sounding.train import explained

METHODS = {  # of J v
    "kept": "backward passes through a kept graph of the output",
    "double": "backward passes through the output, computed anew",
    "forward": "forward mode, and backward passes",
    "difference": "central differences of the output, and backward passes",
}
SAME = 5e-2  # relative: rounding in bfloat16, and less than other draws make of an output

_OUTPUT = as_objective(lambda output, target: output)  # what a loss is given, instead of the loss


@dataclasses.dataclass(frozen=True, eq=False)
class Linearised:
    """The output for one batch at the present parameters, and its derivative both ways."""

    output: torch.Tensor  # (...) m numbers, detached
    push: Product  # (k, n) -> (k, m): J v for each row
    pull: Product  # (k, m) -> (k, n): J'u for each row
    size: float  # bytes that its graph holds


def linearised(
    subject: Subject, batch: Batch, method: str, budget: float = float("inf")
) -> Linearised:
    """J for one batch; `method` as in :data:`METHODS`, where 'double' means the same as 'kept'.

    Raises:
        OverBudget: If the graph needs more than `budget` bytes.
        ValueError: If the output is not one tensor of real numbers.
    """
    if method == "difference":  # for whatever autograd cannot do, so without its finer tools
        found = output_value(subject, batch)
        pull = functools.partial(pulled, subject, batch)
        return Linearised(found, _differences(subject, batch), pull, 0.0)
    with (
        subject.prepared(),
        saved_bytes(subject, budget) as held,
        packing() as packed,
        Shortcuts(packed),
    ):
        found = output(subject, batch)
        pull = recomputed(subject, Backward([found], subject.parameters), packed)
        push = _forward(subject, batch) if method == "forward" else _twice(subject, found, packed)
    return Linearised(found.detach(), push, pull, held[0])


def output(subject: Subject, batch: Batch) -> torch.Tensor:
    """(...) the output with its graph; call it inside ``subject.prepared()``.

    Raises:
        ValueError: If it is not one tensor of real numbers that depends on a parameter.
    """
    with explained(subject.model, batch):
        found = _OUTPUT(subject.model, batch)
    if not isinstance(found, torch.Tensor):
        raise ValueError(
            f"the model's output is a {type(found).__name__}, but its derivative is taken of one "
            "tensor; pass a module that returns only the tensor which the loss needs"
        )
    if not found.is_floating_point():
        raise ValueError(
            f"the model's output is {found.dtype}, but only real numbers have a derivative here; "
            "let the model return what comes before it is rounded or made complex"
        )
    if not found.requires_grad:
        raise ValueError(
            "the output does not depend on any trainable parameter; take out .detach(), "
            "torch.no_grad() or requires_grad=False between the parameters and the output"
        )
    return found


def output_value(subject: Subject, batch: Batch) -> torch.Tensor:
    """(...) the output, detached."""
    with subject.prepared():
        return output(subject, batch).detach()


# -- J v ------------------------------------------------------------------------------------


def _twice(subject: Subject, found: torch.Tensor, packed: Packing) -> Product:
    """Backward through the backward pass, in which the parameters' side is a constant."""
    u = torch.zeros_like(found, requires_grad=True)
    gradients = torch.autograd.grad(
        found, subject.parameters, u, create_graph=True, materialize_grads=True
    )
    return recomputed(subject, Backward(gradients, [u]), packed)


def _forward(subject: Subject, batch: Batch) -> Product:
    """Forward mode: a pass and its derivative for every vector."""
    with warnings.catch_warnings():  # of torch's own use of torch.jit, at the first import
        warnings.simplefilter("ignore", DeprecationWarning)
        import torch._decomp.decompositions_for_jvp
    names = list(subject.names)

    def at(values: dict[str, torch.Tensor]) -> torch.Tensor:
        def model(*args: Any, **kwargs: Any) -> Any:
            return torch.func.functional_call(subject.model, values, args, kwargs)

        return _OUTPUT(cast(nn.Module, model), batch)

    def push(block: torch.Tensor) -> torch.Tensor:
        here = {n: p.detach() for n, p in subject.names.items()}
        rows = []
        for vector in block:
            along = dict(zip(names, subject.layout.split(vector), strict=True))
            with subject.prepared():
                pushed = torch.func.jvp(at, (here,), (along,))[1]
            rows.append(pushed.detach().reshape(-1))
        return torch.stack(rows)

    return push


def _differences(subject: Subject, batch: Batch) -> Product:
    """Central differences, in double precision on a copy of the model if it can be."""
    wide, batch_of = _widest(subject, batch)
    step = (STEPS if wide.dtype == torch.float64 else SINGLE_STEPS)[0]

    def push(block: torch.Tensor) -> torch.Tensor:
        rows = [output_slope(wide, batch_of, vector, step) for vector in block]
        return torch.stack(rows).to(block.dtype)

    return push


def _widest(subject: Subject, batch: Batch) -> tuple[Subject, Batch]:
    """A copy in double precision; the subject itself where a copy fails or computes another thing.

    Draws may depend on the precision: then the copy has other dropout masks.
    """
    try:
        wide, batch_of = subject.wide(), widened(batch)
        found = output_value(wide, batch_of)
    except Exception:  # a foreign model's own objections to copies or to double precision
        return subject, batch
    here = output_value(subject, batch)
    same = (found - here).norm() <= SAME * here.norm()
    return (wide, batch_of) if same else (subject, batch)


def output_slope(subject: Subject, batch: Batch, vector: torch.Tensor, step: float) -> torch.Tensor:
    """(m,) the central difference of the output along `vector`, (n,)."""
    if not vector.any():
        return output_value(subject, batch).reshape(-1) * 0
    return differenced(subject, batch, vector, step, _row)


def _row(subject: Subject, batch: Batch) -> torch.Tensor:
    return output_value(subject, batch).reshape(-1)


# -- J'u ------------------------------------------------------------------------------------


def pulled(subject: Subject, batch: Batch, block: torch.Tensor) -> torch.Tensor:
    """(k, m) -> (k, n): J'u for each row, on a new graph each."""
    rows = []
    for u in block:
        with subject.prepared():
            found = output(subject, batch)
            rows.append(backward(subject, found, u.view_as(found).to(found.dtype)))
    return torch.stack(rows)


# -- the loss behind the output -------------------------------------------------------------


class _Given(nn.Module):
    """A model whose output is its only parameter."""

    def __init__(self, value: torch.Tensor) -> None:
        super().__init__()
        self.output = nn.Parameter(value.detach())

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return self.output


def loss_of_output(subject: Subject, value: torch.Tensor) -> Subject:
    """The loss as a function of the output, at `value`: its Hessian is that by the output."""
    return Subject(_Given(value), subject.objective, seed=subject.seed)
