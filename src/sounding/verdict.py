"""The judge: the only statistics of this package.

Letters: n paired seeds, m intervals that are looked at.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from sounding.result import Result

Numbers = Sequence[float] | np.ndarray

SUPPORTED, REFUTED, INCONCLUSIVE = "supported", "refuted", "inconclusive"
NOT_TESTED = "not tested"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Verdict(Result):
    """The answer to a preregistered question, with its effect and interval."""

    statement: str  # what was claimed: 'reinitialise(scheme=...) lowers the training loss'
    outcome: str  # 'supported', 'refuted', 'inconclusive', 'not tested'
    effect: float  # mean paired difference, in `unit`, positive in the claimed direction
    interval: tuple[float, ...]  # (low, high) at `level`
    unit: str  # 'decades of loss', 'accuracy', ...
    level: float  # of the interval, after the correction for looks and for remedies tried
    criterion: str  # written before the run
    seeds: tuple[int, ...]  # (n,)
    before: np.ndarray  # (n,) outcome of the untreated arm
    after: np.ndarray  # (n,) outcome of the treated arm
    note: str = ""  # divergence, early end, what was left out

    def __str__(self) -> str:
        if self.outcome == NOT_TESTED:
            return f"{self.outcome}: {self.statement}" + (f" ({self.note})" if self.note else "")
        low, high = self.interval
        return (
            f"{self.outcome}: {self.statement}; effect {self.effect:.3g} {self.unit} "
            f"[{low:.3g}, {high:.3g}], {len(self.seeds)} seeds"
            + f" ({self.note})"
            * bool(self.note)
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Estimate(Result):
    """A number with its confidence interval."""

    value: float
    interval: tuple[float, ...]  # (low, high) at `level`
    level: float

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.interval[0]:.4g}, {self.interval[1]:.4g}]"


# --- paired arms ----------------------------------------------------------------------------------


def judge(
    before: Numbers,
    after: Numbers,
    *,
    statement: str,
    unit: str,
    better: str = "lower",
    criterion: str | None = None,
    level: float = 0.95,
    looks: int = 1,
    tried: int = 1,
    band: float = 0.0,
    worst: Numbers | float | None = None,
    seeds: Sequence[int] | None = None,
    names: tuple[str, str] = ("untreated", "treated"),
) -> Verdict:
    """Whether `after` is better than `before`, by the paired t-interval of the differences.

    The claim is supported where the interval lies wholly above `band`, refuted where it lies
    wholly below -`band` or wholly inside the band of no effect, and inconclusive otherwise.

    *Correction.* With m = looks x tried intervals of level 1 - a/m each, the chance that any of
    them misses its mean is at most the sum of the chances, m a/m = a (Bonferroni). So all of them
    hold together with the probability `level`, however they depend on one another: the same
    seeds looked at again, or remedies that share a baseline.

    *Divergence.* A run that diverged (NaN or infinite) or ended worse than `worst` counts as
    `worst`: it has learnt nothing, and how far it flew off says nothing about the other arm. A
    remedy that rescues diverging runs is so credited with what its own arm learnt and no more. A
    claim is never supported when a treated run diverged, and refuted when all of them did.

    *No spread.* Differences that are equal to the last digit give an interval without width. That
    is honest for an outcome that does not depend on the seed; the note says so.

    Args:
        before: (n,) outcome of the untreated arm.
        after: (n,) outcome of the treated arm, with the same seeds in the same order.
        statement: The claim, as a sentence.
        unit: Of the outcome.
        better: 'lower' or 'higher' outcomes are better.
        criterion: The rule, written before the run; None: the rule above with its numbers.
        level: Confidence that all `looks` x `tried` intervals hold together.
        looks: How often these data are judged while they grow.
        tried: How many claims are judged side by side.
        band: Half-width of the band of no effect, in `unit`.
        worst: Outcome of a run that learnt nothing, one a seed or one for all; None: the worst
            finite outcome of either arm.
        seeds: Of the pairs; None: 0 to n - 1.
        names: What the note calls the runs of `before` and of `after`.

    Returns:
        A Verdict; 'not tested' below two pairs, which have no spread to judge by.
    """
    before, after = _paired(before, after)
    if better not in ("lower", "higher"):
        raise ValueError(f"better is {better!r}; use 'lower' or 'higher'")
    sign = 1.0 if better == "lower" else -1.0
    own = 1 - (1 - level) / (looks * tried)
    cap = _cap(sign * before, sign * after, np.nan if worst is None else sign * np.asarray(worst))
    difference = _charged(sign * before, cap) - _charged(sign * after, cap)
    effect, interval = _mean_interval(difference, own)
    outcome = _outcome(interval, band) if len(before) > 1 else NOT_TESTED
    lost = int(np.sum(~np.isfinite(after)))
    if len(before) > 1 and lost == len(after):
        outcome = REFUTED
    elif lost and outcome == SUPPORTED:
        outcome = INCONCLUSIVE
    return Verdict(
        statement=statement,
        outcome=outcome,
        effect=effect,
        interval=interval,
        unit=unit,
        level=own,
        criterion=criterion or _criterion(own, unit, band, level, looks * tried),
        seeds=tuple(range(len(before)) if seeds is None else seeds),
        before=before,
        after=after,
        note=_note({names[0]: sign * before, names[1]: sign * after}, cap, difference),
    )


def untested(
    statement: str, *, unit: str, criterion: str, note: str, seeds: Sequence[int] = ()
) -> Verdict:
    """The verdict on a claim that could not be put to the test; `note` says why."""
    return Verdict(
        statement=statement,
        outcome=NOT_TESTED,
        effect=math.nan,
        interval=(math.nan, math.nan),
        unit=unit,
        level=math.nan,
        criterion=criterion,
        seeds=tuple(seeds),
        before=np.array([]),
        after=np.array([]),
        note=note,
    )


def _paired(before: Numbers, after: Numbers) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(before, float), np.asarray(after, float)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(
            f"before has shape {first.shape} and after {second.shape}; both need one number a seed"
        )
    return first, second


def _cap(before: np.ndarray, after: np.ndarray, worst: np.ndarray | float) -> np.ndarray:
    """(n,) What a run that learnt nothing counts as, with less as better."""
    outcomes = np.concatenate([before, after])
    finite = outcomes[np.isfinite(outcomes)]
    given = np.broadcast_to(np.asarray(worst, float), before.shape)
    return np.where(np.isfinite(given), given, finite.max() if finite.size else 0.0)


def _charged(arm: np.ndarray, cap: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(arm), np.minimum(arm, cap), cap)


def _outcome(interval: tuple[float, ...], band: float) -> str:
    low, high = interval
    if low > band:
        return SUPPORTED
    if high < -band or (-band <= low and high <= band):
        return REFUTED
    return INCONCLUSIVE


def _criterion(own: float, unit: str, band: float, level: float, intervals: int) -> str:
    together = f"; {intervals} intervals hold together at {level:.4g}" if intervals > 1 else ""
    return (
        f"supported if the paired t-interval at level {own:.5g} lies above {band:g} {unit}, "
        f"refuted if below -{band:g} or within ±{band:g}, else inconclusive{together}"
    )


def _note(arms: dict[str, np.ndarray], cap: np.ndarray, difference: np.ndarray) -> str:
    n, notes = len(cap), []
    for name, arm in arms.items():
        lost = int(np.sum(~np.isfinite(arm)))
        stuck = int(np.sum(np.isfinite(arm) & (arm > cap)))
        if lost:
            notes.append(f"{lost} of {n} {name} runs diverged")
        if stuck:
            notes.append(f"{stuck} of {n} {name} runs ended no better than they began")
    if n < 2:
        notes.append(f"{n} seed{'s' * (n != 1)}: an interval needs at least 2")
    elif np.ptp(difference) == 0 and not notes:
        notes.append("the difference is the same on every seed, so the interval has no width")
    return "; ".join(notes)


# --- other claims ---------------------------------------------------------------------------------


def agrees(
    measured: Numbers,
    expected: Numbers,
    *,
    tolerance: float,
    statement: str,
    unit: str,
    level: float = 0.95,
    seeds: Sequence[int] | None = None,
) -> Verdict:
    """Whether a measured quantity has the value that theory gives, up to `tolerance`.

    Supported where the t-interval of measured - expected lies wholly within the tolerance,
    refuted where it lies wholly outside, inconclusive otherwise. In the Verdict `before` is what
    was expected, `after` what was measured.
    """
    expected, measured = _paired(expected, measured)
    effect, (low, high) = _mean_interval(measured - expected, level)
    outcome = INCONCLUSIVE
    if -tolerance <= low and high <= tolerance:
        outcome = SUPPORTED
    elif low > tolerance or high < -tolerance:
        outcome = REFUTED
    return Verdict(
        statement=statement,
        outcome=outcome if len(measured) > 1 else NOT_TESTED,
        effect=effect,
        interval=(low, high),
        unit=unit,
        level=level,
        criterion=(
            f"supported if the {level:g} t-interval of measured - expected lies within "
            f"±{tolerance:g} {unit}, refuted if outside, else inconclusive"
        ),
        seeds=tuple(range(len(measured)) if seeds is None else seeds),
        before=expected,
        after=measured,
    )


def every(
    values: Numbers,
    *,
    statement: str,
    above: float | None = None,
    below: float | None = None,
    level: float = 0.95,
    seeds: Sequence[int] | None = None,
    note: str = "",
) -> Verdict:
    """Whether every single run lies above (or below) a bound; NaN lies on the wrong side.

    Supported where all do, refuted where none does, inconclusive otherwise. The effect is the
    fraction that does, with Wilson's interval. In the Verdict `before` is the bound, `after` the
    values.
    """
    if (above is None) == (below is None):
        raise ValueError("give either above or below")
    measured = np.asarray(values, float)
    passed = measured > above if above is not None else measured < below
    rate = proportion(int(passed.sum()), len(measured), level=level)
    outcome = SUPPORTED if passed.all() else INCONCLUSIVE if passed.any() else REFUTED
    side, bound = ("above", above) if above is not None else ("below", below)
    return Verdict(
        statement=statement,
        outcome=outcome,
        effect=rate.value,
        interval=rate.interval,
        unit="of the runs",
        level=level,
        criterion=f"supported if every run lies {side} {bound:g}, refuted if none does",
        seeds=tuple(range(len(measured)) if seeds is None else seeds),
        before=np.full(len(measured), bound, float),
        after=measured,
        note=note,
    )


def within(
    estimate: Estimate,
    low: float,
    high: float,
    *,
    statement: str,
    unit: str,
    seeds: Sequence[int] = (),
    note: str = "",
) -> Verdict:
    """Whether an estimated number lies in a range that was written before the run.

    Supported where its interval lies wholly inside [low, high], refuted where wholly outside,
    inconclusive otherwise, or if the interval is not known. In the Verdict `before` is the range,
    `after` the number.
    """
    bottom, top = estimate.interval
    outcome = INCONCLUSIVE
    if low <= bottom and top <= high:
        outcome = SUPPORTED
    elif bottom > high or top < low:
        outcome = REFUTED
    return Verdict(
        statement=statement,
        outcome=outcome,
        effect=estimate.value,
        interval=estimate.interval,
        unit=unit,
        level=estimate.level,
        criterion=(
            f"supported if the {estimate.level:g} interval lies within [{low:g}, {high:g}] {unit}, "
            "refuted if outside, else inconclusive"
        ),
        seeds=tuple(seeds),
        before=np.array([low, high], float),
        after=np.array([estimate.value]),
        note=note,
    )


def overall(
    headline: Verdict, parts: Sequence[Verdict], *, statement: str, criterion: str
) -> Verdict:
    """One verdict over several: supported where all parts are, refuted where any part is.

    Not tested where any part is not; inconclusive otherwise. The numbers are those of `headline`.
    """
    outcomes = [part.outcome for part in parts]
    outcome = INCONCLUSIVE
    for decisive in (REFUTED, NOT_TESTED):
        if decisive in outcomes:
            outcome = decisive
            break
    else:
        if all(o == SUPPORTED for o in outcomes):
            outcome = SUPPORTED
    counts = ", ".join(f"{outcomes.count(o)} {o}" for o in dict.fromkeys(outcomes))
    return dataclasses.replace(
        headline,
        statement=statement,
        criterion=criterion,
        outcome=outcome,
        note=f"parts: {counts}; the numbers are of: {headline.statement}",
    )


# --- intervals ------------------------------------------------------------------------------------


def proportion(successes: int, n: int, *, level: float = 0.95) -> Estimate:
    """A rate and its Wilson score interval.

    The interval holds the rates p with |successes/n - p| <= z sqrt(p (1 - p) / n); solved for p,
    it stays inside [0, 1] and has a width also at 0 and n (Wilson 1927; Brown, Cai and DasGupta
    2001 recommend it below n = 40).

    >>> print(proportion(5, 5))
    1 [0.5655, 1]
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} of {n} is no proportion; n must be at least 1")
    z = _normal_quantile(0.5 + level / 2)
    rate = successes / n
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Estimate(value=rate, interval=(low, high), level=level)


