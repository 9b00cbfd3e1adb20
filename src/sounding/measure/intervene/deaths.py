"""Units of rectifiers that died as a net was trained: counted at its beginning and at its end."""

from __future__ import annotations

import math

import torch

from sounding.capture.recorder import Recorder
from sounding.measure.intervene import forks
from sounding.measure.intervene.scene import Scene, Step

BATCHES, FEW = 16, 4  # of the stored ones: that decide; that are looked at along the way
LOOKS = 12  # along the way

Alive = dict[str, torch.Tensor]  # (units,) of a rectifier's call, whether each ever fires


def deaths(scene: Scene) -> dict[str, float]:
    """Units that fired for some stored sample as the training began, and fire for none any more.

    Of every rectifier before the last weights: 'alive:NAME', the units that fired at first, and
    'died:NAME', those of them that no longer do. `samples` says on how many: one that fires for a
    share p of them is missed with (1 - p) to that power. `onset` is the step at which half of the
    deaths had happened, nan where that was not among the first stored steps, which are made again:
    there `after` is the step that they end at.

    Raises:
        ValueError: If the net has no such rectifier.
    """
    shown = scene.steps[:: max(1, len(scene.steps) // BATCHES)][:BATCHES]
    with scene.begun_again():
        first = alive(scene, shown)
    last = alive(scene, shown)
    kept = [name for name, fired in first.items() if name in last and fired.sum() > 1]
    if not kept:
        raise ValueError("no rectifier was called before the last layer")
    values = {"samples": float(sum(step.rows for step in shown))}
    for name in kept:
        values[f"alive:{name}"] = float(first[name].sum())
        values[f"died:{name}"] = float((first[name] & ~last[name]).sum())
    worst = max(kept, key=lambda name: values[f"died:{name}"] / values[f"alive:{name}"])
    return values | _course(scene, worst, values[f"died:{worst}"])


@torch.no_grad()
def alive(scene: Scene, steps: list[Step]) -> Alive:
    """Of every rectifier before the last weighted call, which of its units fire for any sample."""
    found: Alive = {}
    for step in steps:
        recorder = Recorder(scene.model)
        with recorder.watching():
            scene.output(step)
        last = max((n.index for n in recorder.nodes if n.role == "weight"), default=-1)
        for node in recorder.nodes:
            if node.peaks is not None and node.index < last:
                fires = node.peaks.detach() > 0
                known = found.get(node.name)
                found[node.name] = fires if known is None else known | fires
    return {name: fires.cpu() for name, fires in found.items()}


def _course(scene: Scene, layer: str, died: float) -> dict[str, float]:
    """The step at which half of a layer's deaths had happened, and the one that is looked up to."""
    most = min(forks.length(scene), len(scene.steps) // forks.calls_a_step(scene))
    looks = sorted({max(1, round(most ** (k / LOOKS))) for k in range(LOOKS + 1)})
    few, dead = scene.steps[:FEW], []
    with scene.begun_again():
        first = alive(scene, few).get(layer)

        def look(made: int) -> None:
            if first is not None and made in looks:
                dead.append((made, float((first & ~alive(scene, few)[layer]).sum())))

        torch.manual_seed(0)
        forks.descend(scene, forks.AS_IT_IS, most, after=look)
    onset = next((made for made, count in dead if count >= died / 2), math.nan)
    return {"onset": float(onset), "after": float(most)}
