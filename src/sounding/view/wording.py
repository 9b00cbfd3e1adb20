"""What results say in one sentence, the same in the terminal, the page and the figures."""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np

from sounding.compare import Comparison
from sounding.curvature.density import Density
from sounding.curvature.eigenpairs import Eigenpairs
from sounding.curvature.estimate import Estimate
from sounding.curvature.monitor import SharpnessSeries
from sounding.curvature.sharpness import Sharpness
from sounding.curvature.spectrum import Spectrum
from sounding.exam import Checkup
from sounding.landscape.atlas import Atlas
from sounding.landscape.escape import Escape
from sounding.landscape.paths import Path
from sounding.landscape.stationary_point import StationaryPoint
from sounding.landscape.surface import Surface
from sounding.prove import Proof, Repair
from sounding.result import Profile, Result
from sounding.rules.finding import Finding
from sounding.run import Run
from sounding.studies.claim import Studies, Study
from sounding.verdict import Verdict
from sounding.view import (
    wording_curvature,
    wording_landscape,
    wording_points,
    wording_sharpness,
)
from sounding.view.numbers import count, number, percent, together
from sounding.watch import Training, Watched

DECADES = "decades of "  # a unit that begins so: effect and outcomes are decimal logarithms
MARKS = {"supported": "✓", "refuted": "✗", "inconclusive": "?", "not tested": "–"}


def compared(finding: Finding) -> list[tuple[str, str, str]]:
    """Rows (quantity, measured, expected) of a finding; '' where there is no such number.

    A number called `x_error` is the error of `x` and stands behind it.
    """
    every = dict.fromkeys([*finding.measured, *finding.expected])
    names = [n for n in every if not (n.endswith("_error") and n.removesuffix("_error") in every)]
    return [(_spaced(n), _valued(finding.measured, n), _valued(finding.expected, n)) for n in names]


def _spaced(name: str) -> str:
    """'factor_per_layer' as words; a name that is words already stays."""
    return name if " " in name else name.replace("_", " ")


def _valued(values: dict[str, float], name: str) -> str:
    """'0.334 ± 0.0037', without an error where there is none."""
    if name not in values:
        return ""
    error = values.get(f"{name}_error")
    return number(values[name]) + (f" ± {error:.2g}" if error is not None else "")


def folded(findings: Sequence[Finding]) -> list[tuple[Finding, list[Finding]]]:
    """Causes in their order, each with the findings that it explains, however indirectly."""
    by_code = {f.code: f for f in reversed(findings)}
    consequences: dict[int, list[Finding]] = {id(f): [] for f in findings}
    causes = []
    for finding in findings:
        root = _root(finding, by_code)
        if root is finding:
            causes.append(finding)
        else:
            consequences[id(root)].append(finding)
    return [(cause, consequences[id(cause)]) for cause in causes]


def _root(finding: Finding, by_code: dict[str, Finding]) -> Finding:
    """The cause at the end of the chain of `because`; the finding itself if the chain is a ring."""
    seen, current = {finding.code}, finding
    while current.because in by_code:
        if current.because in seen:
            return finding
        seen.add(current.because)
        current = by_code[current.because]
    return current


def summary(checkup: Checkup) -> str:
    """'1 problem, 2 consequences, 9 checks passed, 2 not applicable', or that nothing was found."""
    outcomes = Counter(outcome.outcome for outcome in checkup.outcomes)
    rest = [
        f"{outcomes[name]} {name}"
        for name in ("not applicable", "skipped", "ignored")
        if outcomes[name]
    ]
    if not checkup.findings:
        said = f"Nothing found in {count(outcomes['passed'], 'check')}."
        return said + (f" {', '.join(rest).capitalize()}." if rest else "")
    followed = sum(len(consequences) for _, consequences in folded(checkup.findings))
    found = [*_severities(checkup), *([count(followed, "consequence")] if followed else [])]
    return ", ".join([*found, f"{count(outcomes['passed'], 'check')} passed", *rest])


def _severities(checkup: Checkup) -> list[str]:
    """'1 problem', '2 cautions': causes only, not what follows from them."""
    severities = Counter(cause.severity for cause, _ in folded(checkup.findings))
    return [count(severities[s], s) for s in ("problem", "caution") if severities[s]]


