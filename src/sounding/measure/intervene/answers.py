"""Whether the output at a place of a sequence sees the very input that it is to predict."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from sounding.capture.nested import tensors, with_tensors
from sounding.measure.intervene.scene import Scene, Step

FARTHEST = 4  # places that a target may lie ahead of its output
COMPARING = ("cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")


def answers(scene: Scene) -> dict[str, float]:
    """How much the output at a place changes with the input that is its target.

    The target of place t is looked for among the inputs, `shift` places ahead. Then one input is
    exchanged for that of another sample, and the outputs are compared: at the place whose target it
    is (`own`), before that (`before`) and behind (`after`), as rms over the output's deviation.

    Raises:
        ValueError: If the targets are no inputs, or the output has no such places.
    """
    step = scene.steps[0]
    scene.model.eval()
    with torch.no_grad():
        output = scene.output(step)
        target = _target(scene, step, output)
        sequence, shift = _found(step, target)
        logits = scene.tensor(output)
        count = target.numel() // step.rows // sequence[0, 0].numel()
        at = _middle(sequence, shift, count)
        other = sequence.clone()
        other[:, at] = sequence.roll(1, 0)[:, at]
        given = with_tensors(step.given, lambda t: other if t is sequence else t)
        changed = scene.tensor(scene.answer(step, given))
    gap, spread = _places(changed - logits, step.rows, count), float(logits.std())
    own = at - shift
    return {
        "shift": float(shift),
        "own": _rms(gap[:, own]) / spread,
        "before": _rms(gap[:, :own]) / spread,
        "after": _rms(gap[:, own + 1 :]) / spread,
    }


class _Targets(TorchFunctionMode):
    """Notes what the outputs are compared with."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[torch.Tensor] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Note the second argument of a loss."""
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in COMPARING:
            target = kwargs.get("target", args[1] if len(args) > 1 else None)
            if isinstance(target, torch.Tensor):
                self.found.append(target)
        return func(*args, **kwargs)


def _target(scene: Scene, step: Step, output: Any) -> torch.Tensor:
    with _Targets() as seen:
        step.tape.replay(step.given, output, exchanged=scene.exchanged)
    if len(seen.found) != 1:
        raise ValueError("the targets were not seen in one call of a loss")
    return seen.found[0]


def _found(step: Step, target: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The last of the inputs that holds the targets, and how many places ahead.

    Raises:
        ValueError: If none does.
    """
    for given in reversed(tensors(step.given)):
        if given.dim() < 2 or given.dtype != target.dtype or given.shape[0] != step.rows:
            continue
        size = given[0, 0].numel()
        if not size or target.numel() % (step.rows * size):
            continue
        wanted = target.reshape(step.rows, -1, *given.shape[2:])
        for shift in range(FARTHEST + 1):
            part = given[:, shift : shift + wanted.shape[1]]
            if part.shape[1] > 2 and _same(part, wanted[:, : part.shape[1]]):
                return given, shift
    raise ValueError("the targets are not among the inputs")


def _same(part: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Whether all are equal that count (labels below 0 do not), and not all the same."""
    counts = wanted >= 0 if not wanted.is_floating_point() else torch.ones_like(wanted).bool()
    kept = wanted[counts]
    several = kept.numel() > 1 and bool((kept != kept[0]).any())
    return several and bool((part == wanted)[counts].all())


def _middle(sequence: torch.Tensor, shift: int, count: int) -> int:
    """A place whose inputs differ between neighbouring samples, nearest to the middle.

    Raises:
        ValueError: If the inputs of all samples are the same.
    """
    differ = (sequence != sequence.roll(1, 0)).flatten(2).any(2) if sequence.dim() > 2 else None
    differ = (sequence != sequence.roll(1, 0)) if differ is None else differ
    places = differ.any(0).nonzero().flatten().tolist()
    places = [p for p in places if 0 < p - shift < count - 1]  # with places on both sides
    if not places:
        raise ValueError("the inputs of all samples are the same, or have too few places")
    return min(places, key=lambda p: abs(p - shift - count // 2))


def _places(gap: torch.Tensor, rows: int, count: int) -> torch.Tensor:
    """(N, T, ...) a difference of outputs, with its places in front of everything else.

    Raises:
        ValueError: If the output's places are not known.
    """
    if gap.shape[0] == rows * count:
        return gap.reshape(rows, count, -1)
    along = [d for d in range(1, gap.dim()) if gap.shape[d] >= count > 1]
    exact = [d for d in along if gap.shape[d] == count] or along
    if gap.shape[0] != rows or len(exact) != 1:
        raise ValueError("which dimension of the output runs along the sequence is not known")
    return gap.movedim(exact[0], 1)[:, :count]


def _rms(part: torch.Tensor) -> float:
    return float(part.float().square().mean().sqrt()) if part.numel() else 0.0
