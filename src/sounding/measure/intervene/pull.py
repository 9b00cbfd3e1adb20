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
    the same for the classes as the loss itself counts them. `ignored` is the label whose places get
    no derivative in any batch, if there is one: see :func:`_ignored`.

    Raises:
        ValueError: If no batch has its derivative, or the first weights were not kept.
    """
    steps = [step for step in scene.steps[:BATCHES] if step.rows == scene.steps[0].rows]
    with scene.begun_again():  # later, a loss that lets easy samples rest may leave out nearly all
        scene.model.eval()
        slopes = [_slope(scene, step) for step in steps]
    pairs = zip(steps, slopes, strict=True)
    pairs = [(step, s) for step, s in pairs if s.shape[0] == step.rows and bool(s.any())]
    slopes = [slope for _, slope in pairs]
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
    return values | {"along": along, "reshaped": reshaped} | _ignored(pairs, call.classes)


def _ignored(pairs: list[tuple[Step, torch.Tensor]], classes: int) -> dict[str, float]:
    """The label, of a class among others, that the loss leaves out; nothing where all count.

    `share` is what it has of all places, `largest` what the most frequent other label has, and
    `padded` how much of it stands in a row at an end of its sample. The classes of a place lie
    along the dimension over which its derivative sums to 0.
    """
    targets, told = [], []
    for step, slope in pairs:
        used = slope.ne(0).any(min(range(1, slope.dim()), key=lambda d: _sum(slope, d)))
        labels = _labels(step, used)
        if labels is None:
            return {}
        targets.append(labels)
        told.append(used)
    labels, used = (torch.cat([part.flatten() for part in parts]) for parts in (targets, told))
    inside = (labels >= 0) & (labels < classes)
    counts = torch.bincount(labels[inside], minlength=classes).double()
    silent = (counts > 0) & (torch.bincount(labels[inside & used], minlength=classes) == 0)
    if int(silent.sum()) != 1:
        return {}
    label = int(silent.nonzero())
    shares = counts / labels.numel()
    ends = sum(float(_at_ends(part == label).sum()) for part in targets)
    return {
        "ignored": float(label),
        "share": float(shares[label]),
        "largest": float(shares[~silent].max()),
        "padded": ends / float(counts[label]),
    }


def _labels(step: Step, places: torch.Tensor) -> torch.Tensor | None:
    """The stored labels of these places, which the script may have put in one row."""
    for tensor in step.tape.constants:
        if tensor.dtype == torch.int64 and tensor.numel() == places.numel():
            return tensor.reshape(places.shape)
    return None


def _at_ends(chosen: torch.Tensor) -> torch.Tensor:
    """Those of the chosen places that stand in a row with the first or last one of a sample."""
    if chosen.dim() < 2:
        return torch.zeros_like(chosen)
    flat = chosen.flatten(1).long()
    return (flat.cumprod(1) + flat.flip(1).cumprod(1).flip(1)).clamp_max(1)


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
