"""The rule of the claim on made-up gaps, the nets, the augmentation, and small runs."""

import numpy as np
import pytest
import torch
from torch import nn

from sounding.studies import samples
from sounding.studies.claims import wilson_2017_cifar as wilson
from sounding.studies.lab import Lab


@pytest.mark.parametrize(
    ("gaps", "outcome"),
    [
        ([1.8, 2.0, 2.1, 1.9, 1.95], "supported"),  # the published size
        ([0.7, 0.8, 0.9, 0.8, 0.8], "inconclusive"),  # clear, but less than a point
        ([0.1, -0.1, 0.2, 0.0, -0.2], "refuted"),  # none to speak of
        ([-1.0, -1.2, -0.9, -1.1, -1.0], "refuted"),  # the other way round
        ([3.0, -1.0, 2.5, -0.5, 2.0], "inconclusive"),
    ],
)
def test_the_rule_is_the_one_that_was_written(gaps, outcome):
    assert wilson._gap(np.array(gaps), "claim", range(5)).outcome == outcome


def test_crops_are_shifted_images_and_evaluation_is_left_alone():
    images = torch.arange(1.0, 2 * 3 * 32 * 32 + 1).view(2, 3, 32, 32)
    augment = wilson.CropAndFlip()
    assert augment.eval()(images) is images
    torch.manual_seed(0)
    found = augment.train()(images)
    assert found.shape == images.shape
    padded = nn.functional.pad(images, (4, 4, 4, 4))
    for one, whole in zip(found, padded, strict=True):
        windows = [
            whole[:, down : down + 32, right : right + 32]
            for down in range(9)
            for right in range(9)
        ]
        assert any(torch.equal(one, w) or torch.equal(one, w.flip(-1)) for w in windows)


def test_the_rate_is_halved_ten_times():
    assert [wilson.halving(step, 100) for step in (0, 9, 10, 99)] == [1, 1, 0.5, 0.5**9]


def test_vgg_has_sixteen_weighted_layers_less_one():
    """The 13 convolutions of VGG-16 and two of its three connected layers, as for 10 classes."""
    net = wilson.vgg(wilson.VGG16, "cpu")
    assert sum(isinstance(m, nn.Conv2d) for m in net) == 13
    assert sum(isinstance(m, nn.Linear) for m in net) == 2
    small = wilson.vgg((4, 0, 8, 0), "cpu").eval()
    assert small(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_the_quick_scale_runs_small():
    lab = Lab()
    verdicts, charts = wilson.quick(lab, steps=2, channels=2, seeds=(0, 1))
    assert lab.done == sum(map(len, wilson.LRS.values())) + 5 * 2
    assert len(verdicts) == 2
    assert "against" in verdicts[0].note
    assert len(charts[0].lines) == 5


def test_the_full_scales_code_runs_on_a_few_images(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    part = samples.Labelled(
        torch.randn(16, 3, 32, 32, generator=generator), torch.arange(16) % 10
    )
    monkeypatch.setattr(wilson, "cifar", lambda device: samples.Split(part, part))
    monkeypatch.setattr(wilson, "needs", lambda device, cifar10: "")
    monkeypatch.setattr(wilson, "LRS", dict.fromkeys(wilson.LRS, (0.001, 0.01)))
    verdicts, _ = wilson.full(
        Lab(), device="cpu", images=16, steps=2, plan=(2, 0, 2, 0, 2, 0), seeds=(0, 1)
    )
    assert verdicts[-1].statement.startswith("reported")


def test_the_full_scale_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (verdict,), charts = wilson.full(Lab())
    assert (verdict.outcome, charts) == ("not tested", ())
    assert "a CUDA device is needed" in verdict.note
