"""What the optimisers here share: flat vectors, noise of their own, and what they count.

An optimiser's own record lies in ``optimizer.state["run"]``, so ``state_dict`` saves it and
``load_state_dict`` brings it back; the state of its random generator is part of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sounding.curvature.backward import Backward, strided
from sounding.curvature.operator import Operator
from sounding.objective import check_scalar
from sounding.vectors import Layout

Closure = Callable[[], Any]


class Running(torch.optim.Optimizer):
    """An optimiser with a record: steps, gradients, products, and whether it has finished."""

    def __init__(self, params: Any, defaults: dict[str, Any], seed: int, **more: Any) -> None:
        super().__init__(params, defaults)
        generator = torch.Generator().manual_seed(seed).get_state()
        self.state["run"] = {  # type: ignore[index] - torch keeps states by parameter, and others
            "steps": 0, "gradients": 0, "products": 0, "finished": False,
            "seed": seed, "generator": generator, **more,
        }  # fmt: skip

    @property
    def run(self) -> dict[str, Any]:
        """The record."""
        return self.state["run"]  # type: ignore[index]

    def record(self, **changes: Any) -> None:
        """A new record with these changes; one that was saved before does not move."""
        self.state["run"] = {**self.run, **changes}  # type: ignore[index]

    def count(self, *, steps: int = 0, gradients: int = 0, products: int = 0) -> None:
        """Add to the counts."""
        more = {"steps": steps, "gradients": gradients, "products": products}
        self.record(**{name: self.run[name] + number for name, number in more.items()})

    @property
    def gradients(self) -> int:
        """Gradients used so far."""
        return self.run["gradients"]

    @property
    def products(self) -> int:
        """Products of a Hessian with a vector, so far."""
        return self.run["products"]

    @property
    def finished(self) -> bool:
        """Whether its own test says that there is nothing left to do; a step then does nothing."""
        return self.run["finished"]

    # -- flat vectors -------------------------------------------------------------------------

    def trained(self) -> list[nn.Parameter]:
        """The parameters of all groups that are trained, in their order."""
        return [p for group in self.param_groups for p in group["params"] if p.requires_grad]

    def per_parameter(self, name: str) -> torch.Tensor:
        """(n,) each parameter's group's setting `name`."""
        parts = [
            torch.full((p.numel(),), float(group[name]), dtype=p.dtype, device=p.device)
            for group in self.param_groups
            for p in group["params"]
            if p.requires_grad
        ]
        return torch.cat(parts)

    def here(self) -> torch.Tensor:
        """(n,) a copy of the parameters."""
        return torch.cat([p.detach().reshape(-1) for p in self.trained()])

    def stored_gradient(self) -> torch.Tensor:
        """(n,) what lies in the parameters' ``.grad``; zero where there is none."""
        parts = [torch.zeros_like(p) if p.grad is None else strided(p.grad) for p in self.trained()]
        return torch.cat([part.detach().reshape(-1) for part in parts])

    @torch.no_grad()
    def put(self, x: torch.Tensor) -> None:
        """Write (n,) into the parameters."""
        parameters = self.trained()
        for p, part in zip(parameters, x.split([p.numel() for p in parameters]), strict=True):
            p.copy_(part.view_as(p))

    def drawn(self, like: torch.Tensor) -> torch.Tensor:
        """(n,) standard normal numbers of the optimiser's own generator, drawn on the CPU."""
        generator = torch.Generator()
        generator.set_state(self.run["generator"])
        numbers = torch.randn(len(like), generator=generator, dtype=torch.float64)
        self.record(generator=generator.get_state())
        return numbers.to(like.device, like.dtype)

    def drawn_share(self) -> float:
        """A number between 0 and 1, uniform."""
        generator = torch.Generator()
        generator.set_state(self.run["generator"])
        share = float(torch.rand((), generator=generator, dtype=torch.float64))
        self.record(generator=generator.get_state())
        return share

    # -- closures that leave the backward pass to the optimiser -------------------------------

    def height(self, closure: Closure) -> float:
        """The loss."""
        with torch.no_grad():
            return float(closure())

    def slope(self, closure: Closure) -> tuple[float, torch.Tensor]:
        """The loss, and (n,) its gradient; ``.grad`` stays as it is."""
        loss, parts = self._differentiated(closure, graph=False)
        return loss, torch.cat([strided(part).reshape(-1) for part in parts])

    def curved(self, closure: Closure) -> tuple[float, torch.Tensor, Operator]:
        """The loss, its gradient, and its Hessian on a kept graph."""
        loss, parts = self._differentiated(closure, graph=True)
        parameters = self.trained()
        gradient = torch.cat([part.detach().reshape(-1) for part in parts])
        operator = Operator(
            Backward(parts, parameters),
            len(gradient),
            dtype=gradient.dtype,
            device=gradient.device,
            layout=Layout({str(i): p for i, p in enumerate(parameters)}),
        )
        return loss, gradient, operator

    def _differentiated(
        self, closure: Closure, *, graph: bool
    ) -> tuple[float, tuple[torch.Tensor, ...]]:
        with torch.enable_grad(), _twice_differentiable():
            loss = check_scalar(closure()).reshape(())
            try:
                parts = torch.autograd.grad(
                    loss, self.trained(), create_graph=graph, materialize_grads=True
                )
            except RuntimeError as error:
                if "backward through the graph a second time" not in str(error):
                    raise
                raise ValueError(
                    f"{type(self).__name__}.step wants a closure that returns the loss and leaves "
                    "the backward pass to it; take loss.backward() out of the closure"
                ) from error
        self.count(gradients=1)
        return float(loss.detach()), parts


@contextlib.contextmanager
def _twice_differentiable() -> Iterator[None]:
    """Fused attention has no second derivative; the math kernels have."""
    with sdpa_kernel([SDPBackend.MATH]):
        yield


def number(loss: Any) -> float | None:
    """What a closure returned, as a number."""
    return float(loss.detach()) if isinstance(loss, torch.Tensor) else loss


def positive(**numbers: float) -> None:
    """Raise a ValueError unless all are above zero and finite."""
    for name, number in numbers.items():
        if not 0 < number < float("inf"):
            raise ValueError(f"{name} is {number!r}; it must be positive and finite")
