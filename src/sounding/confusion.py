"""The doctor judged: trainings with known answers, what was found, and the rates."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Sequence

from sounding.result import Result
from sounding.train import Progress, seeded, silent
from sounding.verdict import Estimate, proportion
from sounding.watch.diagnosis import diagnose
from sounding.watch.observer import Observer
from sounding.zoo.program import Program


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Visit(Result):
    """One training of the zoo, and its diagnosis."""

    name: str
    seed: int
    expected: tuple[str, ...]  # codes of which the first finding must have one; empty: healthy
    found: tuple[str, ...]  # codes of the findings, most likely cause first
    problems: int  # of them, those that stop the training
    seconds: float  # of the training and its examination
    note: str = ""  # what went wrong with the visit itself

    @property
    def hit(self) -> bool:
        """Whether the first finding names the cause; of a healthy one, whether there is none."""
        return self.place == 1 if self.expected else not self.found

    @property
    def place(self) -> int:
        """Place of the first expected code among the findings, from 1; 0 where there is none."""
        places = [at for at, code in enumerate(self.found, 1) if code in self.expected]
        return places[0] if places else 0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Confusion(Result):
    """How often the right thing was found, and how often something where nothing is."""

    visits: tuple[Visit, ...]

    @property
    def sick(self) -> list[Visit]:
        """Trainings with a fault."""
        return [v for v in self.visits if v.expected]

    @property
    def healthy(self) -> list[Visit]:
        """Trainings without one."""
        return [v for v in self.visits if not v.expected]

    def rates(self) -> dict[str, Estimate]:
        """Shares with their Wilson intervals at 95 %; those without a case are left out.

        Trainings and seeds count singly, as if they were independent.
        """
        sick, healthy = self.sick, self.healthy
        rows = {
            "faults with an alarm": [bool(v.found) for v in sick],
            "right cause first": [v.place == 1 for v in sick],
            "right cause among three": [1 <= v.place <= 3 for v in sick],
            "healthy with an alarm": [bool(v.found) for v in healthy],
            "healthy with a problem": [v.problems > 0 for v in healthy],
        }
        return {name: proportion(sum(r), len(r)) for name, r in rows.items() if r}

    def of_rule(self, code: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """(found, made for it) among the sick, (alarms, all) among the healthy: counts."""
        made = [code in v.found for v in self.sick if code in v.expected]
        false = [code in v.found for v in self.healthy]
        return (sum(made), len(made)), (sum(false), len(false))


def examine_programs(
    programs: Iterable[Program],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    cured: bool = False,
    progress: Progress = silent,
) -> Confusion:
    """Train every program under observation, on every seed, and diagnose it.

    Args:
        programs: From :mod:`sounding.zoo.programs`.
        seeds: Of torch's, numpy's and Python's generators.
        cured: Run the sick ones without their fault; nothing should be found then.
        progress: Told of every visit.
    """
    chosen = [(program, seed) for program in programs for seed in seeds]
    visits = []
    for at, (program, seed) in enumerate(chosen):
        visits.append(_visit(program, seed, cured=cured))
        progress(f"{program.name}: {', '.join(visits[-1].found) or 'nothing'}", at, len(chosen))
    return Confusion(visits=tuple(visits))


def _visit(program: Program, seed: int, *, cured: bool) -> Visit:
    start = time.perf_counter()
    observer, note = Observer(), ""
    with seeded(seed):
        with observer.watching():
            try:
                program.run(not cured)
            except Exception as error:  # a training that ends with an error has a diagnosis too
                note = f"{type(error).__name__}: {error}"
        exam = diagnose(observer, program.name)
    findings = () if exam is None else exam.findings
    return Visit(
        name=program.name,
        seed=seed,
        expected=() if cured else program.expected,
        found=tuple(f.code for f in findings),
        problems=sum(f.severity == "problem" for f in findings),
        seconds=time.perf_counter() - start,
        note=note or "; ".join(observer.failures),
    )
