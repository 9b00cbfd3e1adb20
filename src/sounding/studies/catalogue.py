"""The list of studies, and how one is run."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import pkgutil
import sys
import time
from concurrent.futures import Executor

from sounding.store import Store, code_version
from sounding.studies import claims
from sounding.studies.claim import SCALES, Claim, Study
from sounding.studies.lab import Lab
from sounding.train import Progress, silent, train_many

TOPICS = (
    "adaptive methods",
    "gradients through depth",
    "activations",
    "initialisation",
    "pre-training",
    "clipping",
    "normalisation",
    "random labels",
    "stationary points",
    "benign problems",
    "networks' landscapes",
)


def _collected() -> dict[str, Claim]:
    """The claim of every file in `claims`, by name, topic after topic."""
    files = [info.name for info in pkgutil.iter_modules(claims.__path__)]
    found = [importlib.import_module(f"{claims.__name__}.{file}").CLAIM for file in files]
    found.sort(key=lambda claim: (TOPICS.index(claim.topic), claim.name))
    return {claim.name: claim for claim in found}


STUDIES: dict[str, Claim] = _collected()


def study(
    name: str,
    scale: str = "quick",
    progress: Progress = silent,
    *,
    store: Store | None = None,
    executor: Executor | None = None,
) -> Study:
    """Measure a claim on this machine and judge it.

    Args:
        name: A key of `STUDIES`.
        scale: 'quick' (two cores, under two minutes) or 'full' (the published size; says 'not
            tested' where data or hardware are missing). A small-scale verdict never implies the
            claim at full scale.
        progress: Told what is done, and how much is left.
        store: Where each run is kept at once, and looked up first; the Study goes there too.
        executor: Where runs are made: any of `concurrent.futures`, or one of
            :func:`sounding.engine.opened`; None: here, one after the other.

    Returns:
        A Study; the first of its verdicts is the claim's, the others are its parts.

    Raises:
        ValueError: If `name` or `scale` is unknown.
    """
    check(name, scale)
    claim = STUDIES[name]
    lab = Lab(name, scale, progress=progress, store=store, executor=executor)
    began = time.perf_counter()
    (first, *parts), charts = (claim.quick if scale == "quick" else claim.full)(lab)
    criterion = claim.criterion_at(scale)  # where `full` is `quick` with larger numbers, too
    judged = Study(
        name=name,
        topic=claim.topic,
        claim=claim.claim,
        source=claim.source,
        criterion=criterion,
        scale=scale,
        verdicts=(dataclasses.replace(first, criterion=criterion), *parts),
        charts=tuple(charts),
        how=claim.how,
        depends=claim.depends,
        changed=claim.changed,
        seconds=max(lab.seconds, time.perf_counter() - began),
    )
    if store is not None:
        store.put_study(name, scale, version_of(name), judged.to_dict())
    return judged


def version_of(name: str) -> str:
    """The version of the code that decides what a study finds."""
    module = sys.modules[STUDIES[name].quick.__module__]
    return f"{code_version(module)}-{code_version(train_many)}"


def finished(store: Store) -> list[Study]:
    """The newest Study of every claim and scale in `store`, in the catalogue's order."""
    kept = [Study.from_dict(found.values) for found in store.studies()]
    known = list(STUDIES)
    return sorted(
        kept,
        key=lambda one: (known.index(one.name) if one.name in known else len(known), one.scale),
    )


def check(name: str, scale: str) -> None:
    """Raise a ValueError that names the nearest studies, or the scales."""
    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, n=3, cutoff=0.3)
        known = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(STUDIES)}"
        raise ValueError(f"no study is called {name!r}; {known}")
    if scale not in SCALES:
        raise ValueError(f"scale is {scale!r}; use 'quick' or 'full'")
