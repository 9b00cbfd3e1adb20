"""Interventions: something is changed on purpose, and what that does decides over a suspicion.

Each is a function of a :class:`Scene`, which it gives back as it was. The list is the registry.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable

import numpy as np

from sounding.measure.intervene import forks
from sounding.measure.intervene.averaging import denoised
from sounding.measure.intervene.changes import (
    adopted,
    rectified,
    settled,
    standardised,
    unbatched,
    undropped,
)
from sounding.measure.intervene.forks import Arm
from sounding.measure.intervene.labels import labels
from sounding.measure.intervene.predictions import classes, constant, mixing, repeat
from sounding.measure.intervene.scene import Scene, Snapshot, Step
from sounding.measure.intervene.slopes import escaped, noise, saddle, stability
from sounding.measure.intervene.statistics import recalibrated
from sounding.measure.intervene.tables import visits
from sounding.measure.intervene.targets import scaled_targets
from sounding.measure.test import Test

LOOKS: dict[str, Callable[[Scene], dict[str, float]]] = {
    "constant": constant,
    "repeat": repeat,
    "mixing": mixing,
    "noise": noise,
    "denoised": denoised,
    "stability": stability,
    "saddle": saddle,
    "classes": classes,
    "labels": labels,
    "recalibrated": recalibrated,
    "visits": visits,
}
ARMS: dict[str, Arm] = {
    "slower": Arm(rate=0.1),
    "much_slower": Arm(rate=0.01),
    "far_slower": Arm(rate=1e-4),
    "faster": Arm(rate=10.0),
    "much_faster": Arm(rate=100.0),
    "far_faster": Arm(rate=1e4),
    "undecayed": Arm(decay=0.0),
    "clipped": Arm(clip=True),
    "unclipped": Arm(unclip=True),
    "standardised": Arm(change=standardised),
    "scaled_targets": Arm(change=scaled_targets),
    "adopted": Arm(change=adopted),
    "settled": Arm(change=settled),
    "undropped": Arm(change=undropped),
    "rectified": Arm(change=rectified),
    "unbatched": Arm(change=unbatched),
    "steady": Arm(steady=True, resume=True),
    "averaged": Arm(average=True),
    "fresh_gradients": Arm(zero=True),
    "warmed": Arm(warm=True),
    "small_epsilon": Arm(settings=(("eps", 1e-8),)),
    "decoupled": Arm(settings=(("decoupled_weight_decay", True),)),
    "escaped": Arm(resume=True, change=escaped),
}
TESTS = (*LOOKS, *ARMS)


class Interventions:
    """Makes the interventions that rules ask for on one scene, each once."""

    def __init__(self, scene: Scene) -> None:
        self._scene = dataclasses.replace(scene, steps=forks.stored(scene))
        self._base: dict[bool, np.ndarray] = {}

    def make(self, name: str) -> Test:
        """The intervention called `name`; one that fails says why and has no values."""
        began = time.perf_counter()
        if name not in TESTS:
            return Test(name=name, values={}, failed=f"there is no intervention called {name!r}")
        make = functools.partial(self._fork, name) if name in ARMS else self._look(name)
        try:
            test = make()
        except (ValueError, RuntimeError, IndexError, TypeError, NotImplementedError) as error:
            test = Test(name=name, values={}, failed=f"not possible here: {error}")
        return dataclasses.replace(test, seconds=time.perf_counter() - began)

    def _look(self, name: str) -> Callable[[], Test]:
        def look() -> Test:
            if not self._scene.steps:
                raise ValueError("no batch of the training was kept")
            with self._scene.kept():
                return Test(name=name, values=LOOKS[name](self._scene))

        return look

    def _fork(self, name: str) -> Test:
        arm = ARMS[name]
        if arm.resume not in self._base:
            self._base[arm.resume] = forks.run(
                self._scene, Arm(resume=arm.resume), forks.length(self._scene)
            )
        as_is = self._base[arm.resume]
        changed = forks.run(self._scene, arm, len(as_is))
        curves = {"as_is": as_is, "changed": changed}
        return Test(name=name, values=forks.compare(as_is, changed), curves=curves)


__all__ = ["ARMS", "LOOKS", "TESTS", "Interventions", "Scene", "Snapshot", "Step"]
