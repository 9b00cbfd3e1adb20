"""Randomised data are what their names say, and a net that fits nothing is not said to fit."""

import numpy as np
import pytest
import torch

from sounding.studies import study
from sounding.studies.claims import zhang_2017_random_labels as zhang
from sounding.studies.lab import Lab

PARTS = [
    (torch.arange(600.0).reshape(n, 3, 2, 2) if n == 50 else torch.rand(n, 3, 2, 2), torch.ones(n))
    for n in (50, 4)
]


def test_shuffled_pixels_are_one_permutation_of_all_and_random_pixels_one_of_each():
    (x, _), _ = PARTS
    shuffled = zhang.corrupted(zhang.SHUFFLED, PARTS, 1)[0][0]
    each = zhang.corrupted(zhang.PIXELS, PARTS, 1)[0][0]
    order = (shuffled[0, 0].flatten() - x[0, 0].flatten()[0]).long()
    assert torch.equal(shuffled.flatten(2), x.flatten(2)[..., order])
    assert torch.equal(each.flatten(2).sort(-1).values, x.flatten(2))  # none lost
    moved = each.flatten(2) - x[:, :, :1, :1].flatten(2)
    assert torch.equal(moved[:, 0], moved[:, 2])  # channels together
    assert len({tuple(row.tolist()) for row in moved[:, 0]}) > 10


def test_gaussian_inputs_keep_mean_and_deviation_and_random_labels_the_test_part():
    (x, _), (test_x, test_y) = PARTS
    noise = zhang.corrupted(zhang.GAUSSIAN, PARTS, 1)[0][0]
    assert noise.mean().item() == pytest.approx(x.mean().item(), abs=4 * x.std().item() / 600**0.5)
    assert noise.std().item() == pytest.approx(x.std().item(), rel=0.15)
    (same_x, labels), (kept_x, kept_y) = zhang.corrupted(zhang.LABELS, PARTS, 1)
    assert torch.equal(same_x, x)
    assert torch.equal(kept_x, test_x)
    assert torch.equal(kept_y, test_y)
    assert len(labels.unique()) >= 8


def test_training_ends_with_the_epoch_that_is_enough():
    assert zhang._until(iter([0.1, 0.5, 0.9, 1.0]), 10, 0.9) == [0.1, 0.5, 0.9]
    assert zhang._until(iter([0.1, 0.5, 0.9, 1.0]), 2, 0.9) == [0.1, 0.5]


def test_an_untrained_net_is_refuted_and_a_small_one_fits():
    size = {"width": 32, "samples": 16, "target_samples": 8, "target_steps": 300}
    none, _ = zhang.quick(Lab(), seeds=(0, 1), epochs=1, **size)
    assert none[0].outcome == "refuted"
    fits, charts = zhang.quick(Lab(), seeds=(0, 1), epochs=150, **size)
    assert [v.outcome for v in fits[1:6]] == ["supported"] * 5
    assert fits[-1].outcome == "supported"
    assert [line.label for line in charts[0].lines] == list(zhang.KINDS)


def test_a_slowdown_out_of_range_is_refuted():
    runs = {
        kind: [{"epochs": 40.0 if kind == zhang.LABELS else 2.0 + seed} for seed in (0, 1e-3)]
        for kind in zhang.KINDS
    }
    assert zhang._slowdown(runs, (2.0, 15.0), (0, 1)).outcome == "refuted"
    for run, epochs in zip(runs[zhang.LABELS], (10.0, 10.1), strict=True):
        run["epochs"] = epochs
    assert zhang._slowdown(runs, (2.0, 15.0), (0, 1)).outcome == "supported"


def test_the_full_scales_code_runs_on_a_few_images(sixteen_images):
    sixteen_images(zhang)
    verdicts, charts = zhang.full(
        Lab(), device="cpu", epochs=2, width=2, dense_width=8, target_samples=4, target_steps=5,
        seeds=(0, 1),
    )  # fmt: skip
    assert len(verdicts) == 1 + 2 * 7 + 1
    assert len(charts) == 2
    assert np.all([len(line.x) <= 2 for chart in charts for line in chart.lines])


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    assert {v.outcome for v in study("zhang-2017-random-labels").verdicts} == {"supported"}
