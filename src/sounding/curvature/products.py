"""Products of the Hessian of one batch with vectors, four ways.

*kept*: the graph of the gradient is built once and kept; a product is one backward pass through it.
*double*: the same, built anew for every product. *forward*: forward mode over the gradient.
*difference*: central differences of the gradient. See Pearlmutter (1994), "Fast exact
multiplication by the Hessian", Neural Computation 6, for the first three.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

from sounding.curvature.backward import Backward, strided
from sounding.curvature.recomputed import Packing, packing, recomputed
from sounding.curvature.setting import Subject, widened
from sounding.curvature.shards import is_sharded, moved_shards
from sounding.curvature.shortcuts import Shortcuts
from sounding.objective import Batch
from sounding.vectors import local, normal

Product = Callable[[torch.Tensor], torch.Tensor]  # (k, n) -> (k, n)

METHODS = {
    "kept": "double backward on a kept graph",
    "double": "double backward",
    "forward": "forward mode over the gradient",
    "difference": "central differences of the gradient",
}
STEPS = (1e-8, 1e-7)  # ||step|| / ||parameters||: in double precision, too short to reach a kink
SINGLE_STEPS = (1e-3, 3e-3)  # in single precision: near eps^(1/3), where both errors are least


class OverBudget(Exception):
    """A graph would take more memory than it may."""


# -- double backward ------------------------------------------------------------------------


def kept(subject: Subject, batch: Batch, budget: float = float("inf")) -> tuple[Product, float]:
    """The product on a kept graph, and the bytes that the graph holds.

    A product costs about two gradients and no further memory. A block of vectors goes through in
    one batched pass where that was faster when the first one came.

    Raises:
        OverBudget: If the graph needs more than `budget` bytes.
    """
    with subject.prepared():
        gradients, size, packed = _gradient_graph(subject, batch, budget)
    return recomputed(subject, Backward(gradients, subject.parameters), packed), size


def double(subject: Subject, batch: Batch, budget: float = float("inf")) -> Product:
    """The product with the graph built anew each time: about 3.5 gradients."""

    def product(block: torch.Tensor) -> torch.Tensor:
        with subject.prepared():
            gradients, _, _ = _gradient_graph(subject, batch, budget)
            return Backward(gradients, subject.parameters)(block)

    return product


def _gradient_graph(
    subject: Subject, batch: Batch, budget: float
) -> tuple[tuple[torch.Tensor, ...], float, Packing]:
    with saved_bytes(subject, budget) as held, packing() as packed, Shortcuts(packed):
        loss = subject.loss(batch)
        gradients = torch.autograd.grad(
            loss, subject.parameters, create_graph=True, materialize_grads=True
        )
    return gradients, held[0], packed


@contextlib.contextmanager
def saved_bytes(subject: Subject, budget: float) -> Iterator[list[float]]:
    """Counts, in a list of one number, the bytes that graphs built inside keep alive."""
    held = [0.0]
    seen = {p.untyped_storage().data_ptr() for p in subject.model.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.layout != torch.strided:
            return tensor.detach()
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            held[0] += min(storage.nbytes(), tensor.numel() * tensor.element_size())
            if held[0] > budget:
                raise OverBudget
        return tensor.detach()  # an output that held itself would never be freed

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield held


# -- forward mode ---------------------------------------------------------------------------


def forward(subject: Subject, batch: Batch) -> Product:
    """Forward mode over the gradient: three to five gradients, the memory of one gradient."""
    with warnings.catch_warnings():  # of torch's own use of torch.jit, at the first import
        warnings.simplefilter("ignore", DeprecationWarning)
        import torch._decomp.decompositions_for_jvp
    names = list(subject.names)

    def product(block: torch.Tensor) -> torch.Tensor:
        def gradient(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return torch.func.grad(lambda v: loss_at(subject, v, batch))(values)

        here = {n: p.detach() for n, p in subject.names.items()}
        rows = []
        for vector in block:
            along = dict(zip(names, subject.layout.split(vector), strict=True))
            with subject.prepared():
                pushed: Any = torch.func.jvp(gradient, (here,), (along,))[1]
            rows.append(subject.layout.join([pushed[n] for n in names]))
        return torch.stack(rows)

    return product


def loss_at(subject: Subject, values: dict[str, torch.Tensor], batch: Batch) -> torch.Tensor:
    """The loss with other values in the place of the parameters."""

    class Substituted(torch.nn.Module):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return torch.func.functional_call(subject.model, values, args, kwargs)

        def __getattr__(self, name: str) -> Any:  # an Objective may ask the model for its parts
            return getattr(subject.model, name)

    return subject.objective(Substituted(), batch).reshape(())


# -- differences ----------------------------------------------------------------------------


def difference(subject: Subject, batch: Batch, *, step: float | None = None) -> Product:
    """Central differences of the gradient, in double precision on a copy of the model if it can be.

    Two gradients a product, in double precision; the error is about 1e-7 there. Where the model
    cannot be copied or run in double precision its own is used, and the error is 1e-3 to 1e-2.
    `step` is ||step|| / ||parameters||.
    """
    try:
        already = subject.dtype == torch.float64
        wide, batch_of = (subject, batch) if already else (subject.wide(), widened(batch))
        gradient(wide, batch_of)
    except Exception:  # a foreign model's own objections to copies or to double precision
        wide, batch_of = subject, batch
    if step is None:
        step = (STEPS if _fine(wide, batch_of) else SINGLE_STEPS)[0]
    chosen = step

    def product(block: torch.Tensor) -> torch.Tensor:
        rows = [differenced(wide, batch_of, vector, chosen) for vector in block]
        return torch.stack(rows).to(block.dtype)

    return product


def _fine(subject: Subject, batch: Batch) -> bool:
    """Whether short steps will do: double precision all the way through."""
    if subject.dtype != torch.float64:
        return False
    v = normal(1, subject.layout.size, seed=1, dtype=subject.dtype, device=subject.device)[0]
    one, two = (differenced(subject, batch, v, s) for s in STEPS)
    return float((one - two).norm()) <= 1e-3 * float(two.norm())


def differenced(
    subject: Subject,
    batch: Batch,
    vector: torch.Tensor,
    step: float,
    function: Callable[[Subject, Batch], torch.Tensor] | None = None,
) -> torch.Tensor:
    """The central difference along `vector`, (n,), of the gradient or another function.

    `step` is the step's length as a share of the parameters'. Parameters are given back exactly.
    """
    function = function or gradient
    vector = vector.to(subject.dtype)
    length = subject.norm(vector)
    if not length:
        return torch.zeros_like(vector)
    size = subject.norm(*(local(p).detach() for p in subject.parameters)).clamp(min=1e-3)
    h = float(step * size / length)
    parts = subject.layout.split(vector)
    with moved(subject.parameters, parts, h):
        ahead = function(subject, batch)
    with moved(subject.parameters, parts, -h):
        behind = function(subject, batch)
    return (ahead - behind) / (2 * h)


@contextlib.contextmanager
def moved(
    parameters: list[torch.nn.Parameter], parts: list[torch.Tensor], by: float
) -> Iterator[None]:
    """The parameters moved by a multiple of `parts`; given back to the bit, their versions too."""
    if any(is_sharded(p) for p in parameters):
        with moved_shards(parameters, parts, by):
            yield
        return
    before = [p.data for p in parameters]
    try:
        for p, part in zip(parameters, parts, strict=True):
            p.data = p.data + by * part.to(p.dtype)
        yield
    finally:
        for p, data in zip(parameters, before, strict=True):
            p.data = data


def value(subject: Subject, batch: Batch) -> torch.Tensor:
    """() the loss."""
    with subject.prepared():
        return subject.loss(batch).detach()


def gradient(subject: Subject, batch: Batch, weight: float = 1.0) -> torch.Tensor:
    """(n,) the gradient of the loss times `weight`, by an ordinary backward pass."""
    with subject.prepared():
        return backward(subject, subject.loss(batch) * weight)


def backward(
    subject: Subject, output: torch.Tensor, along: torch.Tensor | None = None
) -> torch.Tensor:
    """(n,) the gradient of `output` (times `along`); call it inside ``subject.prepared()``.

    By ``.backward()``, which some operations insist on (reentrant checkpoints).
    """
    if subject.hooked:  # whose hooks .backward() would run
        found = torch.autograd.grad(output, subject.parameters, along, allow_unused=True)
    else:
        output.backward(along)
        found = [p.grad for p in subject.parameters]
    if subject.shards is not None and all(g is None for g in found):
        raise ValueError(
            "no gradient arrives in the shards of the model; call its method "
            "set_requires_gradient_sync(True) first"
        )
    parts = [
        torch.zeros_like(p) if g is None else strided(g.detach())
        for g, p in zip(found, subject.parameters, strict=True)
    ]
    return subject.layout.join(parts)
