"""He et al. 2015: the variance arm against theory, the training arm at a size for tests.

The oracle is the closed form: He keeps E[z^2], Xavier halves it, PyTorch's default divides by six.
No other test would see a gradient measured at the wrong end, or a scheme that is not what its
name says.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn

from sounding.studies import samples, study
from sounding.studies.claim import Study
from sounding.studies.claims import he_2015_depth as he
from sounding.studies.lab import Lab


@pytest.mark.parametrize("scheme", he.FACTORS)
def test_mean_squares_follow_the_closed_form(scheme):
    """Width 256, 6 seeds: one net's log-ratio has variance near 5 (L - 1) / width in nats."""
    runs = np.log(
        [he.mean_squares(scheme, 256, seed)["mean_squares"] for seed in range(6)]
    )  # (S, 2, L)
    spread = math.sqrt(5 * (he.DEPTH - 1) / 256 / 6)
    expected = (he.DEPTH - 1) * math.log(he.FACTORS[scheme])
    assert runs.shape == (6, 2, he.DEPTH)
    drift = -2.5 * (he.DEPTH - 1) / 256  # mean of a logarithm, below the logarithm of the mean
    assert (runs[:, 0, -1] - runs[:, 0, 0]).mean() == pytest.approx(
        expected + drift, abs=4 * spread
    )
    assert (runs[:, 1, 0] - runs[:, 1, -1]).mean() == pytest.approx(
        expected + drift, abs=4 * spread
    )


@pytest.mark.parametrize(
    ("layer", "fan_in", "fan_out"),
    [(nn.Linear(300, 200), 300, 200), (nn.Conv2d(20, 40, 3), 180, 360)],
)
def test_schemes_have_the_variances_of_their_papers(layer, fan_in, fan_out):
    """Sample variances: 7,200 entries or more, so five deviations are 8 %."""
    expected = {he.HE: 2 / fan_in, he.XAVIER: 2 / (fan_in + fan_out), he.DEFAULT: 1 / (3 * fan_in)}
    for scheme, variance in expected.items():
        layer.reset_parameters()
        weight = he.initialise(layer, scheme).weight
        assert weight.var().item() == pytest.approx(variance, rel=0.08)
        assert (layer.bias.count_nonzero() == 0) == (scheme != he.DEFAULT)


def test_nets_have_thirty_weighted_layers():
    conv = he.conv_net(he.HE, 2, True, torch.device("cpu"))
    for net in (he.dense_net(he.HE, 8), conv):
        weighted = [m for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        assert len(weighted) == he.DEPTH
    assert sum(isinstance(m, nn.Conv2d) for m in conv) == 27
    assert conv(torch.randn(2, 3, 32, 32)).shape == (2, 10)


@pytest.fixture(scope="module")
def small():
    """The quick scale, smaller: 15 steps teach nothing, and the verdict must say so."""
    said = []
    lab = Lab(progress=lambda *words: said.append(words))
    return *he.quick(lab, width=64, training_width=12, steps=15, lrs=(1e-3, 1e-2)), said


def test_a_net_that_does_not_train_is_not_called_trained(small):
    verdicts, _, _ = small
    assert verdicts[0].outcome == "refuted"
    trains = next(v for v in verdicts[1:] if v.statement.startswith("with He"))
    assert trains.outcome == "refuted"
    assert "edge" in trains.note


def test_every_part_is_there_and_progress_ends_at_its_total(small):
    verdicts, charts, said = small
    assert [v.statement.split(":")[0] for v in verdicts].count("reported") == 2
    assert len(verdicts) == 1 + 6 + 2 + 2
    assert [len(chart.lines) for chart in charts] == [6, 6]
    totals = {total for _, _, total in said}
    assert len(totals) == 1
    assert [done for _, done, _ in said] == list(range(1, totals.pop() + 1))


def test_lines_start_at_zero_and_theory_is_straight(small):
    for chart, start in zip(small[1], (0, -1), strict=True):
        for line in chart.lines:
            assert len(line.x) == len(line.y) == he.DEPTH
            assert line.y[start] == 0
            if line.theory:
                np.testing.assert_allclose(np.diff(line.y, 2), 0, atol=1e-12)


def test_the_full_scale_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = study("he-2015-depth", scale="full")
    assert result.verdicts[0].outcome == "not tested"
    assert "a CUDA device is needed" in result.verdicts[0].note
    assert Study.from_dict(result.to_dict()).to_dict() == result.to_dict()

    def absent(train):
        raise FileNotFoundError("no CIFAR-10 here")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(samples, "cifar10", absent)
    samples.cifar.cache_clear()
    assert study("he-2015-depth", scale="full").verdicts[0].note == "no CIFAR-10 here"


def test_the_full_scales_code_runs_on_a_few_images(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, 3, 16, 16, generator=generator)
    part = samples.Labelled(x, torch.arange(16) % 10)
    monkeypatch.setattr(he, "cifar", lambda device: samples.Split(part, part))
    monkeypatch.setattr(he, "needs", lambda device, cifar10: "")
    lab = Lab()
    verdicts, _ = he.full(lab, device="cpu", steps=2, channels=2, lrs=(1e-3, 1e-2))
    assert verdicts[0].outcome == "refuted"  # two steps train nothing
    assert verdicts[-1].statement.startswith("reported: with batch normalisation")
    assert lab.done == 2 * (2 + 5) + 2


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    """Deterministic given the seeds; about a minute."""
    result = study("he-2015-depth")
    assert [v.outcome for v in result.verdicts] == ["supported"] * 11
    assert result.verdicts[0].effect > 0.5
