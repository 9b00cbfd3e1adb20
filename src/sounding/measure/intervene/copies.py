"""How often each sample occurs in the batches of the training."""

from __future__ import annotations

from collections import Counter

import torch

from sounding.capture.nested import tensors
from sounding.measure.intervene.predictions import BATCHES, target_of
from sounding.measure.intervene.scene import Scene, Step


def copies(scene: Scene) -> dict[str, float]:
    """Samples in a batch, and how often each occurs: the least over the stored batches.

    A sample is everything that the model is given of it, with its target. In a batch in which they
    do not all occur equally often, each counts as occurring once.

    Raises:
        ValueError: If the call of the loss does not tell what the targets are.
    """
    shown = scene.steps[:BATCHES]
    return {
        "rows": float(min(step.rows for step in shown)),
        "copies": float(min(_times(scene, step) for step in shown)),
        "batches": float(len(shown)),
    }


def _times(scene: Scene, step: Step) -> int:
    target = scene.call.target if scene.call is not None else None
    held = None if target is None else target_of(step, target.shape[1:], target.kind)
    if held is None or step.tape.depends(step.rows):
        raise ValueError("no target was seen, or not all that the model is given")
    given = [t for t in tensors(step.given) if t.dim() and len(t) == step.rows]
    counts = set(Counter(zip(*map(_marks, (*given, held)), strict=True)).values())
    return counts.pop() if len(counts) == 1 else 1


def _marks(rows: torch.Tensor) -> list[bytes]:
    """Each row to the bit."""
    flat = rows.detach().reshape(len(rows), -1).contiguous().cpu()
    return [row.view(torch.uint8).numpy().tobytes() for row in flat.unbind()]
