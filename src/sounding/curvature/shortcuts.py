"""The same function by operations that are quicker to differentiate twice.

Whatever is put in the place of torch's own goes through the check of every new operator, because
the check builds its graph in the same way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sounding.curvature.convolution import Settings, convolution, settings_of, with_norm
from sounding.curvature.pointwise import SLOPES, activation
from sounding.curvature.recomputed import Packing

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
NAMES = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
PRECISIONS = (torch.float32, torch.float64)


class Shortcuts(TorchFunctionMode):
    """Use it around a forward pass whose graph is differentiated twice."""

    def __init__(self, packed: Packing) -> None:
        """Leaves alone what is `packed` by hooks: it may be computed anew, without shortcuts."""
        super().__init__()
        self._packed = packed
        self._last: tuple[torch.Tensor, dict[str, Any], Settings] | None = None  # convolution

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple[Any, ...] = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        alone = self._packed.depth == 0
        if alone and torch.is_grad_enabled() and args and _suits(args[0]):
            if name in SLOPES and args[0].requires_grad:
                return activation(func, *args, **kwargs)
            if name in CONVOLUTIONS:
                return self._convolution(func, args, kwargs)
            if func is F.batch_norm and self._last is not None and args[0] is self._last[0]:
                return self._normalised(args, kwargs)
        return func(*args, **kwargs)

    def _convolution(self, func: Callable, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = {"bias": None, **dict(zip(NAMES, args, strict=False)), **kwargs}
        rest = {k: given[k] for k in NAMES[3:] if k in given}
        settings = settings_of(given["input"], given["weight"], **rest)
        if settings is None or given["weight"].dtype != given["input"].dtype:
            return func(*args, **kwargs)
        output = convolution(given["input"], given["weight"], given["bias"], settings)
        self._last = output, given, settings
        return output

    def _normalised(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = inspect.signature(F.batch_norm).bind(*args, **kwargs)
        given.apply_defaults()
        norm = given.arguments
        if norm["training"] or norm["running_var"] is None or self._last is None:
            return F.batch_norm(*args, **kwargs)
        _, before, settings = self._last
        return with_norm(before["input"], before["weight"], before["bias"], settings, norm)


def _suits(x: Any) -> bool:
    return type(x) is torch.Tensor and x.dtype in PRECISIONS
