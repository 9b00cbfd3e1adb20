"""A loss over fixed batches as a function of the flat parameter vector: the ground to be mapped.

The model's own parameters are never written: each point is a call with other tensors in their
place. Letters: n parameters in all, P points, d dimensions of a line (1) or plane (2).
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from sounding.capture.compiled import uncompiled
from sounding.capture.keep import given_back
from sounding.curvature.parallel import unwrapped
from sounding.curvature.pieces import Piece, pieces, read_again
from sounding.curvature.ranks import Ranks
from sounding.curvature.setting import Subject, samples, sliced
from sounding.objective import Batch, Loss, Objective, as_objective
from sounding.train import check_model, check_numbers, explained
from sounding.vectors import Pattern

BATCH_NORM = {
    "mode": "batch norm as the model's mode says",
    "running": "batch norm with the model's running statistics",
    "batch": "batch norm with the statistics of each batch",
    "recalibrated": "batch norm with statistics computed anew at every point, over all batches",
}
FEW = 8  # samples on which it is asked which parameters count
NORMS = nn.modules.batchnorm._BatchNorm


class Ground:
    """The loss at any parameter vector, over batches that were read once."""

    def __init__(
        self,
        model: nn.Module,
        loss: Loss | Objective,
        batches: Any,
        *,
        parameters: Pattern = None,
        reduction: str = "mean",
        batch_norm: str = "mode",
        seed: int = 0,
    ) -> None:
        """Read the batches and check what can be checked without a pass.

        Raises:
            TypeError: If `model` is no module or `loss` cannot be called.
            ValueError: If nothing can be trained, a parameter is complex, `batch_norm` is unknown,
                or a batch holds NaN.
        """
        if batch_norm not in BATCH_NORM:
            raise ValueError(f"batch_norm is {batch_norm!r}; there are {', '.join(BATCH_NORM)}")
        check_model(model)
        self.model = unwrapped(model)
        self.objective = as_objective(loss)
        subject = Subject(self.model, self.objective, pattern=parameters, seed=seed, ranks=Ranks())
        if subject.shards is not None:
            raise ValueError(
                "the model is sharded over several processes (FSDP2), and a landscape needs it "
                "whole: gather it on one process first"
            )
        self.names, self.layout = subject.names, subject.layout
        self.device, self.dtype = subject.device, _widest(subject.parameters)
        self.batch_norm, self.seed, self.reduction = batch_norm, seed, reduction
        self.notes: list[str] = []
        self.parts = self._read(batches, reduction)
        self.draws = False  # whether passes draw random numbers, as far as `first` knows
        self.caller = Call(self.model, self.objective)
        self.centre = self.vector([p.detach() for p in subject.parameters])

    def _read(self, batches: Any, reduction: str) -> list[Piece]:
        """The batches, kept; a loader that shuffles is said to."""
        with given_back(self.model):
            parts = pieces(batches, micro_batch=None, reduction=reduction)
            again = read_again(batches, parts[0].batch)
        self.notes += [again] * bool(again)
        for part in parts:
            check_numbers(part.batch)
        return parts

    @property
    def size(self) -> int:
        """Parameters in all."""
        return self.layout.size

    @property
    def samples(self) -> int:
        """Samples over all batches; batches where samples cannot be counted."""
        return sum(samples(part.batch) or 1 for part in self.parts)

    def vector(self, tensors: list[torch.Tensor]) -> torch.Tensor:
        """(n,) one tensor a parameter, flat, in the widest of their types."""
        flat = [t.to(self.device, self.dtype).reshape(-1) for t in tensors]
        return torch.cat(flat)

    def norms(self) -> list[nn.Module]:
        """The batch norms of the model."""
        return [m for m in self.model.modules() if isinstance(m, NORMS)]

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """Passes inside compute one fixed function; model and random state are given back."""
        inside = [m for m in (self.objective.__dict__.get("loss"),) if isinstance(m, nn.Module)]
        with given_back(self.model, *inside), uncompiled():
            for module in self.norms():
                if self.batch_norm in ("running", "batch"):
                    module.training = self.batch_norm == "batch"
            yield

    def loss(self, vector: torch.Tensor) -> torch.Tensor:
        """() the loss at `vector`, one double on its device; call it inside :meth:`prepared`."""
        given = self.tensors(vector)
        if self.batch_norm == "recalibrated":
            self._recalibrate(given)
        seed_passes(self.seed)
        return weighted(self.parts, (self._value(given, part.batch) for part in self.parts))

    def first(self) -> float:
        """The loss at the model's own parameters; what a pass raises is explained.

        Raises:
            ValueError: If the model cannot take a batch, or the loss is no single real number.
        """
        seed_passes(self.seed)
        before = torch.get_rng_state()
        with torch.no_grad(), explained(self.model, self.parts[0].batch):
            loss = float(self.loss(self.centre))
        self.draws = self.centre.is_cuda or not torch.equal(before, torch.get_rng_state())
        return loss

    def each(self, vector: torch.Tensor, parts: list[Piece]) -> list[torch.Tensor]:
        """The losses of some batches at `vector`, unweighted, with their graph."""
        given = self.tensors(vector)
        if self.batch_norm == "recalibrated" and not any(m.training for m in self.norms()):
            self._recalibrate(given)
        seed_passes(self.seed)
        return [self._value(given, part.batch) for part in parts]

    def gradient(self) -> torch.Tensor:
        """(n,) the gradient at the model's own parameters; inside :meth:`prepared`.

        Zero for parameters that the loss does not depend on, of which there is a note.

        Raises:
            ValueError: If the loss has no gradient at all.
        """
        vector = self.centre.clone().requires_grad_()
        with torch.enable_grad():
            loss = self.loss(vector)
            if not loss.requires_grad:
                raise ValueError(
                    "the loss has no gradient: check for .detach(), .item(), argmax or "
                    "torch.no_grad() between the parameters and the loss"
                )
            (gradient,) = torch.autograd.grad(loss, vector)
        return gradient

    def unreached(self) -> list[str]:
        """Names of parameters that the loss of the first few samples does not depend on.

        Empty where that cannot be told: the loss has no gradient at all, or its graph does not fit
        into memory.
        """
        leaves = [p.detach().clone().requires_grad_() for p in self.names.values()]
        given = self.tensors(self.centre)
        given |= {f"model.{n}": leaf for n, leaf in zip(self.names, leaves, strict=True)}
        try:
            seed_passes(self.seed)
            with torch.enable_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = self._value(given, self._few())
                found = torch.autograd.grad(value, leaves, allow_unused=True)
        except Exception:  # no graph, no memory for one, or the model wants whole batches
            return []
        return [name for name, g in zip(self.names, found, strict=True) if g is None]

    def _few(self) -> Batch:
        """The first `FEW` samples, or the first batch where they cannot be told apart."""
        batch = self.parts[0].batch
        cut = sliced(batch, 0, FEW) if (samples(batch) or 0) > FEW else None
        return batch if cut is None else cut

    def drawn(self, loss: float) -> float | None:
        """How far another draw moves the `loss` of the centre; None where passes draw nothing."""
        if not self.draws:
            return None
        self.seed += 1
        try:
            return abs(float(self.loss(self.centre)) - loss) or None
        finally:
            self.seed -= 1

    def _value(self, given: dict[str, torch.Tensor], batch: Batch) -> torch.Tensor:
        return check_value(functional_call(self.caller, given, (batch,)))

    def tensors(self, vector: torch.Tensor) -> dict[str, torch.Tensor]:
        """What stands in the model's place: parameters, and copies of buffers a pass may write."""
        parts = self.layout.split(vector)
        given = {
            f"model.{name}": part.to(p.dtype)
            for (name, p), part in zip(self.names.items(), parts, strict=True)
        }
        if any(m.training for m in self.model.modules()) or self.batch_norm == "recalibrated":
            given |= {f"model.{n}": b.detach().clone() for n, b in self.model.named_buffers()}
        return given

    def _recalibrate(self, given: dict[str, torch.Tensor]) -> None:
        """Put the statistics of all batches, equally weighted, into the buffers of `given`."""
        norms = [m for m in self.norms() if m.running_mean is not None]
        for name, module in self.model.named_modules():
            if module in norms:
                prefix = f"model.{name}." if name else "model."
                for buffer in ("running_mean", "running_var", "num_batches_tracked"):
                    given[prefix + buffer].zero_()
        for module in norms:  # `prepared` gives both attributes back
            module.training, module.momentum = True, None  # type: ignore[assignment]
        seed_passes(self.seed)
        for part in self.parts:
            functional_call(self.caller, given, (part.batch,))
        for module in norms:
            module.training = False


