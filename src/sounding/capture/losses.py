"""The call that compares the model's output with a target, described while both are there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from sounding.capture.operations import Args, Kwargs, argument, is_loss

COMPARISONS = {"sub", "rsub", "mul", "gather", "div", "add", "pow", "where", "maximum"}
LABELLED = {"cross_entropy", "nll_loss", "multi_margin_loss"}
Derived = Callable[[torch.Tensor], int | None]  # the call that made it, None: not of the model


@dataclasses.dataclass(eq=False)
class Comparison:
    """What was seen of one such call; `value` is let go of at the end of the pass."""

    function: str  # '' for one written by hand
    maker: int  # the call that made the output
    output: torch.Tensor
    target: torch.Tensor | None
    value: torch.Tensor | None
    elements: int
    reduction: str
    weighted: bool
    source: str
    factor: float = float("nan")

    def ends_with(self, loss: torch.Tensor) -> None:
        """How `loss`, from which backward starts, grows with the mean of this one."""
        value, self.value = self.value, None
        if value is None or not self.function or not value.requires_grad:
            return
        if value is loss:
            self.factor = 1.0
        else:
            (slope,) = torch.autograd.grad(loss, value, retain_graph=True, allow_unused=True)
            if slope is None:
                return
            self.factor = float(slope.sum())
        self.factor *= self.elements if self.reduction == "sum" else 1


def comparison(
    name: str, args: Args, kwargs: Kwargs, result: Any, derived: Derived, line: Callable[[], str]
) -> Comparison | None:
    """Describe the call `name` if it compares what the model made with what it did not."""
    known = is_loss(name)
    if not isinstance(result, torch.Tensor) or not (known or name in COMPARISONS):
        return None
    if known:
        pair = argument("input", 0, None, args, kwargs), argument("target", 1, None, args, kwargs)
    else:
        pair = (args[0] if args else None), next((a for a in reversed(args[1:]) if _array(a)), None)
    output, target = pair
    if not isinstance(output, torch.Tensor) or not isinstance(target, torch.Tensor):
        return None
    if not (_array(output) and _array(target)):
        return None
    makers = [derived(output), derived(target)]
    if makers[0] is None:
        output, target, makers = target, output, makers[::-1]
    if makers[0] is None or (makers[1] is not None and not known):
        return None
    reduction = str(kwargs.get("reduction", "mean")) if known else "none"
    return Comparison(
        function=name if known else "",
        maker=makers[0],
        output=output.detach(),
        target=None if makers[1] is not None else target.detach(),
        value=result,
        elements=elements(name, output, target) if known else result.numel(),
        reduction=reduction,
        weighted=kwargs.get("weight") is not None or kwargs.get("pos_weight") is not None,
        source=line(),
    )


def _array(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() > 0 and value.numel() > 1


def elements(name: str, output: torch.Tensor, target: torch.Tensor) -> int:
    """How many single losses the call `name` takes the mean or the sum of."""
    if name in LABELLED and target.dim() == output.dim() - 1:
        return target.numel()
    if name in LABELLED and output.dim() > 1:
        return output.numel() // output.shape[1]
    try:
        return torch.broadcast_shapes(output.shape, target.shape).numel()
    except RuntimeError:
        return output.numel()
