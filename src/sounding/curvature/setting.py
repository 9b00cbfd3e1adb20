"""How a model is run when it is to be differentiated twice: the same function every time.

Fused attention has no second derivative, so the math backend computes it. Dropout draws the same
masks in every pass. Buffers that a pass rewrites (batch norm in training mode, spectral norm) are
copies, so each pass starts from the same ones and the model keeps its own. Batch norm computes what
the model's mode says: batch statistics in training mode, running ones in evaluation mode.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from sounding.capture.compiled import uncompiled
from sounding.capture.keep import given_back
from sounding.curvature.parallel import ranks_of, unwrapped
from sounding.curvature.ranks import Ranks
from sounding.curvature.shards import (
    Shards,
    mesh_groups,
    passes,
    resharded,
    unsharded,
    whole_parameters,
)
from sounding.objective import Batch, Objective, check_scalar
from sounding.train import explained
from sounding.vectors import Layout, Pattern, trainable

SLICE = 3  # samples of the batch on which a new operator is checked


class Subject:
    """A loss as a function of some parameters of a model, for one batch at a time."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        *,
        pattern: Pattern = None,
        seed: int = 0,
        ranks: Ranks | None = None,
    ) -> None:
        """`pattern` chooses the parameters; `seed` fixes what the passes draw.

        `ranks` are the processes whose numbers the caller adds up, each with batches of its own;
        where FSDP2 has sharded the model, it goes on with :meth:`gathered`, or takes nothing but
        plain gradients.

        Raises:
            ValueError: If nothing can be trained, or the model is shared and no `ranks` are given.
        """
        shared = ranks_of(model).count > 1 or mesh_groups(unwrapped(model)) is not None
        if shared and ranks is None:
            raise ValueError(
                "several processes share the model, but what is asked for looks at one alone; of a "
                "DistributedDataParallel model pass model.module, for the batches of this process"
            )
        self.model = unwrapped(model)
        self.hooked = self.model is not getattr(model, "_orig_mod", model)  # data parallel
        self.objective = objective
        self.pattern = pattern
        self.seed = seed
        self.ranks = ranks or Ranks()
        self.shards: Shards | None = None
        self.whole: dict[nn.Parameter, nn.Parameter] | None = None
        resharded(self.model)
        self._hold(trainable(self.model, pattern))
        if mesh_groups(self.model) is not None:
            self.shards = Shards(self.names)

    def _hold(self, names: dict[str, nn.Parameter]) -> None:
        self.names = names
        self.parameters = list(names.values())
        self.layout = Layout(dict(names))
        self.device = self.parameters[0].device
        self.dtype = self.parameters[0].dtype

    @property
    def passes_on(self) -> torch.device:
        """Where passes run; sharded parameters may lie on the host."""
        return self.device if self.shards is None else self.shards.device

    def gathered(self) -> Subject:
        """The same with whole parameters on every rank, where they are sharded."""
        if self.shards is None:
            return self
        other = copy.copy(self)
        other.shards, other.whole = None, whole_parameters(self.model, self.shards.device)
        other._hold({name: other.whole[p] for name, p in self.names.items()})
        return other

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """Passes inside compute the same differentiable function; the model is given back."""
        resharded(self.model)
        with (
            given_back(self.model, *_modules(self.objective)),
            self._as_held(),
            uncompiled(),
            without_hooks(self.parameters),
        ):
            _copy_buffers(self.model)
            seed_passes(self.seed)
            with torch.enable_grad():
                yield

    @contextlib.contextmanager
    def _as_held(self) -> Iterator[None]:
        if self.shards is not None:  # nothing but plain gradients: torch's own kernels will do
            with passes(self.model):
                yield
            return
        whole = (
            contextlib.nullcontext() if self.whole is None else unsharded(self.model, self.whole)
        )
        with whole, _differentiable(self.model):
            yield

    def norm(self, *parts: torch.Tensor) -> torch.Tensor:
        """() of one vector, of which this process holds these parts."""
        own = torch.stack([part.norm() for part in parts]).norm()
        return own if self.shards is None else self.shards.parts.add(own.square()).sqrt()

    def loss(self, batch: Batch) -> torch.Tensor:
        """() the loss with its graph; call it inside :meth:`prepared`.

        Raises:
            ValueError: If it is not one finite number that depends on a parameter.
        """
        with explained(self.model, batch):
            loss = check_scalar(self.objective(self.model, batch))
        return loss.reshape(())

    def versions(self) -> tuple[int, ...]:
        """Counts the in-place changes of the parameters, such as an optimiser's steps."""
        return tuple(p._version for p in self.parameters)

    def wide(self) -> Subject:
        """The same in double precision, on a copy of the model.

        Raises:
            Exception: Whatever copying or converting a foreign module raises.
        """
        with self.prepared() if self.whole else contextlib.nullcontext():
            model = _copied(self.model).double()
        objective = self.objective
        if isinstance(getattr(objective, "loss", None), nn.Module):
            objective = copy.copy(objective)
            objective.loss = _copied(objective.loss).double()  # type: ignore[attr-defined]
        return Subject(model, objective, pattern=self.pattern, seed=self.seed)


