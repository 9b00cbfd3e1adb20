"""Whether the program of a full scale runs to its end, seen without the hardware that it needs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any

from sounding.studies.catalogue import STUDIES, check
from sounding.studies.claim import Study, not_tested
from sounding.studies.lab import Lab
from sounding.train import Progress, silent
from sounding.verdict import NOT_TESTED


def smoke(
    name: str,
    progress: Progress = silent,
    *,
    sizes: Mapping[str, Any] | None = None,
    executor: Executor | None = None,
) -> Study:
    """Run a study's full scale on the CPU, at sizes that take minutes, and judge nothing.

    The same data, arms, trainings and statistics as at the published size, on fewer images and for
    fewer steps. What comes out says nothing about the claim, so it is not shown and not stored.

    Args:
        name: A key of `STUDIES`, of a study whose full scale needs a GPU.
        progress: Told what is done, and how much is left.
        sizes: Keyword arguments of the study's `full`, in place of some of its own `smoke`.
        executor: Where runs are made; None: here, one after the other.

    Returns:
        A Study whose one verdict is 'not tested'; its note says at which sizes the program ran.

    Raises:
        ValueError: If the study is unknown, needs no smoke run, or if its data are not here.
    """
    check(name, "full")
    claim = STUDIES[name]
    if claim.smoke is None:
        raise ValueError(
            f"the full scale of {name} runs on a CPU as it is: "
            f"sounding study run {name} --scale full"
        )
    used = {"device": "cpu", **claim.smoke, **(sizes or {})}
    lab = Lab(name, "full", progress=progress, executor=executor)
    began = time.perf_counter()
    (first, *others), _ = claim.full(lab, **used)
    if first.outcome == NOT_TESTED:
        raise ValueError(f"no smoke run of {name}: {first.note}")
    told = ", ".join(f"{key} {value}" for key, value in used.items())
    note = (
        f"a smoke run, which judges nothing: the program of the full scale ran to its end on the "
        f"CPU, {lab.done} runs and {1 + len(others)} verdicts, with {told}"
    )
    verdicts, charts = not_tested(claim.claim, claim.criterion_at("full"), note, first.unit)
    return Study(
        name=name,
        topic=claim.topic,
        claim=claim.claim,
        source=claim.source,
        criterion=claim.criterion_at("full"),
        scale="full",
        verdicts=tuple(verdicts),
        charts=tuple(charts),
        how=claim.how,
        depends=claim.depends,
        changed=claim.changed,
        seconds=time.perf_counter() - began,
    )
