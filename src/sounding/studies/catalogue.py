"""The list of studies, and how one is run."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import time

from sounding.studies import claims
from sounding.studies.lab import Lab
from sounding.studies.study import SCALES, Claim, Study
from sounding.train import Progress, silent


def _collected() -> dict[str, Claim]:
    """The claim of every file in `claims`, by name."""
    files = [info.name for info in pkgutil.iter_modules(claims.__path__)]
    found = [importlib.import_module(f"{claims.__name__}.{file}").CLAIM for file in files]
    return {claim.name: claim for claim in found}


STUDIES: dict[str, Claim] = _collected()


def study(name: str, scale: str = "quick", progress: Progress = silent) -> Study:
    """Measure a claim on this machine and judge it.

    Args:
        name: A key of `STUDIES`.
        scale: 'quick' (two cores, under two minutes) or 'full' (the published size; says 'not
            tested' where data or hardware are missing). A small-scale verdict never implies the
            claim at full scale.
        progress: Told what is done, and how much is left.

    Returns:
        A Study; the first of its verdicts is the claim's, the others are its parts.

    Raises:
        ValueError: If `name` or `scale` is unknown.
    """
    check(name, scale)
    began, claim = time.perf_counter(), STUDIES[name]
    verdicts, charts = (claim.quick if scale == "quick" else claim.full)(Lab(progress))
    return Study(
        name=name,
        topic=claim.topic,
        claim=claim.claim,
        source=claim.source,
        criterion=claim.criterion_at(scale),
        scale=scale,
        verdicts=tuple(verdicts),
        charts=tuple(charts),
        how=claim.how,
        depends=claim.depends,
        seconds=time.perf_counter() - began,
    )


def check(name: str, scale: str) -> None:
    """Raise a ValueError that names the nearest studies, or the scales."""
    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, n=3, cutoff=0.3)
        known = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(STUDIES)}"
        raise ValueError(f"no study is called {name!r}; {known}")
    if scale not in SCALES:
        raise ValueError(f"scale is {scale!r}; use 'quick' or 'full'")