@contextlib.contextmanager
def without_hooks(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Hooks on gradients (clipping, logging) belong to the training; they do not run inside."""
    tables = [p._backward_hooks for p in parameters if p._backward_hooks]
    saved = [dict(table) for table in tables]
    try:
        for table in tables:
            table.clear()
        yield
    finally:
        for table, hooks in zip(tables, saved, strict=True):
            table.update(hooks)


def widened(batch: Batch) -> Batch:
    """The batch with its real tensors in double precision."""

    def convert(value: Any) -> Any:
        floating = isinstance(value, torch.Tensor) and value.is_floating_point()
        return value.double() if floating else value

    return tree_map(convert, batch)


def sliced(batch: Batch, first: int, last: int) -> Batch | None:
    """Samples `first` to `last` of a pair (input, target); None where it cannot be told how."""
    size = samples(batch)
    if size is None:
        return None

    def cut(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.ndim and len(value) == size:
            return value[first:last]
        return value

    return tree_map(cut, batch)


def samples(batch: Batch) -> int | None:
    """Samples in a pair (input, target), None where input and target do not agree on it."""
    if not (isinstance(batch, tuple | list) and len(batch) == 2):
        return None
    sizes = []
    for part in batch:
        first = part
        while isinstance(first, tuple | list | dict) and first:
            first = next(iter(first.values())) if isinstance(first, dict) else first[0]
        if not isinstance(first, torch.Tensor) or not first.ndim:
            return None
        sizes.append(len(first))
    return sizes[0] if sizes[0] == sizes[1] else None


@contextlib.contextmanager
def _differentiable(model: nn.Module) -> Iterator[None]:
    """Torch's choice of kernels is limited to those that can be differentiated twice."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(sdpa_kernel([SDPBackend.MATH]))
            if any(isinstance(m, nn.RNNBase) for m in model.modules()):  # cuDNN's have none
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def seed_passes(seed: int) -> None:
    """Every generator that a pass may draw from; torch.manual_seed takes milliseconds."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def _copy_buffers(model: nn.Module) -> None:
    """Let passes write into copies; :func:`given_back` puts the model's own buffers back."""
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.detach().clone()


def _modules(objective: Objective) -> tuple[nn.Module, ...]:
    loss = getattr(objective, "loss", None)
    return (loss,) if isinstance(loss, nn.Module) else ()


def _copied(module: nn.Module) -> nn.Module:
    """A deep copy; a weight that a hook computed from others (old weight norm) is copied too."""
    memo: dict[int, Any] = {}
    for part in module.modules():
        for value in part.__dict__.values():
            if isinstance(value, torch.Tensor) and value.grad_fn is not None:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(module, memo)
