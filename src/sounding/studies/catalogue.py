"""The list of studies, and how one is run."""

from __future__ import annotations

import difflib
import time

from sounding.studies import he_2015_depth
from sounding.studies.study import Claim, Study
from sounding.train import Progress, silent

STUDIES: dict[str, Claim] = {claim.name: claim for claim in (he_2015_depth.CLAIM,)}


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
    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, n=3, cutoff=0.3)
        known = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(STUDIES)}"
        raise ValueError(f"no study is called {name!r}; {known}")
    if scale not in ("quick", "full"):
        raise ValueError(f"scale is {scale!r}; use 'quick' or 'full'")
    began, claim = time.perf_counter(), STUDIES[name]
    verdicts, profiles = (claim.quick if scale == "quick" else claim.full)(progress)
    return Study(
        name=name,
        claim=claim.claim,
        source=claim.source,
        criterion=verdicts[0].criterion,
        scale=scale,
        verdicts=verdicts,
        profiles=profiles,
        seconds=time.perf_counter() - began,
    )
