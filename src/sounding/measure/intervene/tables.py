"""How often the rows of a table are looked up."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from sounding.measure.intervene.scene import Scene

RARE = 0.1  # the share of the rows that are visited least


def visits(scene: Scene) -> dict[str, float]:
    """The wait between two visits of a rare row: steps over visits, of the rarest tenth that came.

    Of all embeddings the one whose rare rows wait longest.

    Raises:
        ValueError: If the model has no embedding, or none was called.
    """
    tables = [m for m in scene.model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)]
    counts = {id(m): torch.zeros(m.num_embeddings) for m in tables}

    def hook(module: nn.Module, args: tuple) -> None:
        rows = args[0].detach().cpu().unique() if args else torch.zeros(0)
        counts[id(module)][rows.long()] += 1

    handles = [m.register_forward_pre_hook(hook) for m in tables]
    try:
        with torch.no_grad():
            for step in scene.steps:
                scene.output(step)
    finally:
        for handle in handles:
            handle.remove()
    waits = []
    for count in counts.values():
        seen = np.sort(count[count > 0].numpy())
        if seen.size:
            rare = seen[: max(1, int(RARE * seen.size))]
            waits.append(len(scene.steps) / float(rare.mean()))
    if not waits:
        raise ValueError("no embedding was looked up")
    return {"wait": max(waits), "steps": float(len(scene.steps))}
