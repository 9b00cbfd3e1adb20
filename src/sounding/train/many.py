"""Many runs, as one vectorised program where that can be and is faster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, get_args

import torch
from torch import nn

from sounding.result import NotApplicable
from sounding.train.alike import alike, same
from sounding.train.batches import is_data_set
from sounding.train.case import Case
from sounding.train.loop import train, turns
from sounding.train.progress import Progress, silent
from sounding.train.together import (
    Built,
    Run,
    build,
    reason_against,
    reason_against_network,
    train_together,
)
from sounding.train.trial import Trial

Method = Literal["auto", "vectorised", "one by one"]
OnTrial = Callable[[int, Trial], None]  # (number of the job, its trial)
OnOutcome = Callable[[int, Trial | Exception], None]

LOT, LOT_BYTES = 512, 2**31  # networks, and their parameters, built before any is trained
# Runs and bytes of parameters in one program. Fewer than 8 runs share too little of what calls
# cost; from 8 to 32, up to 6 MB, a run's time hardly changes; more falls out of the caches.
CPU_RUNS, CPU_BYTES = 32, 2**23
GPU_BYTES = 2**30
FAILURES = (NotApplicable, ValueError, RuntimeError)  # what can be wrong with one run alone


def train_many(
    jobs: Sequence[tuple[Case, int]],
    *,
    steps: int | None = None,
    progress: Progress = silent,
    on_trial: OnTrial | None = None,
    method: Method = "auto",
) -> tuple[Trial, ...]:
    """The trials of all `jobs`, each of them what ``train(case, seed, steps=steps)`` gives.

    Runs whose networks differ in their numbers alone, and whose losses, data, batch sizes and
    numbers of steps are the same, become one program: their parameters are stacked, and every
    operation is one call for all of them. Recipes may differ otherwise. Losses agree with those one
    by one up to the order of sums; a run that diverges ends where it would alone and holds nobody
    up. The network and the loss are called once for all runs: one that keeps what it sees keeps
    stacked tensors. The rounding of a run may depend on what runs with it; where every digit
    must repeat, ask for 'one by one'.

    One by one, and `progress` is told why, are: a run that shares its network with no other;
    networks that draw random numbers as they train (dropout), have several types of numbers,
    parameters without a gradient, or do what ``torch.func.vmap`` cannot; optimisers made by a
    function; batches out of a DataLoader; and whatever is slower together, which the first steps
    show, or for runs too short for that the kind of the layers.

    Args:
        jobs: Cases, each with a seed.
        steps: Of every run, instead of those of the recipes.
        progress: Told of every run, and of what is run one by one.
        on_trial: Called as soon as a run has ended, with the number of its job and its trial. What
            it raises ends everything: so a caller stops once the matter is decided.
        method: 'auto'; 'vectorised' takes no time and refuses what cannot be; 'one by one'.

    Returns:
        The trials in the order of the jobs. Of runs in one program each has an equal share of the
        time as its `seconds`.

    Raises:
        ValueError: If a run cannot be trained, as from ``train``; or for 'vectorised', if it cannot
            be one program: says why.
    """
    if method not in get_args(Method):
        raise ValueError(
            f"method is {method!r}; use one of {', '.join(map(repr, get_args(Method)))}"
        )
    trials: dict[int, Trial] = {}

    def say(message: str) -> None:
        progress(message, len(trials), len(jobs))

    def told(number: int, outcome: Trial | Exception) -> None:
        if isinstance(outcome, Exception):
            raise outcome
        trials[number] = outcome
        say(str(outcome))
        if on_trial is not None:
            on_trial(number, outcome)

    run_many(jobs, told, say, steps=steps, method=method)
    return tuple(trials[number] for number in range(len(jobs)))


def run_many(
    jobs: Sequence[tuple[Case, int]],
    told: OnOutcome,
    say: Callable[[str], None],
    *,
    steps: int | None = None,
    method: Method = "auto",
) -> None:
    """What `train_many` does, for those who want to know of failures too.

    Args:
        jobs: Cases, each with a seed.
        told: Hears of each job's trial, or of the error that ended it.
        say: Hears which runs go together, and which one by one.
        steps: Of every run, instead of those of the recipes.
        method: As of `train_many`.
    """
    done: set[int] = set()

    def ended(number: int, outcome: Trial | Exception) -> None:
        done.add(number)
        told(number, outcome)

    runs = [Run(n, _shortened(case, steps), seed) for n, (case, seed) in enumerate(jobs)]
    with turns, torch.enable_grad():
        for lot in _lots(runs, method):
            for some, against in _programs(lot):
                against = against or _together(some, ended, say, method)
                if against and method == "vectorised":
                    raise ValueError(f"these runs cannot be one program: {against}")
                alone = [run for run in some if run.number not in done]
                if alone and len(jobs) > 1 and method == "auto":
                    say(f"{len(alone)} of {len(jobs)} runs one by one: {against}")
                for run in alone:
                    ended(run.number, _alone(run))


def _shortened(case: Case, steps: int | None) -> Case:
    return case if steps is None else case.replace(recipe=case.recipe.replace(steps=steps))


def _alone(run: Run) -> Trial | Exception:
    try:
        return train(run.case, run.seed)
    except FAILURES as error:
        return error


def _together(
    runs: Sequence[Run], ended: OnOutcome, say: Callable[[str], None], method: Method
) -> str:
    """Train runs with the same kind of network in programs; '', or why the rest was not trained."""
    built = [run for run in runs if isinstance(run, Built)]
    size = _program_size(built[0].model)
    programs = -(-len(built) // size)
    measure = method == "auto"
    for number in range(programs):
        part = built[number::programs]  # of equal sizes, as far as can be
        say(f"trying {len(part)} runs as one program")
        try:
            trials = train_together(part, measure=measure)
        except NotApplicable as reason:
            return str(reason)
        for run, trial in trials:
            ended(run.number, trial)
        measure = False
    return ""


def _program_size(model: nn.Module) -> int:
    """How many runs go into one program: on a CPU not more than its caches hold well."""
    first = next(model.parameters())
    bytes_, most = (CPU_BYTES, CPU_RUNS) if first.device.type == "cpu" else (GPU_BYTES, LOT)
    return max(2, min(most, bytes_ // _bytes(model)))


def _bytes(model: nn.Module) -> int:
    """Of the parameters."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


