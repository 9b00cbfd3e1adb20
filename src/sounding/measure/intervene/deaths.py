"""Units of rectifiers that died as a net was trained: counted at its beginning and at its end."""

from __future__ import annotations

import math

import torch

from sounding.capture.recorder import Recorder
from sounding.measure.intervene import forks
from sounding.measure.intervene.forks import AS_IT_IS, Arm
from sounding.measure.intervene.scene import Scene, Step

BATCHES, FEW = 16, 4  # of the stored ones: that decide; that are looked at along the way
LOOKS = 12  # along the way

Alive = dict[str, torch.Tensor]  # (units,) of a rectifier's call, whether each ever fires


def deaths(scene: Scene) -> dict[str, float]:
    """Units that fired for some stored sample as the training began, and fire for none any more.

    Of every rectifier before the last weights: 'alive:NAME', the units that fired at first, and
    'died:NAME', those of them that no longer do. `samples` says on how many: one that fires for a
    share p of them is missed with (1 - p) to that power. The first `steps` are made again, as far
    as their batches were kept, to see how many of the worst layer's die in them `as_is` and at a
    tenth of the rate, `slower`; `onset` is the step by which half of all that died had, nan where
    that was later.

    Raises:
        ValueError: If the net has no such rectifier.
    """
    shown = scene.steps[:: max(1, len(scene.steps) // BATCHES)][:BATCHES]
    with scene.begun_again():
        first = alive(scene, shown)
    with scene.kept():
        last = alive(scene, shown)
    kept = [name for name, fired in first.items() if name in last and fired.sum() > 1]
    if not kept:
        raise ValueError("no rectifier was called before the last layer")
    values = {"samples": float(sum(step.rows for step in shown))}
    for name in kept:
        values[f"alive:{name}"] = float(first[name].sum())
        values[f"died:{name}"] = float((first[name] & ~last[name]).sum())
    worst = max(kept, key=lambda name: values[f"died:{name}"] / values[f"alive:{name}"])
    as_is, slower = (_along(scene, arm, worst) for arm in (AS_IT_IS, Arm(rate=0.1)))
    half = values[f"died:{worst}"] / 2
    values["onset"] = float(next((made for made, dead in as_is if dead >= half), math.nan))
    values["steps"], values["as_is"] = map(float, as_is[-1])
    return values | {"slower": float(slower[-1][1])}


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


def _along(scene: Scene, arm: Arm, layer: str) -> list[tuple[int, int]]:
    """Steps made from the beginning, and units of the layer that had died by then, on FEW batches.

    Looked at are LOOKS of the steps, spaced by a factor.
    """
    most = min(forks.length(scene), len(scene.steps) // forks.calls_a_step(scene))
    looks = {max(1, round(most ** (k / LOOKS))) for k in range(1, LOOKS + 1)}
    few, seen = scene.steps[:FEW], []
    with forks.begun(scene, arm), torch.enable_grad():
        first = alive(scene, few)[layer]

        def look(made: int) -> None:
            if made in looks:
                seen.append((made, int((first & ~alive(scene, few)[layer]).sum())))

        forks.descend(scene, arm, most, after=look)
    return seen
