"""The margin decides; the comparison at a size for tests."""

import numpy as np
import pytest

from sounding.studies.claims import choi_2019_tuned as tuned
from sounding.studies.lab import Lab


def _found(adamw: np.ndarray) -> dict[str, np.ndarray]:
    sgd = np.full(len(adamw), 95.0)
    scores = np.array([50.0, 60.0])
    return {
        "sgd test accuracy": sgd,
        "adamw test accuracy": adamw,
        "sgd accuracy": sgd,
        "adamw accuracy": adamw,
        "sgd best of k": scores,
        "adamw best of k": scores,
    }


@pytest.mark.parametrize(
    ("adamw", "outcome"),
    [
        ([95.1, 94.9, 95.0, 95.0], "supported"),  # level, within 0.3 points
        ([94.0, 94.1, 93.9, 94.0], "refuted"),  # a point worse
        ([94.2, 95.6, 94.6, 95.6], "inconclusive"),
    ],
)
def test_not_worse_by_more_than_the_margin(adamw, outcome):
    (verdict, _), _ = tuned._judged(_found(np.array(adamw)), "rule")
    assert verdict.outcome == outcome
    assert verdict.level == 0.9  # two-sided, so one-sided 95 %


def test_the_comparison_runs_small_and_never_sees_the_test_part_while_tuning(monkeypatch):
    asked = {}

    def compare(case, arms, *, trials, seeds, metric):
        asked.update(case=case, metric=metric, seeds=seeds)
        return real(case, arms, trials=trials, seeds=seeds, metric=metric)

    real = tuned.compare
    monkeypatch.setattr(tuned, "compare", compare)
    verdicts, charts = tuned.quick(Lab(), trials=2, seeds=2, steps=5, width=8)
    assert asked["metric"] == tuned.VALIDATION
    assert asked["seeds"] == (0, 1)
    x, _ = asked["case"].batches
    assert len(x) == 1437 - 1437 // 5
    assert len(verdicts) == 2
    for line in charts[0].lines:
        assert (np.diff(line.y) >= 0).all()
        assert 0 <= line.y[0] <= 100
