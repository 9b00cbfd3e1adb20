"""What the loss asks of the model's output: its derivative there, entry by entry."""

from __future__ import annotations

import math

import torch

from sounding.capture.nested import with_tensors
from sounding.measure.intervene.scene import Scene, Step

BATCHES = 8


def pull(scene: Scene) -> dict[str, float]:
    """Which samples the loss pulls at, and along which dimension its pulls cancel.

    `rows` is the share of a batch's places that get a derivative in any of the stored batches. The
    derivative of a cross-entropy sums to 0 over the classes: `along` is the largest such sum over
    the largest entry for the dimension of the output in which that comes nearest to 0, `reshaped`
    the same for the classes as the loss itself counts them.

    Raises:
        ValueError: If no batch has its derivative, or the first weights were not kept.
    """
    steps = [step for step in scene.steps[:BATCHES] if step.rows == scene.steps[0].rows]
    with scene.begun_again():  # later, a loss that lets easy samples rest may leave out nearly all
        scene.model.eval()
        slopes = [_slope(scene, step) for step in steps]
    slopes = [s for s in slopes if s.shape[0] == steps[0].rows and bool(s.any())]
    if not slopes:
        raise ValueError("the loss has no derivative for the model's output")
    used = torch.stack([s.flatten(1).ne(0).any(1) for s in slopes]).any(0)
    values = {"rows": float(used.float().mean()), "batches": float(len(slopes))}
    call = scene.call
    if call is None or call.function != "cross_entropy" or slopes[0].dim() < 2:
        return values | {"along": math.nan, "reshaped": math.nan}
    along = min(max(_sum(s, d) for s in slopes) for d in range(1, slopes[0].dim()))
    shape = call.output.shape[1:]
    reshaped = math.nan
    if all(s.numel() % math.prod(shape) == 0 for s in slopes):
        reshaped = max(_sum(s.reshape(-1, *shape), 1) for s in slopes)
    return values | {"along": along, "reshaped": reshaped}


def _slope(scene: Scene, step: Step) -> torch.Tensor:
    with torch.no_grad():
        output = scene.output(step)
    own = scene.tensor(output)
    leaf = own.detach().clone().requires_grad_()
    with torch.enable_grad(), step.casts():
        again = with_tensors(output, lambda t: leaf if t is own else t)
        loss = step.tape.replay(step.given, again, exchanged=scene.exchanged)
        (slope,) = torch.autograd.grad(loss, leaf, allow_unused=True)
    return torch.zeros_like(leaf) if slope is None else slope.double()


def _sum(slope: torch.Tensor, dimension: int) -> float:
    return float(slope.sum(dimension).abs().max() / slope.abs().max())
