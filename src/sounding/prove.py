"""Prove a remedy with paired seeds; repair a case by stacking the remedies that are proven."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor

import numpy as np

from sounding.checkup import checkup
from sounding.exam import Checkup
from sounding.remedies import apply, code
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable, Result, Series
from sounding.train import Case, Progress, Trial, silent
from sounding.train.outcomes import (
    BAND,
    DECADES,
    paired_losses,
    paired_metrics,
    which_is_better,
)
from sounding.train.runs import CaseArm, Runs
from sounding.train.seeding import chosen_seeds
from sounding.verdict import REFUTED, SUPPORTED, Verdict, judge, untested

Arm = Callable[[tuple[Remedy, ...], int], Trial]  # trains with these remedies applied, on this seed
Examine = Callable[[tuple[Remedy, ...]], Checkup]  # examines with these remedies applied

FIRST_LOOKS = (3, 5)  # numbers of pairs at which an early verdict may be given
GENTLEST = ("recipe", "weights", "architecture", "code")  # what a remedy touches, gentlest first


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Proof(Result):
    """One remedy, judged: the verdict and the loss curves of both arms behind it."""

    remedy: Remedy
    verdict: Verdict  # on the training loss
    metrics: tuple[Verdict, ...]  # on whatever else was recorded, 'accuracy' first
    before: tuple[Series, ...]  # training loss of the untreated arm, one a seed
    after: tuple[Series, ...]  # of the treated arm
    code: str  # the remedy as code to paste

    def __str__(self) -> str:
        return str(self.verdict)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Repair(Result):
    """What was tried on a sick case, what was proven, and the code that repairs it."""

    checkup: Checkup  # of the untreated case
    proofs: tuple[Proof, ...]  # in the order tried
    kept: tuple[Remedy, ...]  # the proven ones, stacked
    after: Checkup | None  # of the treated case, None where nothing was proven
    code: str  # everything kept, as code to paste
    subject: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        kept = ", ".join(map(str, self.kept)) or "nothing"
        return f"{kept} proven, of {len(self.proofs)} remedies tried in {self.seconds:.0f} s"


# --- one remedy -----------------------------------------------------------------------------------


def prove(
    remedy: Remedy,
    case: Case,
    *,
    seeds: int | Sequence[int] = 5,
    steps: int | None = None,
    progress: Progress = silent,
    executor: Executor | None = None,
) -> Proof:
    """Train `case` with and without `remedy`, on the same seeds, and judge the difference.

    Both arms draw the same batches in the same order. The outcome is the mean training loss over
    the last tenth of the steps, in decades; metrics are judged beside it. There is a look at the
    data after 3 and after 5 pairs, each at a level that keeps 95 % over all looks; a verdict that
    is clear at the first look ends the runs.

    Args:
        remedy: What is tried, on copies: `case` stays as it is.
        case: What it is tried on.
        seeds: How many, counted from 0, or which.
        steps: Of every run; None: those of the case's recipe.
        progress: Told beforehand how many runs it may take, and then of every run.
        executor: Where the runs go; None: one after the other. Threads take turns, because torch
            has one random state a process; processes need a case that can be pickled.

    Returns:
        A Proof; 'not tested' where the remedy does not apply.
    """
    text = code(remedy, checkup(case).readings)
    return prove_arms(
        case_arm(case, steps),
        remedy,
        seeds=seeds,
        steps=case.recipe.steps if steps is None else steps,
        code=text,
        progress=progress,
        executor=executor,
    )


def prove_arms(
    arm: Arm,
    remedy: Remedy,
    *,
    kept: tuple[Remedy, ...] = (),
    seeds: int | Sequence[int] = 5,
    steps: int | None = None,
    tried: int = 1,
    code: str = "",
    progress: Progress = silent,
    executor: Executor | None = None,
) -> Proof:
    """What `prove` does, for anything that can train: `arm` runs it, a case or a script.

    The remedies `kept` are applied in both arms. With `tried` remedies judged side by side the
    level is corrected for all of them.
    """
    chosen = chosen_seeds(seeds)
    runs = Runs(arm, progress, executor)
    runs.plan(2 * len(chosen), f"{len(chosen)} pairs with and without {remedy}", steps)
    try:
        proof = _prove(runs, remedy, kept, chosen, tried, code)
    except NotApplicable as reason:
        proof = _not_tested(remedy, f"not applicable: {reason}", code)
    runs.end(str(proof))
    return proof


def case_arm(case: Case, steps: int | None = None) -> Arm:
    """The arm that trains `case`; can be pickled if `case` can."""
    return CaseArm(functools.partial(_treated, case), steps)


def _examine_treated(
    case: Case, steps: int | None, progress: Progress, remedies: tuple[Remedy, ...]
) -> Checkup:
    """The deep examination of a case with `remedies` applied."""
    return checkup(_treated(case, remedies), deep=True, steps=steps, progress=progress)


def _treated(case: Case, remedies: tuple[Remedy, ...]) -> Case:
    return apply(remedies, case) if remedies else case


def _prove(
    runs: Runs,
    remedy: Remedy,
    kept: tuple[Remedy, ...],
    seeds: tuple[int, ...],
    tried: int,
    text: str,
) -> Proof:
    looks = _looks(seeds)
    before, after, verdict = [], [], None
    for count in looks:
        trials = runs.trials(_jobs(kept, [remedy], seeds[:count]))
        before, after = trials[0::2], trials[1::2]
        verdict = _judge_losses(before, after, _statement(remedy, kept), len(looks), tried)
        if verdict.outcome in (SUPPORTED, REFUTED):
            break
    assert verdict is not None
    if len(before) < len(seeds):
        early = f"decided after {len(before)} of {len(seeds)} seeds"
        verdict = dataclasses.replace(verdict, note="; ".join(filter(None, (verdict.note, early))))
    return Proof(
        remedy=remedy,
        verdict=verdict,
        metrics=_judge_metrics(before, after, remedy, len(looks), tried),
        before=tuple(trial.loss for trial in before),
        after=tuple(trial.loss for trial in after),
        code=text,
    )


def _looks(seeds: tuple[int, ...]) -> list[int]:
    """Numbers of pairs at which the data are looked at."""
    return [n for n in FIRST_LOOKS if n < len(seeds)] + [len(seeds)]


def _jobs(
    kept: tuple[Remedy, ...], remedies: Iterable[Remedy], seeds: Iterable[int]
) -> list[tuple[tuple[Remedy, ...], int]]:
    """The runs of every arm, seed by seed: without any of the remedies, then with each."""
    arms = [kept, *((*kept, remedy) for remedy in remedies)]
    return [(arm, seed) for seed in seeds for arm in arms]


def _statement(remedy: Remedy, kept: tuple[Remedy, ...]) -> str:
    on_top = f", on top of {', '.join(map(str, kept))}" if kept else ""
    return f"{remedy} lowers the final training loss{on_top}"


def _not_tested(remedy: Remedy, why: str, text: str) -> Proof:
    verdict = untested(_statement(remedy, ()), unit=DECADES, criterion="paired seeds", note=why)
    return Proof(remedy=remedy, verdict=verdict, metrics=(), before=(), after=(), code=text)


# --- outcomes -------------------------------------------------------------------------------------


def _judge_losses(
    before: list[Trial], after: list[Trial], statement: str, looks: int, tried: int
) -> Verdict:
    untreated, treated, nothing, unit = paired_losses(before, after)
    return judge(
        untreated,
        treated,
        statement=statement,
        unit=unit,
        looks=looks,
        tried=tried,
        band=BAND if unit == DECADES else 0.0,
        worst=nothing,
        seeds=[trial.seed for trial in before],
    )


def _judge_metrics(
    before: list[Trial], after: list[Trial], remedy: Remedy, looks: int, tried: int
) -> tuple[Verdict, ...]:
    verdicts = []
    for name, (untreated, treated) in paired_metrics(before, after).items():
        better = which_is_better(name)
        verdict = judge(
            untreated,
            treated,
            statement=f"{remedy} {'lowers' if better == 'lower' else 'raises'} the final {name}",
            unit=name,
            better=better,
            looks=looks,
            tried=tried,
            seeds=[trial.seed for trial in before],
        )
        verdicts.append(verdict)
    return tuple(verdicts)


# --- many remedies --------------------------------------------------------------------------------


def repair(
    case: Case,
    *,
    seeds: int | Sequence[int] = 5,
    steps: int | None = None,
    finalists: int = 2,
    limit: int = 4,
    progress: Progress = silent,
    executor: Executor | None = None,
) -> Repair:
    """Examine `case`, try the remedies of its findings, keep the best proven one, and go on.

    Each round proves remedies against the case as repaired so far, keeps the best proven one, and
    examines the result; it ends when nothing more is proven or no problem is left. The best one is
    the gentlest: a change of architecture is preferred to one of the weights only if it ends at a
    lower loss on the same seeds, by the same judge. The case itself is not changed.

    *Screening.* Where a round has more than `finalists` remedies, all of them first run once, on
    one common seed that is not among the paired ones. Those that do best there are proven. Since
    the proof uses other seeds, the choice does not bias it, and the level is corrected for the
    finalists only.

    *Correction.* Round r may err with probability 5 % / 2^r in all, so all rounds together with at
    most 5 %, however many there are.

    Args:
        case: What is to be repaired.
        seeds: Paired seeds of a proof: how many, counted from 0, or which.
        steps: Of every run; None: those of the case's recipe.
        finalists: Remedies that are proven in a round.
        limit: Remedies that are stacked at most.
        progress: Told beforehand how many runs it may take, and then of every run.
        executor: As for `prove`.
    """
    return repair_arms(
        case_arm(case, steps),
        functools.partial(_examine_treated, case, steps, progress),
        seeds=seeds,
        steps=case.recipe.steps if steps is None else steps,
        finalists=finalists,
        limit=limit,
        progress=progress,
        executor=executor,
        subject=case.name,
    )


def repair_arms(
    arm: Arm,
    examine: Examine,
    *,
    seeds: int | Sequence[int] = 5,
    steps: int | None = None,
    finalists: int = 2,
    limit: int = 4,
    progress: Progress = silent,
    executor: Executor | None = None,
    subject: str = "",
) -> Repair:
    """What `repair` does, for anything that can be trained and examined."""
    began, chosen = time.perf_counter(), chosen_seeds(seeds)
    runs = Runs(arm, progress, executor)
    first = latest = examine(())
    kept: tuple[Remedy, ...] = ()
    proofs: list[Proof] = []
    texts: list[str] = []
    while len(kept) < limit:
        candidates = _candidates(latest, proofs)
        if not candidates or (kept and not latest.problems):
            break
        runs.plan(*_planned(len(candidates), len(chosen), finalists), steps)
        write = functools.partial(code, readings=latest.readings)
        tried = _round(runs, candidates, kept, chosen, finalists, write)
        proofs += tried
        best = _best(tried)
        if best is None:
            break
        kept, texts = (*kept, best.remedy), [*texts, best.code]
        latest = examine(kept)
    runs.end("repaired" if kept else "nothing proven")
    return Repair(
        checkup=first,
        proofs=tuple(proofs),
        kept=kept,
        after=latest if kept else None,
        code="\n\n".join(texts),
        subject=subject,
        seconds=time.perf_counter() - began,
    )


def _candidates(examined: Checkup, proofs: list[Proof]) -> list[Remedy]:
    """The remedies of the findings in order, each once, without those already settled.

    One that was only screened out, on one seed, may come again.
    """
    settled = {str(proof.remedy) for proof in proofs if len(proof.before) != 1}
    found = {str(r): r for finding in reversed(examined.findings) for r in finding.remedies[::-1]}
    return [remedy for text, remedy in reversed(found.items()) if text not in settled]


def _planned(candidates: int, seeds: int, finalists: int) -> tuple[int, str]:
    """The largest number of runs of a round, and how it comes about."""
    proven = min(candidates, finalists)
    pairs = seeds * (1 + proven)
    if candidates <= finalists:
        return pairs, f"{proven} remedies and the untreated arm on {seeds} seeds"
    return 1 + candidates + pairs, (
        f"{candidates} remedies and the untreated arm once each, then the best {proven} on "
        f"{seeds} other seeds"
    )


def _round(
    runs: Runs,
    candidates: list[Remedy],
    kept: tuple[Remedy, ...],
    seeds: tuple[int, ...],
    finalists: int,
    write: Callable[[Remedy], str],
) -> list[Proof]:
    """Screen `candidates` where they are many, and prove the best."""
    chosen, proofs = candidates, []
    if len(candidates) > finalists:
        chosen, proofs = _screen(runs, candidates, kept, max(seeds) + 1, finalists, write)
    tried = len(chosen) * 2 ** (len(kept) + 1)
    runs.prepare(_jobs(kept, chosen, seeds[: _looks(seeds)[0]]))
    return proofs + [_attempt(runs, r, kept, seeds, tried, write(r)) for r in chosen]


def _screen(
    runs: Runs,
    candidates: list[Remedy],
    kept: tuple[Remedy, ...],
    seed: int,
    finalists: int,
    write: Callable[[Remedy], str],
) -> tuple[list[Remedy], list[Proof]]:
    """The remedies that do best on one seed, in their order, and a row for each left out."""
    runs.prepare(_jobs(kept, candidates, [seed]))
    proofs = [_attempt(runs, remedy, kept, (seed,), 1, write(remedy)) for remedy in candidates]
    better = [p for p in proofs if p.verdict.effect > BAND and np.isfinite(p.verdict.after).all()]
    chosen = sorted(better, key=lambda p: -p.verdict.effect)[:finalists]
    left = [_screened(proof, seed) for proof in proofs if proof not in chosen]
    return [proof.remedy for proof in proofs if proof in chosen], left


def _screened(proof: Proof, seed: int) -> Proof:
    if not proof.before:
        return proof  # it failed, and says so
    note = f"left out after the screening on seed {seed}"
    return dataclasses.replace(proof, verdict=dataclasses.replace(proof.verdict, note=note))


def _attempt(
    runs: Runs,
    remedy: Remedy,
    kept: tuple[Remedy, ...],
    seeds: tuple[int, ...],
    tried: int,
    text: str,
) -> Proof:
    """One remedy's proof; a row that says why where its runs failed."""
    try:
        return _prove(runs, remedy, kept, seeds, tried, text)
    except NotApplicable as reason:
        return _not_tested(remedy, f"not applicable: {reason}", text)
    except (ValueError, RuntimeError) as error:
        return _not_tested(remedy, f"the treated run failed: {error}", text)


def _best(proofs: Iterable[Proof]) -> Proof | None:
    """The gentlest proven remedy that no bolder one beats on the same seeds; None: none proven.

    What touches less is gentler; among equals the order of the finding's remedies decides, in which
    the simplest comes first.
    """
    proven = [proof for proof in proofs if proof.verdict.outcome == SUPPORTED]
    order = sorted(proven, key=lambda p: GENTLEST.index(p.remedy.touches))
    best = order[0] if order else None
    for bolder in order[1:]:
        best = bolder if best is None or _beats(bolder, best) else best
    return best


def _beats(bolder: Proof, best: Proof) -> bool:
    n = min(len(bolder.verdict.after), len(best.verdict.after))
    verdict = judge(
        best.verdict.after[:n],
        bolder.verdict.after[:n],
        statement=f"{bolder.remedy} ends at a lower loss than {best.remedy}",
        unit=best.verdict.unit,
        band=BAND,
    )
    return verdict.outcome == SUPPORTED
