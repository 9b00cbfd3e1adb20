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
from sounding.measure.intervene.answers import answers
from sounding.measure.intervene.baseline import baseline
from sounding.measure.intervene.changes import (
    adopted,
    in_training,
    leaking,
    rectified,
    settled,
    standardised,
    unbatched,
    undropped,
    widened,
)
from sounding.measure.intervene.copies import copies
from sounding.measure.intervene.deaths import deaths
from sounding.measure.intervene.forks import Arm
from sounding.measure.intervene.labels import labels
from sounding.measure.intervene.left_out import cooled, denoised, heated, reheated
from sounding.measure.intervene.memory import memory
from sounding.measure.intervene.predictions import classes, constant, mirrored, mixing, repeat
from sounding.measure.intervene.pull import pull
from sounding.measure.intervene.redrawing import redrawn
from sounding.measure.intervene.scene import Scene, Snapshot, Step
from sounding.measure.intervene.slopes import escaped, noise, saddle, stability
from sounding.measure.intervene.statistics import recalibrated
from sounding.measure.intervene.tables import visits
from sounding.measure.intervene.targets import scaled_targets
from sounding.measure.intervene.unseen import redrawn_unseen, undecayed_unseen
from sounding.measure.test import Test

LOOKS: dict[str, Callable[[Scene], dict[str, float]]] = {
    "answers": answers,
    "baseline": baseline,
    "constant": constant,
    "memory": memory,
    "mirrored": mirrored,
    "pull": pull,
    "repeat": repeat,
    "mixing": mixing,
    "noise": noise,
    "denoised": denoised,
    "cooled": cooled,
    "heated": heated,
    "reheated": reheated,
    "stability": stability,
    "saddle": saddle,
    "classes": classes,
    "labels": labels,
    "copies": copies,
    "recalibrated": recalibrated,
    "visits": visits,
    "deaths": deaths,
    "undecayed_unseen": undecayed_unseen,
    "redrawn_unseen": redrawn_unseen,
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
    "leaking": Arm(change=leaking),
    "leaking_on": Arm(change=leaking, resume=True),
    "widened": Arm(change=widened),
    "redrawn": Arm(change=redrawn),
    "in_training": Arm(change=in_training),
    "evened": Arm(even=True),
    "steady": Arm(steady=True, resume=True),
    "averaged": Arm(average=True),
    "fresh_gradients": Arm(zero=True),
    "warmed": Arm(warm=True),
    "small_epsilon": Arm(settings=(("eps", 1e-8),)),
    "decoupled": Arm(settings=(("decoupled_weight_decay", True),)),
    "escaped": Arm(resume=True, change=escaped),
}
REPLAYED = "replayed"  # the training as it was, beside the run itself
TESTS = (*LOOKS, *ARMS, REPLAYED)


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
        if name == REPLAYED:
            make = self._replayed
        else:
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

    def _replayed(self) -> Test:
        """The run itself beside the training begun again as it was, while both see one batch."""
        again = self._as_it_was(resume=False)
        count = min(len(again), len(self._scene.steps) // forks.calls_a_step(self._scene))
        if count < forks.LEAST:
            raise ValueError(f"{count} steps with the same batches are too few to tell anything")
        run, again = self._scene.course.loss[:count], again[:count]
        curves = {"as_is": run, "changed": again}
        return Test(name=REPLAYED, values=forks.compare(run, again), curves=curves)

    def _as_it_was(self, *, resume: bool) -> np.ndarray:
        if resume not in self._base:
            self._base[resume] = forks.run(
                self._scene, Arm(resume=resume), forks.length(self._scene)
            )
        return self._base[resume]

    def _fork(self, name: str) -> Test:
        arm = ARMS[name]
        as_is = self._as_it_was(resume=arm.resume)
        changed = forks.run(self._scene, arm, len(as_is))
        curves = {"as_is": as_is, "changed": changed}
        return Test(name=name, values=forks.compare(as_is, changed), curves=curves)


__all__ = ["ARMS", "LOOKS", "TESTS", "Interventions", "Scene", "Snapshot", "Step"]
