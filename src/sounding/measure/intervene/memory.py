"""How far back in a sequence the gradient reaches, and where what there is to learn stands."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import nn

from sounding.capture.nested import tensors, with_tensors
from sounding.measure.intervene.baseline import explained_by
from sounding.measure.intervene.scene import Scene, Step

LEAST = 8  # places of a sequence in which something can vanish
REACHED = math.exp(
    -6.0
)  # of the largest derivative: the limit of depth, see docs/concepts/limits.md


def memory(scene: Scene) -> dict[str, float]:
    """The derivative of the first loss for the inputs of each place, and what these explain.

    `log_gain` is the natural logarithm of its rms over the first quarter of the places, over the
    largest rms of any place. `near` and `far` are the shares of the targets' variance that kernel
    ridge regression explains from the places which the derivative reaches, and from the others
    alone (as in the test 'baseline').

    Raises:
        ValueError: If the inputs are no sequence, or the derivative reaches all of them.
    """
    with scene.begun_again(), torch.enable_grad():
        slope = _slope(scene, scene.steps[0])
    rms = slope.flatten(2).square().mean((0, 2)).sqrt()
    if len(rms) < LEAST or not float(rms.max()) > 0:
        raise ValueError("the inputs are no sequence that the loss depends on")
    rms = rms / rms.max()
    far = rms < REACHED
    if not bool(far.any()):
        raise ValueError("the gradient reaches every place of the sequence")
    first = float(rms[: max(1, len(rms) // 4)].square().mean().sqrt())
    return {
        "log_gain": math.log(first) if first > 0 else -math.inf,
        "places": float(len(rms)),
        "unreached": float(far.sum()),
        "near": explained_by(scene, ~far.cpu()),
        "far": explained_by(scene, far.cpu()),
    }


def _slope(scene: Scene, step: Step) -> torch.Tensor:
    """(N, T, ...) derivative for the inputs, or for the vectors of a table that they look up."""
    first = next(t for t in tensors(step.given) if t.dim())
    found: list[torch.Tensor] = []
    handles = []
    if first.is_floating_point():
        found.append(first.detach().clone().requires_grad_())
        args, kwargs = with_tensors(step.given, lambda t: found[0] if t is first else t)
        step = dataclasses.replace(step, args=args, kwargs=kwargs)
    else:

        def keep(module: nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor:
            if found:
                return output
            found.append(output.detach().requires_grad_())
            return found[0]

        tables = [m for m in scene.model.modules() if isinstance(m, nn.Embedding)]
        handles = [m.register_forward_hook(keep) for m in tables]
    try:
        loss = scene.loss(step)
    finally:
        for handle in handles:
            handle.remove()
    if not found or found[0].dim() < 3:
        raise ValueError("the inputs are no sequence")
    return torch.autograd.grad(loss, found[0])[0]