def examined(checkup: Checkup) -> str:
    """What was looked at, in one line."""
    readings = checkup.readings
    value = "NaN" if math.isnan(readings.loss) else number(readings.loss)
    loss = f"loss {value}" + (readings.loss_name and f" ({readings.loss_name})")
    return ", ".join(
        [
            *([checkup.subject] if checkup.subject else []),
            readings.model,
            count(len(readings.path), "weighted layer"),
            *([f"batch of {readings.batch}"] if readings.batch else []),
            f"step {readings.step}",
            loss,
            f"{readings.device} {readings.dtype}",
            f"examined in {number(checkup.seconds)} s",
        ]
    )


def quantity(verdict: Verdict) -> str:
    """What the two arms' outcomes are: 'accuracy'; 'loss' where the effect is in decades of it."""
    return verdict.unit.removeprefix(DECADES).removeprefix("of ")


def outcomes(verdict: Verdict) -> tuple[np.ndarray, np.ndarray]:
    """Both arms' outcomes as they were recorded: those judged in decades are logarithms."""
    if not verdict.unit.startswith(DECADES):
        return verdict.before, verdict.after
    with np.errstate(over="ignore"):
        return 10.0**verdict.before, 10.0**verdict.after


def means(verdict: Verdict) -> tuple[float, float]:
    """The two arms' means; geometric ones for what is judged in decades."""
    with np.errstate(all="ignore"):
        arms = [float(np.mean(v)) if len(v) else math.nan for v in (verdict.before, verdict.after)]
        if verdict.unit.startswith(DECADES):
            arms = [float(np.power(10.0, value)) for value in arms]
    return arms[0], arms[1]


def effect(verdict: Verdict) -> str:
    """The effect with its interval: '+0.87 [0.84, 0.90]'."""
    values = together([verdict.effect, *verdict.interval])
    sign = "+" if verdict.effect > 0 else ""
    decades = " decades" if verdict.unit.startswith(DECADES) else ""
    return f"{sign}{values[0]} [{', '.join(values[1:])}]{decades}"


def arms(verdict: Verdict, arrow: str = "->") -> str:
    """The two arms' means: 'accuracy 0.10 -> 0.97'."""
    if not len(verdict.before) or not len(verdict.after):
        return quantity(verdict)
    before, after = together(means(verdict))
    return f"{quantity(verdict)} {before} {arrow} {after}"


def judged(verdict: Verdict, arrow: str = "->") -> str:
    """'supported: accuracy 0.10 -> 0.97 (+0.87 [0.84, 0.90], 95 %, 5 paired seeds)'."""
    if verdict.outcome == "not tested" or not math.isfinite(verdict.effect):
        return f"{verdict.outcome}: {verdict.note or verdict.statement}"
    seeds = f"{count(len(verdict.seeds), 'paired seed')}"
    return (
        f"{verdict.outcome}: {arms(verdict, arrow)} "
        f"({effect(verdict)}, {percent(verdict.level)}, {seeds})"
    )


def best_verdict(proof: Proof) -> Verdict:
    """The verdict to put first: the first metric that was judged, else the training loss."""
    judged_metrics = [m for m in proof.metrics if m.outcome != "not tested"]
    return judged_metrics[0] if judged_metrics else proof.verdict


def tested(proof: Proof) -> list[Verdict]:
    """What was judged, metrics first; of a remedy that was left out, the one reason."""
    if proof.verdict.outcome == "not tested":
        return [proof.verdict]
    return [*proof.metrics, proof.verdict]


def kept_proofs(repair: Repair) -> list[Proof]:
    """The proofs of the remedies that were kept, in the order tried."""
    kept = {str(remedy) for remedy in repair.kept}
    return [p for p in repair.proofs if str(p.remedy) in kept and p.verdict.outcome == "supported"]


@functools.singledispatch
def headline(result: Result) -> str:
    """The sentence to read if only one is read."""
    return type(result).__name__


@headline.register
def _(result: Checkup) -> str:
    found = " and ".join(_severities(result))
    where = _short(result.subject) or result.readings.model
    return f"{found} in {where}" if found else summary(result).split(".")[0]


