"""How many sick trainings the doctor repairs, and whether chance would have done as well.

    python benchmarks/repair.py [--count 30] [--json FILE]

Trainings of the zoo that no change of code is needed for, drawn at random. Each is repaired as
`sounding repair` does it, with one round: the remedies of its findings run once, the best two are
proven on three paired seeds. Beside it the same procedure with as many remedies drawn at random
from the whole list, those that have to be given a number without one left out. The gain is what
the proven remedy wins in decades of the final training loss, 0 where nothing is proven.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import random
import sys
from pathlib import Path

from sounding.exam import Checkup
from sounding.prove import Repair, repair_arms
from sounding.remedies import REMEDIES, TOUCHES, Remedy
from sounding.remedies.registry import GIVEN
from sounding.rules import Finding
from sounding.script.arm import Script
from sounding.verdict import judge, proportion
from sounding.zoo.programs import PROGRAMS

SEEDS, STEPS, LEAST = 3, 150, 3  # paired seeds, steps of a run, remedies that chance may try


def main() -> None:
    """Print one line a training, then the rates and the comparison."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--json", default="")
    options = parser.parse_args()
    curable = [p.name for p in PROGRAMS if not p.code_only]
    names = random.Random(0).sample(curable, min(options.count, len(curable)))
    rows = []
    for name in names:
        rows.append(both(name))
        print("{name:36} doctor {doctor:+.2f} {kept:44} chance {chance:+.2f}".format(**rows[-1]))
        sys.stdout.flush()
        if options.json:
            Path(options.json).write_text(json.dumps(rows), encoding="utf-8")
    report(rows)


def both(name: str) -> dict:
    """The gains of the doctor's remedies and of as many random ones."""
    script = Script(("-m", "sounding.zoo.programs", name), steps=STEPS)
    try:
        doctor = repaired(script, script.examine)
    except ValueError as reason:
        return {"name": name, "doctor": 0.0, "kept": str(reason)[:44], "chance": 0.0, "tried": 0}
    tried = max(LEAST, len(doctor.proofs))
    chance = repaired(script, lambda remedies: drawn(script, name, tried))
    kept = str(doctor.kept[0]) if doctor.kept else f"nothing, of {len(doctor.proofs)}"
    return {
        "name": name,
        "found": [finding.code for finding in doctor.checkup.findings],
        "doctor": gain(doctor),
        "kept": kept,
        "chance": gain(chance),
        "tried": tried,
    }


def repaired(script: Script, examine) -> Repair:
    """One round of repair."""
    return repair_arms(script.train, examine, seeds=SEEDS, steps=STEPS, limit=1)


def drawn(script: Script, name: str, count: int) -> Checkup:
    """The checkup, with one finding whose remedies are drawn at random."""
    needless = [
        remedy
        for remedy, function in REMEDIES.items()
        if all(
            key in GIVEN or parameter.default is not inspect.Parameter.empty
            for key, parameter in inspect.signature(function).parameters.items()
        )
    ]
    chosen = random.Random(name).sample(needless, min(count, len(needless)))
    remedies = tuple(Remedy(name=remedy, touches=TOUCHES[remedy]) for remedy in chosen)
    finding = Finding(
        code="ANY",
        name="chance",
        severity="problem",
        message="",
        layers=(),
        source="",
        measured={},
        expected={},
        confidence="measured",
        remedies=remedies,
    )
    return dataclasses.replace(script.examine(), findings=(finding,))


def gain(repair: Repair) -> float:
    """Decades of the final loss that the proven remedy wins; 0 without one."""
    proofs = [proof for proof in repair.proofs if repair.kept and proof.remedy is repair.kept[0]]
    return max((proof.verdict.effect for proof in proofs), default=0.0)


def report(rows: list[dict]) -> None:
    """The rates with their Wilson intervals, and the paired difference."""
    for arm in ("doctor", "chance"):
        hits = sum(row[arm] > 0 for row in rows)
        rate = proportion(hits, len(rows))
        low, high = rate.interval
        print(f"{arm}: {hits} of {len(rows)} repaired, {rate.value:.2f} [{low:.2f}, {high:.2f}]")
    verdict = judge(
        [row["chance"] for row in rows],
        [row["doctor"] for row in rows],
        statement="the doctor's remedies win more than as many random ones",
        unit="decades of loss",
        better="higher",
    )
    print(verdict)


if __name__ == "__main__":
    main()