# --- what can be one program ----------------------------------------------------------------------


def _lots(runs: Sequence[Run], method: Method) -> Iterator[list[tuple[Run, str]]]:
    """The runs, built where they can be, in lots that memory holds; with what speaks against."""
    lot: list[tuple[Run, str]] = []
    held = 0
    for run in runs:
        built, against = (run, "asked for") if method == "one by one" else _built(run)
        lot.append((run if against else built, against))
        held += _bytes(built.model) if isinstance(built, Built) and not against else 0
        if len(lot) == LOT or held > LOT_BYTES:
            yield lot
            lot.clear()  # whoever was given it holds none of its networks any more
            held = 0
    yield lot


def _programs(lot: Sequence[tuple[Run, str]]) -> Iterator[tuple[list[Run], str]]:
    """The runs in groups that may be one program, with '', and the others with the reason."""
    groups: list[list[Built]] = []
    others: dict[str, list[Run]] = {}
    for run, against in lot:
        if isinstance(run, Built) and not against:
            group = next((g for g in groups if _alike(g[0], run)), None)
            if group is None:
                groups.append([run])
            else:
                group.append(run)
        else:
            others.setdefault(against, []).append(run)
    for group in groups:
        yield [*group], "" if len(group) > 1 else "no other run has such a network and such data"
    for against, some in others.items():
        yield some, against


def _built(run: Run) -> tuple[Run, str]:
    """The run with its network, and what speaks against a program."""
    against = reason_against(run.case)
    if against:
        return run, against
    try:
        built = build(run)
    except Exception as error:  # whatever it is, `train` raises it again, where it counts
        return run, f"build raised {type(error).__name__}"
    return built, reason_against_network(built.model)


def _alike(one: Built, other: Built) -> bool:
    first, second = one.case, other.case
    return (
        _same_data(first.batches, second.batches)
        and first.recipe.batch_size == second.recipe.batch_size
        and first.recipe.steps == second.recipe.steps
        and same(first.loss, second.loss)
        and alike(one.model, other.model)
    )


def _same_data(one: Any, other: Any) -> bool:
    return one is other or (
        is_data_set(one) and is_data_set(other) and one[0] is other[0] and one[1] is other[1]
    )