class Call(nn.Module):
    """The objective as a module, so that `functional_call` finds the model's parameters in it."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch."""
        return self.objective(self.model, batch)


def check_value(value: Any) -> torch.Tensor:
    """() `value` in double precision, if it is one real number.

    Raises:
        ValueError: If not; says what to do.
    """
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"the loss is a {type(value).__name__}, but it must be a torch tensor")
    if value.numel() != 1:
        raise ValueError(
            f"the loss has shape {tuple(value.shape)}, but one number is needed; reduce it, "
            "for example with reduction='mean' or .mean()"
        )
    if value.is_complex():
        raise ValueError("the loss is complex, but a landscape needs a real number; take .real")
    return value.reshape(()).double()


def weighted(parts: list[Piece], values: Iterable[torch.Tensor]) -> torch.Tensor:
    """() the sum of the values, each as often as its part says."""
    return torch.stack([p.weight * v for p, v in zip(parts, values, strict=True)]).sum()


def seed_passes(seed: int) -> None:
    """Every torch generator that a pass may draw from."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def _widest(parameters: list[nn.Parameter]) -> torch.dtype:
    """At least single precision, so that small steps are not rounded away between points."""
    widest = torch.float32
    for p in parameters:
        widest = torch.promote_types(widest, p.dtype)
    return widest


def close(one: float, other: float) -> bool:
    """Equal to 1e-5, relative; or, near zero, to the rounding of single-precision logits (1e-6)."""
    if not (math.isfinite(one) and math.isfinite(other)):
        return not math.isfinite(one) and not math.isfinite(other)
    return abs(one - other) <= 1e-5 * max(abs(one), abs(other)) + 1e-6
