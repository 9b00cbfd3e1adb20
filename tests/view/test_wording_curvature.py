"""What is said about curvature: a wrong sign or a wrong certainty here is wrong in every view."""

import dataclasses
import math

import numpy as np
import pytest

from sounding.view import numbers, wording, wording_curvature, wording_sharpness
from sounding.view.spectrum import spectrum_chart


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (34.469, 0.02, "34.47"),
        (-0.53138, 0.0041, "-0.531"),
        (-0.4, 0.61, "-0.400"),
        (1234567.0, 600.0, "1.2346e6"),
        (1.2e-9, 3e-8, "1.20e-9"),
        (2.5, 0.0, "2.500"),
        (2.5, math.nan, "2.500"),
        (0.0, 0.1, "0"),
        (math.nan, 0.1, "NaN"),
        (-math.inf, 0.1, "−∞"),
    ],
)
def test_a_value_has_the_digits_that_its_error_allows(value, error, said):
    assert numbers.uncertain(value, error) == said


@pytest.mark.parametrize(
    ("error", "said"),
    [(0.00412, "0.0041"), (0.02, "0.02"), (123.4, "123"), (1.23e-7, "1.2e-7"), (0.0, "0")],
)
def test_an_error_has_two_digits(error, said):
    assert numbers.rough(error) == said


@pytest.mark.parametrize(
    ("miss", "said"), [(0.05, "95 %"), (1e-3, "99.9 %"), (1e-6, "99.9999 %"), (0.5, "50 %")]
)
def test_what_is_sure_is_never_rounded_up_to_certainty(miss, said):
    assert numbers.sure(miss) == said


def test_shares_have_their_errors():
    assert numbers.share(0.1234, 0.004) == "12.3 ± 0.4 %"
    assert numbers.share(0.1234) == "12 %"
    assert numbers.share(1e-6) == "less than 0.01 %"
    assert numbers.share(1.0) == "100 %"
    assert numbers.share(0.0) == "0 %"


def test_the_headline_has_both_ends_and_the_share(examples):
    assert wording.headline(examples.curvature.spectrum()) == (
        "Largest eigenvalue 34.47 (residual 0.021), smallest -0.531 (residual 0.0041); "
        "10.4 ± 1.0 % of the density clearly below zero"
    )
    assert wording.headline(examples.curvature.single()) == (
        "Largest eigenvalue 34.47 (residual 0.021)"
    )
    assert wording.headline(examples.curvature.trace()) == "Trace 364 ± 4.6"
    assert wording.headline(examples.curvature.layers()) == (
        "Largest Hessian eigenvalue: from 4.27 (blocks.3.mlp.out) to 10.7 (blocks.0.attention.in)"
    )


def test_a_share_that_could_be_the_smoothings_is_not_claimed(examples):
    assert "below" not in wording.headline(examples.curvature.one_sided())
    (said,) = wording_curvature.signs(examples.curvature.one_sided().density)
    assert said.startswith("None (to within 0.14 %) of the density is clearly below zero and 47")


@pytest.mark.parametrize("part", ["largest", "smallest", "trace", "density"])
def test_not_converged_comes_first_whichever_part_it_is(examples, part):
    result = examples.curvature.spectrum()
    loose = dataclasses.replace(getattr(result, part), converged=False, note="raise most=")
    result = dataclasses.replace(result, **{part: loose})
    assert wording.headline(result).startswith("NOT CONVERGED: ")
    (said,) = wording_curvature.trouble(result)
    assert part in said
    assert said.endswith("raise most=")
    assert wording.headline(loose).startswith("NOT CONVERGED: ")


def test_the_stable_learning_rate_is_two_over_the_largest_eigenvalue(examples):
    (said,) = wording_curvature.meaning(examples.curvature.single())
    assert "2 / 34.47 = 0.058" in said
    assert said.startswith("If this is the Hessian of a loss, plain gradient descent")
    assert wording_curvature.meaning(examples.curvature.spectrum())[0].startswith("Plain gradient")


@pytest.mark.parametrize(
    ("value", "residual", "bound", "said"),
    [
        (-0.5, 0.1, -0.6, "this point is not a minimum"),
        (-0.5, 0.6, -1.2, "a negative eigenvalue is not certain"),
        (0.1, 0.01, -0.02, "none lies below -0.02"),
        (0.1, 0.01, -math.inf, "no negative eigenvalue was found."),
    ],
)
def test_a_negative_eigenvalue_is_certain_beyond_its_residual_only(
    examples, value, residual, bound, said
):
    pairs = examples.curvature.eigenpairs(
        "smallest", (value,), residuals=np.array([residual]), bound=bound
    )
    assert said in wording_curvature.meaning(pairs)[0]


def test_without_a_wish_for_probability_none_is_claimed(examples):
    pairs = examples.curvature.eigenpairs(miss=1.0)
    assert wording_curvature.beyond(pairs) == "largest 34.47"


def test_outliers_are_a_lower_bound_where_all_that_were_found_are_outside(examples):
    chart = spectrum_chart(examples.curvature.spectrum())
    assert wording_curvature.bulk(chart).endswith("at least 6 outliers")
    inside = examples.curvature.eigenpairs(values=(34.469, 28.12, 0.5))
    chart = spectrum_chart(examples.curvature.spectrum(largest=inside))
    assert wording_curvature.bulk(chart).endswith(", 3 outliers")


def test_sharpness_is_told_from_first_to_last_beside_the_limit(examples):
    series = examples.curvature.sharpness()
    said = wording.headline(series)
    assert said == "Sharpness 3.04 at step 0, 64.1 at step 2,000: 0.802 of the stable limit 80"
    above = int(np.sum(series.values[:, 0] > 2 / series.lr))
    assert f"above it at {above} of 41 measurements" in wording_sharpness.series_meaning(series)
    said = wording_sharpness.series_meaning(examples.curvature.sharpness(momentum=0.9))
    assert "2 (1 + momentum 0.9) / learning rate" in said
    assert wording.headline(examples.curvature.broken_series()).endswith("NaN from step 250")
    assert wording.headline(examples.curvature.empty_series()) == "Sharpness was not measured"
