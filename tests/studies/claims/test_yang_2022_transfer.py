"""The transfer study: shifts of the best rate, counted in factors of two."""

import math

import numpy as np
import pytest

from sounding.studies import study
from sounding.studies.claims import yang_2022_transfer as transfer
from sounding.studies.lab import Lab
from sounding.train import Trial


def fake(best):
    """Trials with a valley at `best` of (parametrisation, width)."""

    def train(self, case, settings):
        return [
            type(
                "Trial",
                (),
                {"metrics": {"training loss": 0.1 * 2 ** abs(
                    math.log2(job["lr"]) - best[job["parametrisation"], job["width"]]
                )}},
            )()
            for job in settings
        ]  # fmt: skip

    return train


@pytest.mark.parametrize(
    ("mup", "standard", "outcomes"),
    [
        (-6, -10, "supported supported"),
        (-8, -10, "refuted supported"),
        (-5, -7, "supported refuted"),
    ],
)
def test_shifts_are_counted_from_the_narrow_net(monkeypatch, mup, standard, outcomes):
    where = {
        ("maximal update", 64): -6,
        ("maximal update", 1024): mup,
        ("standard", 1024): standard,
    }
    monkeypatch.setattr(Lab, "train", fake(where))
    verdicts, charts = transfer.quick(Lab())
    assert " ".join(v.outcome for v in verdicts[1:3]) == outcomes
    assert f"standard: best rate 2^{standard}" in verdicts[1].note
    assert len(charts[0].lines) == 3


def test_a_run_that_diverges_counts_as_guessing():
    trials = [
        Trial.from_dict(
            {"kind": "Trial", "seed": 0, "loss": {"kind": "Series", "quantity": "", "unit": "",
             "steps": [0], "values": [1.0]}, "metrics": metrics, "diverged": False, "seconds": 0.0}
        )
        for metrics in ({}, {"training loss": 9.0}, {"training loss": 0.1})
    ]  # fmt: skip
    expected = [math.log10(math.log(10))] * 2 + [-1]
    np.testing.assert_allclose(transfer._logs(trials), expected)


def test_a_case_trains_and_measures_the_whole_training_part():
    trial = Lab().train(
        transfer.digits_case,
        [{"parametrisation": "maximal update", "width": 64, "lr": 0.01, "steps": 3,
          "batch_size": 16, "seed": 0}],
    )[0]  # fmt: skip
    assert 0.5 < trial.metrics["training loss"] < 3


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    assert {v.outcome for v in study("yang-2022-transfer").verdicts} == {"supported"}
