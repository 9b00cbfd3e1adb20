"""The variance of normalised outputs, against its law and against brute force."""

import numpy as np
import pytest
import torch

from sounding.studies import study
from sounding.studies.claims import wu_2018_small_batches as wu
from sounding.studies.lab import Lab


def test_the_first_order_is_that_of_gaussian_features():
    """One pixel a channel, standard normal: a of variance 1, q of 2, so (1 + u^2 / 2) / B."""
    generator = torch.Generator().manual_seed(0)
    others = torch.randn(40_000, 2, 1, 1, generator=generator, dtype=torch.float64)
    z = torch.tensor([[0.0, 2.0]], dtype=torch.float64)
    expected = ((1 + 0) + (1 + 2)) / 2 * 99 / 100**2
    assert wu._first_order(z, others, 100) == pytest.approx(expected, rel=0.05)


def test_group_norm_does_not_look_at_companions_and_batch_norm_does_as_predicted():
    assert wu.spread(wu.GROUP, 8, 3, 0)["variance"] == 0
    found = wu.spread(wu.BATCH, 64, 60, 0)
    assert found["variance"] == pytest.approx(found["theory"], rel=0.5)


def test_a_norm_over_the_batch_in_the_place_of_group_norm_is_refuted(monkeypatch):
    monkeypatch.setattr(wu, "_group_norm", wu._batch_norm)
    monkeypatch.setattr(wu, "_batch_norm", lambda z: z / len(z) * torch.rand(()).double())
    with torch.random.fork_rng():
        verdicts, _ = wu.quick(Lab(), sizes=(8, 16, 32), draws=20, seeds=(0, 1))
    assert verdicts[1].outcome != "supported"  # falls like 1 / B^2
    assert verdicts[3].outcome == "refuted"


def test_the_full_scales_code_runs_on_a_few_images(sixteen_images):
    sixteen_images(wu)
    verdicts, charts = wu.full(Lab(), device="cpu", epochs=1, depth=8, sizes=(8, 4), seeds=(0, 1))
    assert len(verdicts) == 3
    assert [len(line.x) for line in charts[0].lines] == [2, 2]
    case = wu.image_case(wu.BATCH, 4, 2, 8, "cpu", None)
    assert (case.recipe.lr, case.recipe.steps) == (0.1 / 32, 8)
    assert np.isfinite(verdicts[1].effect)


@pytest.mark.slow
def test_the_mechanism_is_supported_at_the_quick_scale():
    assert {v.outcome for v in study("wu-2018-small-batches").verdicts} == {"supported"}