def _short(subject: str) -> str:
    """The script's name, without its folder and arguments."""
    script = re.match(r".*?\.py(?=\s|$)", subject)
    return PurePath(script[0] if script else subject).name


@headline.register
def _(result: Run) -> str:
    return headline(result.checkup) if result.checkup else f"No training seen in {result.subject}"


@headline.register
def _(result: Training) -> str:
    return f"{result.model} trained by {result.optimiser}"


@headline.register
def _(result: Watched) -> str:
    if result.checkup is not None and result.checkup.findings:
        return headline(result.checkup)
    return f"The training of {_short(result.subject) or 'a model'}"


@headline.register
def _(result: Proof) -> str:
    verdict = best_verdict(result)
    if verdict.outcome == "not tested":
        return f"Not tested: {result.remedy}"
    return f"{verdict.outcome.capitalize()}: {arms(verdict, '→')} with {result.remedy}"


@headline.register
def _(result: Study) -> str:
    outcome = result.verdicts[0].outcome if result.verdicts else "not tested"
    return f"{outcome.capitalize()}: {result.claim}"


@headline.register
def _(result: Studies) -> str:
    return f"{count(len(result.studies), 'claim')} judged: {result}"


@headline.register
def _(result: Comparison) -> str:
    found = [pair.verdict.statement for pair in result.pairs if pair.differ]
    rest = len(result.pairs) - len(found)
    if found:
        return "; ".join(found) + (f"; no difference found in {rest} more" if rest else "")
    *others, last = (arm.name for arm in result.arms)
    return f"No difference found between {', '.join(others)} and {last} in {result.quantity}"


@headline.register
def _(result: Verdict) -> str:
    return f"{result.outcome.capitalize()}: {result.statement}"


@headline.register
def _(result: Repair) -> str:
    proofs = kept_proofs(result)
    if not proofs:
        return "No remedy is proven" if result.proofs else "Nothing to repair"
    first, last = best_verdict(proofs[0]), best_verdict(proofs[-1])
    if first.unit != last.unit:
        first, last = proofs[0].verdict, proofs[-1].verdict
    before, after = together([means(first)[0], means(last)[1]])
    return f"Repaired: {quantity(last)} {before} → {after}"


@headline.register
def _(result: Surface) -> str:
    return wording_landscape.surface_headline(result)


@headline.register
def _(result: StationaryPoint) -> str:
    return wording_points.point_headline(result)


@headline.register
def _(result: Escape) -> str:
    return wording_points.escape_headline(result)


@headline.register
def _(result: Atlas) -> str:
    return headline(result.point)


@headline.register
def _(result: Path) -> str:
    return wording_landscape.path_headline(result)


@headline.register
def _(result: Profile) -> str:
    values = np.asarray(result.values, dtype=float)
    said = f"{result.quantity[:1].upper()}{result.quantity[1:]}"
    if not np.isfinite(values).any():
        return said
    low, high = int(np.nanargmin(values)), int(np.nanargmax(values))
    ends = (f"{number(values[i])} ({result.layers[i] or 'the model'})" for i in (low, high))
    return said + ": from " + " to ".join(ends)


headline.register(Spectrum, wording_curvature.spectrum_headline)
headline.register(Eigenpairs, wording_curvature.eigenpairs_headline)
headline.register(Density, wording_curvature.density_headline)
headline.register(Estimate, wording_curvature.estimate_headline)
headline.register(Sharpness, wording_sharpness.point_headline)
headline.register(SharpnessSeries, wording_sharpness.series_headline)


def agreement(profile: Profile) -> str:
    """How far a profile is from what was expected of it, in one sentence."""
    said = profile.quantity
    if profile.expected is not None and len(profile.layers):
        distance = np.abs(profile.values - profile.expected)
        if np.isfinite(distance).any():
            unit = f" {profile.unit}" if profile.unit else ""
            said += f": within {number(np.nanmax(distance))}{unit} of what is expected"
    return said + (f" ({profile.source})" if profile.source else "")


def kind(result: Result) -> str:
    """The kind's name, for templates."""
    return type(result).__name__
