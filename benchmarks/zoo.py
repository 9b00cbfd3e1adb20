"""Hits on the sick nets and trainings of the zoo, and false alarms on its healthy ones.

Nets are examined on one batch, at three stages of their training; programs are trained whole, under
observation. With --write the rates go into the rules' pages, between their markers; they are never
typed. Takes about an hour on one core.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch

from sounding.checkup import checkup
from sounding.confusion import Confusion, examine_programs
from sounding.exam import Checkup
from sounding.rules import RULES
from sounding.rules.pages import HERE
from sounding.verdict import proportion
from sounding.zoo import HEALTHY, SICK, Entry, visit
from sounding.zoo.programs import PROGRAMS
from sounding.zoo.programs.healthy_all import HEALTHY_PROGRAMS

SEEDS = (0, 1, 2)
OPEN, CLOSE = "<!-- rates -->", "<!-- /rates -->"


def examined(entries: Iterable[Entry]) -> list[tuple[Entry, int, Checkup]]:
    """Every entry, at each of its stages, on every seed."""
    seen: list[tuple[Entry, int, Checkup]] = []
    for entry in entries:
        for seed in SEEDS:

            def look(step, net, batch, optimiser, entry=entry):
                exam = checkup(net, entry.case.loss, batch, optimizer=optimiser)
                seen.append((entry, step, exam))

            visit(entry, look, seed=seed)
    return seen


def rate(hits: int, count: int) -> str:
    """'3 of 40, 0.075 [0.026, 0.199]': the Wilson interval at 95 %."""
    estimate = proportion(hits, count)
    low, high = estimate.interval
    return f"{hits} of {count}, {estimate.value:.3f} [{low:.3f}, {high:.3f}]"


def write(
    sick: Counter[str],
    met: Counter[str],
    healthy: Counter[str],
    looks: int,
    trainings: Confusion,
) -> None:
    """The rates of each rule into its page."""
    for rule in RULES:
        page = Path(HERE) / f"{rule.code}.md"
        text = page.read_text(encoding="utf-8")
        before, rest = text.split(OPEN)
        after = rest.split(CLOSE)[1]
        lines = [f"On healthy nets of the zoo: {rate(healthy[rule.code], looks)}."]
        if met[rule.code]:
            hits = rate(sick[rule.code], met[rule.code])
            lines.append(f"Among the findings on sick nets made for it: {hits}.")
        found, false = trainings.of_rule(rule.code)
        lines.append(f"On healthy trainings of the zoo: {rate(*false)}.")
        if found[1]:
            hits = rate(*found)
            lines.append(f"Among the findings on sick trainings that may have it first: {hits}.")
        lines.append("Wilson intervals at 95 %; nets, stages of training and seeds count singly.")
        body = "\n".join(lines)
        page.write_text(f"{before}{OPEN}\n{body}\n{CLOSE}{after}", encoding="utf-8")


def main() -> None:
    """Print the table; with --write also keep it."""
    torch.set_num_threads(1)
    sick_found: Counter[str] = Counter()
    met: Counter[str] = Counter()
    first = three = alarms = 0
    sick = examined(SICK)
    for entry, step, exam in sick:
        codes = [f.code for f in exam.findings]
        first += bool(codes) and codes[0] in entry.expected
        three += bool(set(codes[:3]) & set(entry.expected))
        alarms += bool(codes)
        for code in entry.expected:
            met[code] += 1
            sick_found[code] += code in codes
        if not codes or codes[0] not in entry.expected:
            print(f"  missed: {entry.name} at step {step}: {codes[:3]}, not {entry.expected}")
    healthy = examined(HEALTHY)
    false: Counter[str] = Counter()
    cried = 0
    for entry, step, exam in healthy:
        cried += bool(exam.findings)
        for finding in exam.findings:
            false[finding.code] += 1
            print(f"  cried:  {entry.name} at step {step}: {finding.code} {finding.message[:70]}")
    print(f"sick nets with an alarm          {rate(alarms, len(sick))}")
    print(f"  the right cause first          {rate(first, len(sick))}")
    print(f"  among the first three          {rate(three, len(sick))}")
    print(f"healthy nets with an alarm       {rate(cried, len(healthy))}")
    trainings = examine_programs((*PROGRAMS, *HEALTHY_PROGRAMS), seeds=(0,))
    for name, estimate in trainings.rates().items():
        low, high = estimate.interval
        print(f"trainings: {name:<27} {estimate.value:.3f} [{low:.3f}, {high:.3f}]")
    if "--write" in sys.argv:
        write(sick_found, met, false, len(healthy), trainings)


if __name__ == "__main__":
    main()
