"""The judge against scipy's t-tests, closed forms, and simulated error rates.

No other test would see an interval of the wrong level, a correction that is not applied, or a
remedy that is praised although its runs diverged.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sounding.verdict import (
    Estimate,
    Verdict,
    agrees,
    correlation,
    every,
    judge,
    linearity,
    overall,
    proportion,
    slope,
    two_proportion_z,
    untested,
    within,
)

NAMES = {"statement": "it helps", "unit": "decades"}


def _judge(before, after, **keywords):
    return judge(before, after, **NAMES, **keywords)


# --- the interval ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 5, 30])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
def test_the_interval_is_scipys_paired_one(n, level):
    generator = np.random.default_rng(n)
    before, after = generator.normal(1, 1, n), generator.normal(0, 1, n)
    expected = stats.ttest_rel(before, after).confidence_interval(level)
    verdict = _judge(before, after, level=level)
    np.testing.assert_allclose(verdict.interval, (expected.low, expected.high), rtol=1e-10)
    assert verdict.effect == pytest.approx(np.mean(before - after), rel=1e-12)


def test_looks_and_tried_divide_the_error_bonferroni():
    before, after = [3.0, 2.5, 2.8, 3.3], [1.0, 0.9, 1.4, 1.1]
    expected = stats.ttest_rel(before, after).confidence_interval(1 - 0.05 / 6)
    verdict = _judge(before, after, looks=2, tried=3)
    np.testing.assert_allclose(verdict.interval, (expected.low, expected.high), rtol=1e-10)
    assert verdict.level == pytest.approx(1 - 0.05 / 6, rel=1e-12)
    assert "6 intervals hold together at 0.95" in verdict.criterion


@pytest.mark.parametrize(
    ("differences", "band", "outcome"),
    [
        ([1.0, 1.1, 0.9], 0.0, "supported"),
        ([1.0, 1.1, 0.9], 2.0, "refuted"),  # an effect, but inside the band of no effect
        ([1.0, 1.1, 0.9], 0.8, "inconclusive"),
        ([-1.0, -1.1, -0.9], 0.0, "refuted"),
        ([-1.0, -1.1, -0.9], 0.8, "inconclusive"),
        ([1.0, -1.0, 0.5], 0.0, "inconclusive"),
        ([0.0, 0.0, 0.0], 0.0, "refuted"),
        ([0.5, 0.5, 0.5], 0.0, "supported"),
        ([1.0], 0.0, "not tested"),
        ([], 0.0, "not tested"),
    ],
)
def test_outcomes(differences, band, outcome):
    assert _judge(differences, np.zeros(len(differences)), band=band).outcome == outcome


def test_differences_without_spread_are_said_to_be_so():
    verdict = _judge([0.5, 1.5], [0.0, 1.0])
    assert verdict.interval == (0.5, 0.5)
    assert "no width" in verdict.note


numbers = st.lists(
    st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=2, max_size=8
).map(np.array)


@given(numbers)
def test_swapped_arms_mirror_the_interval_and_higher_mirrors_lower(arms):
    one, two = arms.T
    forth, back, up = _judge(one, two), _judge(two, one), _judge(-one, -two, better="higher")
    low, high = forth.interval
    np.testing.assert_allclose(back.interval, (-high, -low), atol=1e-9)
    np.testing.assert_allclose(up.interval, (low, high), atol=1e-9)
    if {forth.outcome, back.outcome} != {"refuted"}:  # no difference at all: refuted both ways
        mirror = {"supported": "refuted", "refuted": "supported"}
        assert back.outcome == mirror.get(forth.outcome, forth.outcome)


# --- error rates ----------------------------------------------------------------------------------


def _sequential(generator, effect, looks=(3, 5), **keywords):
    """The outcome of a comparison that ends as soon as it is decided."""
    differences = generator.normal(effect, 1.0, looks[-1])
    outcome = "inconclusive"
    for n in looks:
        verdict = _judge(differences[:n], np.zeros(n), looks=len(looks), **keywords)
        outcome = verdict.outcome
        if outcome != "inconclusive":
            break
    return outcome


def test_false_alarms_over_two_looks_stay_below_the_level():
    """2000 nulls; three deviations above 5 % are 6.5 %, so the test itself errs once in 700."""
    generator = np.random.default_rng(0)
    outcomes = [_sequential(generator, 0.0) for _ in range(2000)]
    for alarms, rate in (({"supported", "refuted"}, 0.05), ({"supported"}, 0.025)):
        found = np.mean([outcome in alarms for outcome in outcomes])
        assert found < rate + 3 * math.sqrt(rate * (1 - rate) / 2000)


def test_any_false_alarm_among_six_remedies_stays_below_the_level():
    """500 families of six nulls that share a baseline; three deviations above 5 % are 7.9 %."""
    generator, alarms = np.random.default_rng(1), 0
    for _ in range(500):
        baseline = generator.normal(0, 1, 5)
        arms = generator.normal(0, 1, (6, 5))
        alarms += any(_judge(baseline, arm, tried=6).outcome != "inconclusive" for arm in arms)
    assert alarms / 500 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 500)


def test_power_is_that_of_the_noncentral_t():
    """An effect of 3 deviations on 5 seeds at level 0.95: within three deviations of theory."""
    bound, n, runs = stats.t.ppf(0.975, 4), 5, 1000
    power = 1 - stats.nct.cdf(bound, n - 1, 3 * math.sqrt(n))
    generator = np.random.default_rng(2)
    found = [_sequential(generator, 3.0, looks=(n,)) == "supported" for _ in range(runs)]
    assert 0.97 < power < 1
    assert abs(np.mean(found) - power) < 3 * math.sqrt(power * (1 - power) / runs)


# --- divergence -----------------------------------------------------------------------------------


def test_a_rescue_on_every_seed_is_credited_with_what_the_treated_runs_learnt():
    verdict = _judge([math.inf] * 3, [-1.0, -1.1, -0.9], worst=[0.3, 0.35, 0.4])
    assert verdict.outcome == "supported"
    assert verdict.effect == pytest.approx(0.35 + 1.0)
    assert "3 of 3 untreated runs diverged" in verdict.note


def test_a_rescue_counts_at_most_against_the_worst_run_where_nothing_else_is_known():
    verdict = _judge([math.nan] * 3, [0.9, 0.95, 0.92], better="higher")
    assert verdict.outcome == "inconclusive"  # accuracies differ from the worst of them by little
    assert verdict.effect == pytest.approx(np.mean([0.0, 0.05, 0.02]))


@pytest.mark.parametrize("lost", [math.inf, math.nan, -math.inf])
def test_a_treated_run_that_diverged_is_never_supported(lost):
    before, after = [1.0, 1.1, 0.9, 1.0], [-5.0, -5.1, -4.9, lost]
    assert _judge(before, after, worst=2.0, level=0.5).outcome == "inconclusive"
    assert _judge(before, [lost] * 4, worst=2.0).outcome == "refuted"
    assert _judge([lost] * 4, [lost] * 4, worst=2.0).outcome == "refuted"
    assert _judge([lost] * 4, [lost] * 4).outcome == "refuted"


def test_how_far_a_run_flew_off_does_not_widen_the_interval():
    flown, learnt = [30.0, 5.0, 12.0], [-1.0, -1.1, -0.9]
    assert _judge(flown, learnt).outcome == "inconclusive"
    capped = _judge(flown, learnt, worst=0.3)
    assert capped.outcome == "supported"
    assert capped.effect == pytest.approx(1.3)
    assert "3 of 3 untreated runs ended no better than they began" in capped.note
    np.testing.assert_array_equal(capped.before, flown)  # what was measured stays visible


@given(
    st.lists(st.floats(-3, 3) | st.just(math.inf), min_size=3, max_size=6),
    st.floats(-3, 3),
)
def test_no_remedy_is_praised_for_diverging(before, worst):
    after = [-5.0] * (len(before) - 1) + [math.nan]
    assert _judge(before, after, worst=worst).outcome != "supported"


# --- wrong use ------------------------------------------------------------------------------------


def test_wrong_use_is_named():
    with pytest.raises(ValueError, match="both need one number a seed"):
        _judge([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="use 'lower' or 'higher'"):
        _judge([1.0], [1.0], better="best")
    with pytest.raises(ValueError, match="above or below"):
        every([1.0], statement="")
    with pytest.raises(ValueError, match="no proportion"):
        proportion(3, 2)
    with pytest.raises(ValueError, match="three points"):
        slope([1, 2], [1, 2])


@pytest.mark.parametrize("after", [[0.5, 0.1], [math.nan, math.inf]])
def test_a_verdict_survives_saving(after):
    verdict = _judge([1.0, 2.0], after, seeds=[3, 4])
    again = Verdict.from_dict(verdict.to_dict())
    assert again.to_dict() == verdict.to_dict()
    np.testing.assert_array_equal(again.after, verdict.after)
    assert str(again) == str(verdict)


# --- other claims ---------------------------------------------------------------------------------


def test_agreement_with_theory_is_an_equivalence_test():
    measured = np.array([0.1, -0.1, 0.05, -0.02])
    low, high = stats.ttest_1samp(measured, 0.0).confidence_interval(0.95)
    verdict = agrees(measured + 7, np.full(4, 7.0), tolerance=0.5, **NAMES)
    np.testing.assert_allclose(verdict.interval, (low, high), rtol=1e-9)
    assert verdict.outcome == "supported"
    for tolerance, shift, outcome in ((0.1, 0, "inconclusive"), (0.1, 1, "refuted")):
        shifted = agrees(measured + shift, np.zeros(4), tolerance=tolerance, **NAMES)
        assert shifted.outcome == outcome
    assert agrees([1.0], [1.0], tolerance=1, **NAMES).outcome == "not tested"


@pytest.mark.parametrize(
    ("values", "outcome"),
    [([0.6, 0.9], "supported"), ([0.4, 0.9], "inconclusive"), ([0.4, math.nan], "refuted")],
)
def test_every_run_is_counted(values, outcome):
    verdict = every(values, above=0.5, statement="trains")
    assert verdict.outcome == outcome
    assert verdict.effect == np.mean(np.array(values) > 0.5)
    assert every([-v for v in values], below=-0.5, statement="trains").outcome == outcome


@pytest.mark.parametrize(
    ("parts", "outcome"),
    [
        ("supported supported", "supported"),
        ("supported refuted not-tested", "refuted"),
        ("supported not-tested inconclusive", "not tested"),
        ("supported inconclusive", "inconclusive"),
    ],
)
def test_a_claim_is_as_good_as_its_parts(parts, outcome):
    made = {
        "supported": every([1.0], above=0.0, statement="a"),
        "refuted": every([-1.0], above=0.0, statement="b"),
        "inconclusive": every([-1.0, 1.0], above=0.0, statement="c"),
        "not-tested": untested("d", unit="", criterion="", note="no data"),
    }
    chosen = [made[part] for part in parts.split()]
    verdict = overall(chosen[0], chosen, statement="all", criterion="all of them")
    assert (verdict.outcome, verdict.statement) == (outcome, "all")


# --- estimates ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (5, 5), (3, 10), (1, 300)])
@pytest.mark.parametrize("level", [0.9, 0.99])
def test_wilson_is_scipys(successes, n, level):
    expected = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    rate = proportion(successes, n, level=level)
    np.testing.assert_allclose(rate.interval, (expected.low, expected.high), atol=1e-9)
    assert rate.value == successes / n


def test_two_proportion_z_squared_is_the_chi_squared_of_the_table():
    z = two_proportion_z(13, 40, 29, 50)
    expected = stats.chi2_contingency([[13, 27], [29, 21]], correction=False).statistic
    assert z**2 == pytest.approx(expected, rel=1e-12)
    assert z < 0
    assert two_proportion_z(0, 10, 0, 20) == 0.0


def test_slope_is_scipys_with_its_interval():
    generator = np.random.default_rng(5)
    x = generator.uniform(0, 3, 12)
    y = -1.3 * x + generator.normal(0, 0.4, 12)
    fit = stats.linregress(x, y)
    half = stats.t.ppf(0.975, 10) * fit.stderr
    measured = slope(x, y)
    assert measured.value == pytest.approx(fit.slope, rel=1e-10)
    np.testing.assert_allclose(measured.interval, (fit.slope - half, fit.slope + half), rtol=1e-9)


def test_correlation_is_scipys_with_its_interval():
    generator = np.random.default_rng(6)
    x = generator.normal(size=15)
    y = x + generator.normal(size=15)
    expected = stats.pearsonr(x, y)
    measured = correlation(x, y)
    assert measured.value == pytest.approx(expected.statistic, rel=1e-10)
    np.testing.assert_allclose(measured.interval, tuple(expected.confidence_interval(0.95)))
    assert correlation(x, -2 * x).interval == (-1.0, -1.0)
    with pytest.raises(ValueError, match="four points"):
        correlation([0, 1, 2], [0, 1, 2])


def test_linearity_is_the_square_of_scipys_correlation():
    generator = np.random.default_rng(6)
    x, noise = generator.uniform(0, 3, 12), generator.normal(0, 0.4, 12)
    assert linearity(x, 2 - x + noise) == pytest.approx(stats.pearsonr(x, noise - x)[0] ** 2)


@pytest.mark.parametrize(
    ("interval", "outcome"),
    [
        ((0.9, 1.1), "supported"),
        ((0.8, 1.0), "inconclusive"),
        ((1.3, 1.4), "refuted"),
        ((0.1, 0.7), "refuted"),
        ((math.nan, math.nan), "inconclusive"),
    ],
)
def test_a_number_lies_within_a_range_with_its_whole_interval(interval, outcome):
    estimate = Estimate(value=float(np.mean(interval)), interval=interval, level=0.95)
    verdict = within(estimate, 0.9, 1.2, statement="about one", unit="steps", seeds=[3])
    assert (verdict.outcome, verdict.seeds) == (outcome, (3,))
    assert verdict.interval == interval
    assert "[0.9, 1.2] steps" in verdict.criterion
