"""Prove, repair and compare whatever the command line names: a case file, or a plain script."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sounding.compare import ARMS, Comparison, compare
from sounding.prove import Proof, Repair, prove, prove_arms, repair, repair_arms
from sounding.remedies import Remedy, code
from sounding.script.arm import Script
from sounding.script.casefile import is_case_file, load_case, load_case_and_arms
from sounding.train import Progress, silent
from sounding.train.space import textbook

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


def compare_target(
    path: str,
    arms: Sequence[str] = (),
    *,
    trials: int = 20,
    seeds: int = 5,
    steps: int | None = None,
    metric: str | None = None,
    progress: Progress = silent,
) -> Comparison:
    """`sounding.compare` for a case file.

    Args:
        path: Of the case file.
        arms: Names of optimisers, or of recipes in the file's own `arms`; none: all of those, or
            sgd and adam where it has none.
        trials: Of every arm.
        seeds: Fresh ones of the final runs.
        steps: Of every run; None: those of the recipes.
        metric: To tune for and judge by, instead of the training loss.
        progress: As for `compare`.

    Raises:
        ValueError: If the file is no case file, or an arm or a number is wrong.
    """
    _check_numbers(seeds, steps, None)
    if Path(path).is_file() and not is_case_file(path):
        raise ValueError(
            f"{path} is no case file: it assigns no `case` at its top level, or does not import "
            "sounding; arms can be compared only where a network can be built anew"
        )
    case, own = load_case_and_arms(path)
    chosen = {
        name: own[name] if name in own else textbook(name, case.recipe)
        for name in arms or own or ARMS
    }
    return compare(
        case,
        chosen,
        trials=trials,
        seeds=seeds,
        steps=steps,
        metric=metric,
        progress=progress,
    )


def _script(target: Sequence[str], steps: int | None, jobs: int | None) -> tuple[Script, int]:
    jobs = jobs or min(4, os.cpu_count() or 1)
    return Script(target, steps=steps or STEPS, jobs=jobs), jobs


def _check_numbers(seeds: int, steps: int | None, jobs: int | None) -> None:
    for name, value, least in (("seeds", seeds, 2), ("steps", steps, 1), ("jobs", jobs, 1)):
        if value is not None and value < least:
            raise ValueError(f"--{name} is {value}; it must be at least {least}")
