"""What is known of a stationary point: a certificate, and the point itself."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from sounding.result import Result
from sounding.vectors import trainable

KINDS = (
    "strict minimum",  # every eigenvalue is above zero
    "degenerate",  # none is below zero, some are zero, and no way down was found
    "strict saddle",  # an eigenvalue is below zero
    "non-strict saddle",  # none is, but along flat directions the loss falls, at a higher order
    "maximum",  # the loss falls, all eigenvalues are below zero or flat, and no way up was found
    "not stationary",
    "undecided",
)
SAVED = 100_000  # numbers of a point at most that go into a saved file


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StationaryPoint(Result):
    """A point, how stationary it is, and of which kind, each number with its error."""

    kind: str  # one of KINDS
    reason: str  # a sentence with the numbers that decided
    loss: float
    gradient_norm: float  # ||g||
    gradient_bound: float  # below it the gradient counts as zero
    gradient_noise: float  # standard error of ||g|| over the batches; nan for a single batch
    smallest: float  # eigenvalue of the Hessian
    smallest_error: float  # an eigenvalue lies that near
    smallest_bound: float  # no eigenvalue lies below this, with probability 1 - miss
    largest: float
    largest_error: float
    miss: float  # 0 where all eigenvalues are known
    index: int  # eigenvalues below zero; where not all are known, at least so many
    flat: int  # eigenvalues that count as zero; -1 where not all are known
    exact: bool  # whether all eigenvalues are known
    flatness: float  # eigenvalues smaller than this in size count as zero
    scale: float  # length over which the parameters matter; thresholds are relative to it
    rho: float  # estimate, from below, of the Lipschitz constant of the Hessian
    eps: float  # of the second-order test
    second_order: bool | None  # ||g|| <= eps and smallest >= -sqrt(rho eps); None: not known
    distance: float  # a stationary point lies this near (Newton-Kantorovich); nan: not proven
    order: float  # at which the loss falls along flat directions: fall ~ length^order; nan: not
    fall: float  # how far below this point's loss such a way down was seen to lead
    kinks: int  # pre-activations of rectifiers that are zero to within rounding
    rectified: int  # pre-activations of rectifiers in all
    moved: float  # distance from the start
    steps: int  # of the search
    gradients: int  # that were computed
    products: int  # of the Hessian with a vector
    seconds: float
    model: str  # its class
    notes: tuple[str, ...] = ()  # what a user of the numbers should know, a sentence each
    parameters: dict[str, np.ndarray] = dataclasses.field(default_factory=dict, repr=False)
    directions: np.ndarray | None = dataclasses.field(
        default=None, repr=False, metadata={"saved": False}
    )  # (2, n) eigenvectors of the smallest and the largest eigenvalue

    def __str__(self) -> str:
        return (
            f"{self.kind}: {self.reason}\n"
            f"loss {self.loss:.6g}, gradient {self.gradient_norm:.2g}, eigenvalues "
            f"{self.smallest:.4g} ± {self.smallest_error:.1g} to {self.largest:.4g} ± "
            f"{self.largest_error:.1g}"
        )

    @property
    def is_stationary(self) -> bool:
        """Whether the gradient counts as zero."""
        return self.kind != "not stationary" and self.gradient_norm <= self.gradient_bound

    def load_into(self, model: nn.Module) -> None:
        """Write the point into a model's parameters, in place.

        Raises:
            ValueError: If the model has other parameters, or the point was not kept.
        """
        load_parameters(self.parameters, model)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the point's kind as ``point``, the point itself only where it is small."""
        data = super().to_dict()
        if sum(v.size for v in self.parameters.values()) > SAVED:
            data["parameters"] = {}
        return {**data, "kind": type(self).__name__, "point": self.kind}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: If `data` is of another kind or lacks a field.
        """
        if not isinstance(data, dict) or "point" not in data:
            raise ValueError(f"expected a saved {cls.__name__}")
        read = super().from_dict(data)
        return dataclasses.replace(read, kind=data["point"])


def named(parameters: dict[str, nn.Parameter], parts: list[torch.Tensor]) -> dict[str, np.ndarray]:
    """Arrays in double precision by the parameters' names; a single number has shape (1,)."""
    return {
        name: torch.atleast_1d(part.detach()).double().cpu().numpy().copy()
        for name, part in zip(parameters, parts, strict=True)
    }


def load_parameters(parameters: dict[str, np.ndarray], model: nn.Module) -> None:
    """Write arrays into the trainable parameters of the same names.

    Raises:
        ValueError: If the model has others, or there are no arrays.
    """
    own = trainable(model)
    if set(own) != set(parameters):
        missing = ", ".join(sorted(set(own) ^ set(parameters))[:4])
        raise ValueError(
            f"the point is of other parameters than this model's ({missing}); a point of more than "
            f"{SAVED:,} numbers, or an Escape's, does not go into a saved file"
        )
    with torch.no_grad():
        for name, p in own.items():
            p.copy_(torch.from_numpy(np.asarray(parameters[name])).reshape(p.shape))
