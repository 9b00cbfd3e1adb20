"""Prove and repair whatever the command line names: a case file, or a plain script."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from sounding.prove import Proof, Repair, prove, prove_arms, repair, repair_arms
from sounding.remedies import Remedy, code
from sounding.script.arm import Script
from sounding.script.casefile import is_case_file, load_case
from sounding.train import Progress, silent

STEPS = 600  # of a script's trial, where nothing else is said


def repair_target(
    target: Sequence[str],
    *,
    seeds: int = 5,
    steps: int | None = None,
    jobs: int | None = None,
    progress: Progress = silent,
) -> Repair:
    """`sounding.repair` for a case file or a script with its arguments.

    Raises:
        ValueError: If the target or a number is wrong, or the script cannot be used for trials.
    """
    _check_numbers(seeds, steps, jobs)
    if is_case_file(target[0]):
        return repair(load_case(target[0]), seeds=seeds, steps=steps, progress=progress)
    script, jobs = _script(target, steps, jobs)
    with ThreadPoolExecutor(jobs) as executor:
        return repair_arms(
            script.train,
            script.examine,
            seeds=seeds,
            steps=script.steps,
            progress=progress,
            executor=executor,
            subject=" ".join(target),
        )


def prove_target(
    remedy: Remedy,
    target: Sequence[str],
    *,
    seeds: int = 5,
    steps: int | None = None,
    jobs: int | None = None,
    progress: Progress = silent,
) -> Proof:
    """`sounding.prove` for a case file or a script with its arguments.

    Raises:
        ValueError: If the target or a number is wrong, or the script cannot be used for trials.
    """
    _check_numbers(seeds, steps, jobs)
    if is_case_file(target[0]):
        return prove(remedy, load_case(target[0]), seeds=seeds, steps=steps, progress=progress)
    script, jobs = _script(target, steps, jobs)
    text = code(remedy, script.examine().readings)
    with ThreadPoolExecutor(jobs) as executor:
        return prove_arms(
            script.train,
            remedy,
            seeds=seeds,
            steps=script.steps,
            code=text,
            progress=progress,
            executor=executor,
        )


def _script(target: Sequence[str], steps: int | None, jobs: int | None) -> tuple[Script, int]:
    jobs = jobs or min(4, os.cpu_count() or 1)
    return Script(target, steps=steps or STEPS, jobs=jobs), jobs


def _check_numbers(seeds: int, steps: int | None, jobs: int | None) -> None:
    for name, value, least in (("seeds", seeds, 2), ("steps", steps, 1), ("jobs", jobs, 1)):
        if value is not None and value < least:
            raise ValueError(f"--{name} is {value}; it must be at least {least}")
