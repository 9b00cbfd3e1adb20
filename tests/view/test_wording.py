"""Numbers and sentences: a wrong rounding or a wrong count here is wrong in every view at once."""

import dataclasses
import math

import numpy as np
import pytest

from sounding.view import numbers, wording


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"),
        (0.33341, "0.333"),
        (2.0, "2"),
        (-22.5, "-22.5"),
        (1234.5, "1234"),
        (0.0005, "5e-4"),
        (2.7123e-12, "2.71e-12"),
        (3e20, "3e20"),
        (math.nan, "–"),
        (math.inf, "∞"),
    ],
)
def test_number_has_three_significant_digits(value, said):
    assert numbers.number(value) == said


@pytest.mark.parametrize("value", [1.004e-9, 9.996e-4, 0.0010004, 0.9996, 99999.0, -3.3e7])
def test_number_reads_back_within_half_a_percent(value):
    assert float(numbers.number(value)) == pytest.approx(value, rel=5e-3)


def test_together_uses_one_number_of_decimals():
    assert numbers.together([0.1, 0.97]) == ["0.10", "0.97"]
    assert numbers.together([12.3456, 1.0]) == ["12.3", "1.0"]
    assert numbers.together([0.0123, 0.0041]) == ["0.012", "0.004"]
    assert numbers.together([1.0, math.inf]) == ["1.00", "∞"]
    assert numbers.together([-0.5, 0.25], sign=True) == ["-0.50", "+0.25"]


def test_verdict_is_the_sentence_of_the_brief(examples):
    said = "supported: accuracy 0.10 -> 0.97 (+0.87 [0.84, 0.90], 95 %, 5 paired seeds)"
    assert wording.judged(examples.accuracy()) == said


def test_decades_are_said_as_the_losses_themselves(examples):
    """The judge takes logarithms; a reader wants the loss: the mean is the geometric one."""
    verdict = examples.loss()
    before, after = wording.means(verdict)
    assert before == pytest.approx(np.exp(np.log(10) * verdict.before.mean()))
    assert wording.arms(verdict).startswith("loss 2.30 -> 0.1")
    assert math.log10(before / after) == pytest.approx((verdict.before - verdict.after).mean())


def test_not_tested_says_why(examples):
    verdict = dataclasses.replace(
        examples.loss(),
        outcome="not tested",
        effect=math.nan,
        interval=(math.nan, math.nan),
        before=np.array([]),
        after=np.array([]),
        note="not applicable: no layers",
    )
    assert wording.judged(verdict) == "not tested: not applicable: no layers"


def test_summary_counts_findings_and_outcomes(examples):
    said = wording.summary(examples.sick())
    assert said == "1 problem, 1 caution, 2 consequences, 7 checks passed, 2 not applicable"
    assert wording.summary(examples.healthy()) == "Nothing found in 11 checks. 2 not applicable."


def test_folded_puts_consequences_under_their_cause_however_indirect(examples):
    causes = wording.folded(examples.sick().findings)
    said = [(cause.code, [f.code for f in rest]) for cause, rest in causes]
    assert said == [("SD303", ["SD101", "SD201"]), ("SD105", [])]


def test_folded_loses_no_finding_of_a_ring_or_of_an_unknown_cause(examples):
    first, second, third, fourth = examples.sick().findings
    ring = [
        dataclasses.replace(first, because="SD101"),
        dataclasses.replace(second, because="SD303"),
        dataclasses.replace(third, because="SD999"),
        fourth,
    ]
    shown = [f.code for cause, rest in wording.folded(ring) for f in (cause, *rest)]
    assert sorted(shown) == ["SD101", "SD105", "SD201", "SD303"]


def test_compared_joins_a_number_with_its_error(examples):
    finding = dataclasses.replace(
        examples.sick().findings[0],
        measured={"factor_per_layer": 0.405, "factor_per_layer_error": 0.00537, "lost_error": 1.0},
        expected={"factor_per_layer": 0.409},
    )
    assert wording.compared(finding) == [
        ("factor per layer", "0.405 ± 0.0054", "0.409"),
        ("lost error", "1", ""),
    ]


def test_span_shortens_many_layers():
    names = [f"layers.{2 * k}" for k in range(30)]
    assert numbers.span(names) == "layers.0 ... layers.58 (30 layers)"
    assert numbers.span(names[:2]) == "layers.0, layers.2"
    assert numbers.span([""]) == "the model"


def test_printable_shows_escapes_instead_of_obeying_them():
    assert numbers.printable("a\x1b[31mb\u202ec\n") == "a\\x1b[31mb\\u202ec\n"


@pytest.mark.parametrize(
    ("subject", "where"),
    [
        ("a folder/train.py --data /some/where", "train.py"),
        ("train.py", "train.py"),
        ("my case", "my case"),
        ("", "DeepNet"),
    ],
)
def test_headline_names_the_script_without_its_arguments(examples, subject, where):
    checkup = dataclasses.replace(examples.sick(), subject=subject)
    assert wording.headline(checkup) == f"1 problem and 1 caution in {where}"


def test_headline_of_a_repair_goes_from_the_first_untreated_to_the_last_treated(examples):
    assert wording.headline(examples.repair()) == "Repaired: accuracy 0.10 → 0.97"
    nothing = dataclasses.replace(examples.repair(), kept=(), after=None, code="")
    assert wording.headline(nothing) == "No remedy is proven"
    assert wording.headline(dataclasses.replace(nothing, proofs=())) == "Nothing to repair"
