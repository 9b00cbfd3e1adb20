"""SD411: a class that is never said; chances against scipy's binomial distribution."""

import pytest
import torch
from scipy import stats
from torch.nn import functional
from trainings import constant, trained

from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.targets import at_most, class_imbalance
from sounding.zoo.nets import mlp


def classes(*, share=0.01, count=41, recall=0.0, majority=1.0):
    return {
        "classes": 2.0,
        "minority_share": share,
        "minority_count": float(count),
        "minority_recall": recall,
        "majority_share": 1 - share,
        "majority_recall": majority,
    }


def rare(examine, *, positives=1, loss=functional.cross_entropy, outputs=2):
    x, y = torch.randn(64, 8), (torch.arange(64) < positives).long()
    target = y.float()[:, None] if outputs == 1 else y
    return examine(mlp(8, 16, outputs), data=(x, target), loss=loss).readings


@pytest.mark.parametrize(("hits", "count"), [(0, 9), (0, 10), (3, 41), (20, 41)])
def test_the_chance_of_so_few_hits(hits, count):
    assert at_most(hits, count) == pytest.approx(stats.binom.cdf(hits, count, 0.5))


def test_a_class_that_is_never_said(examine):
    readings = rare(examine)
    with pytest.raises(Untested, match="classes"):
        class_imbalance(readings)
    finding = class_imbalance(trained(readings, classes=classes(), constant=constant(0.056, 0.04)))
    assert (finding.code, finding.severity) == ("SD411", "problem")
    assert finding.message.startswith("0 of 41 samples of the rarest class")
    assert "(99 to 1)" in finding.message


def test_a_single_output_is_a_probability(examine):
    readings = rare(examine, loss=functional.binary_cross_entropy_with_logits, outputs=1)
    finding = class_imbalance(trained(readings, classes=classes(), constant=constant(0.056, 0.04)))
    assert finding.severity == "caution"


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        (classes(count=9), "are recognised"),  # 1 in 500 by chance
        (classes(recall=0.5), "are recognised"),
        (classes(majority=0.6), "are recognised"),  # it does not say the other class always
    ],
)
def test_refuted(test, reason, examine):
    readings = trained(rare(examine), classes=test, constant=constant(0.056, 0.04))
    assert reason in class_imbalance(readings)


def test_a_net_that_is_still_worse_than_the_frequencies_has_another_fault(examine):
    readings = trained(rare(examine), classes=classes(), constant=constant(0.056, 0.28))
    assert class_imbalance(readings).endswith("does not know the classes' frequencies yet")


def test_silent_where_the_stored_batches_are_balanced_or_weights_are_passed(examine):
    made = {"classes": classes(share=0.2, count=800), "constant": constant(0.5, 0.4)}
    assert class_imbalance(trained(rare(examine), **made)) is None

    def weighted(output, target):
        return functional.cross_entropy(output, target, weight=torch.tensor([1.0, 99.0]))

    made = {"classes": classes(), "constant": constant(0.5, 0.4)}
    assert class_imbalance(trained(rare(examine, loss=weighted), **made)) is None
    assert class_imbalance(rare(examine, positives=20)) is None  # nothing is asked for


def test_silent_on_tokens(examine):
    """Rare tokens and small objects: many labels a sample."""
    x, y = torch.randn(8, 20, 6), (torch.rand(8, 20) < 0.05).long()

    def each(output, target):
        return functional.cross_entropy(output.flatten(0, 1), target.flatten())

    assert class_imbalance(examine(mlp(6, 8, 2), data=(x, y), loss=each).readings) is None


def test_not_applicable_to_regression(examine):
    data = torch.randn(64, 8), torch.randn(64, 1)
    with pytest.raises(NotApplicable, match="no labels"):
        class_imbalance(examine(mlp(8, 8, 1), data=data, loss=functional.mse_loss).readings)
