"""How many pre-activations of a pass lie on a kink, where a second derivative means nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Where each operation has its kinks, from its further arguments.
KINKS: dict[str, Callable[..., tuple[float | None, ...]]] = {
    "relu": lambda: (0.0,),
    "leaky_relu": lambda *_: (0.0,),
    "_prelu_kernel": lambda *_: (0.0,),
    "rrelu_with_noise": lambda *_: (0.0,),
    "abs": lambda: (0.0,),
    "threshold": lambda at, *_: (at,),
    "hardtanh": lambda low=-1.0, high=1.0: (low, high),
    "clamp": lambda low=None, high=None: (low, high),
    "clamp_min": lambda low: (low,),
}
NEAR = 100  # times the rounding of numbers of its size: a pre-activation that counts as on a kink


class Kinks(TorchDispatchMode):
    """Use it around a forward pass: counts rectified numbers, and those that lie on a kink.

    Seen are ReLU and its kin (leaky, PReLU, ReLU6, hard tanh), absolute values and clamps, called
    in whatever way; not seen are the kinks of max-pooling, sorting and hand-written comparisons.

    Attributes:
        total: Numbers that went through a rectifier.
        near: Those that are on a kink, to within rounding.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self.near = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict | None = None
    ) -> Any:
        name = func.overloadpacket.__name__.rstrip("_")
        places = KINKS.get(name)
        if places is not None and isinstance(args[0], torch.Tensor):
            self._count(args[0].detach(), places(*args[1:]))
        return func(*args, **(kwargs or {}))

    def _count(self, z: torch.Tensor, places: tuple[Any, ...]) -> None:
        if not z.is_floating_point() or not z.numel():
            return
        self.total += z.numel()
        width = NEAR * torch.finfo(z.dtype).eps * float(z.square().mean().sqrt())
        for place in places:
            if isinstance(place, int | float):
                self.near += int(((z - place).abs() <= width).sum())