def two_proportion_z(successes: int, n: int, other_successes: int, other_n: int) -> float:
    """The z statistic of the difference of two rates, with their pooled variance.

    Zero where both rates are 0 or both are 1.

    >>> round(two_proportion_z(15, 20, 5, 20), 3)
    3.162
    """
    if min(n, other_n) < 1:
        raise ValueError("both counts need at least one trial")
    pooled = (successes + other_successes) / (n + other_n)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / other_n))
    difference = successes / n - other_successes / other_n
    return difference / error if error else 0.0


def slope(x: Numbers, y: Numbers, *, level: float = 0.95) -> Estimate:
    """The least-squares slope of `y` over `x`, with its t-interval on n - 2 degrees of freedom.

    The interval supposes independent errors of one size. On logarithms the slope is the exponent
    of a power law, or the rate of an exponential one.

    >>> slope([0, 1, 2, 3], [1, 3, 5, 7]).value
    2.0
    """
    x, y = _paired(x, y)
    n = len(x)
    if n < 3 or np.ptp(x) == 0:
        raise ValueError("a slope with an interval needs three points that differ in x")
    dx, dy = x - x.mean(), y - y.mean()
    value = float(dx @ dy / (dx @ dx))
    residual = dy - value * dx
    error = math.sqrt(residual @ residual / (n - 2) / (dx @ dx))
    half = _t_quantile(n - 2, 0.5 + level / 2) * error
    return Estimate(value=value, interval=(value - half, value + half), level=level)


def mean(values: Numbers, *, level: float = 0.95) -> Estimate:
    """The mean with its t-interval; an interval of NaN where there are fewer than two values.

    >>> print(mean([1.0, 2.0, 3.0]))
    2 [-0.4841, 4.484]
    """
    value, interval = _mean_interval(np.asarray(values, float), level)
    return Estimate(value=value, interval=interval, level=level)


def _mean_interval(values: np.ndarray, level: float) -> tuple[float, tuple[float, float]]:
    """The mean, and its t-interval: mean ± t sd / sqrt(n) with n - 1 degrees of freedom."""
    n = len(values)
    mean = float(values.mean()) if n else math.nan
    if n < 2:
        return mean, (math.nan, math.nan)
    if np.ptp(values) == 0:
        return float(values[0]), (float(values[0]), float(values[0]))
    half = _t_quantile(n - 1, 0.5 + level / 2) * float(values.std(ddof=1)) / math.sqrt(n)
    return mean, (mean - half, mean + half)


def _t_quantile(freedom: int, probability: float) -> float:
    from scipy.special import stdtrit  # a tenth of the time that scipy.stats takes to import

    return float(stdtrit(freedom, probability))


def _normal_quantile(probability: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(probability))
