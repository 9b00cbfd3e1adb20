"""Deep nets with a normalisation before every activation, and the learning rates they bear."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.studies.lab import Lab, grid
from sounding.studies.samples import accuracy, cifar, digit_images
from sounding.train import Case, Recipe, Trial, final_loss

DEPTH, WIDTH, BATCH, MOMENTUM = 12, 64, 64, 0.9
TUNING_SEED = 100  # learning rates are chosen on a seed of their own
HE, DEFAULT = "He", "PyTorch default"
NONE, NORMAL, NOISY, LAYER = "none", "batch norm", "noisy batch norm", "layer norm"


class Noise(nn.Module):
    """Shifts and stretches every unit by noise whose distribution is drawn anew at every step.

    Santurkar et al., "How Does Batch Normalization Help Optimization?", NeurIPS 2018, section 2.1:
    per step and unit a mean m ~ U(-0.5, 0.5) and a scale s ~ U(1, 1.25); per sample a shift from
    U(m - 0.1, m + 0.1) and a factor from N(s, 0.1^2). The numbers are those of the authors' text as
    far as known. In eval mode it does nothing.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, D) -> (B, D), or (B, C, H, W)."""
        if not self.training:
            return x
        units = (1, x.shape[1]) + (1,) * (x.ndim - 2)
        m = torch.rand(units, device=x.device, dtype=x.dtype) - 0.5
        s = 1 + 0.25 * torch.rand(units, device=x.device, dtype=x.dtype)
        return x * (s + 0.1 * torch.randn_like(x)) + m + 0.2 * torch.rand_like(x) - 0.1


def normalisation(norm: str, width: int) -> list[nn.Module]:
    """The modules that `norm` puts behind a layer of `width` units."""
    return {
        NONE: lambda: [],
        NORMAL: lambda: [nn.BatchNorm1d(width)],
        NOISY: lambda: [nn.BatchNorm1d(width), Noise()],
        LAYER: lambda: [nn.LayerNorm(width)],
    }[norm]()


def deep_net(
    norm: str, *, scheme: str = HE, depth: int = DEPTH, width: int = WIDTH
) -> nn.Sequential:
    """`depth` layers of ReLU units from 64 pixels to 10 classes, the last one linear."""
    layers: list[nn.Module] = []
    for inputs in (64, *[width] * (depth - 2)):
        layers += [_linear(inputs, width, scheme), *normalisation(norm, width), nn.ReLU()]
    return nn.Sequential(*layers, _linear(width, 10, scheme))


def _linear(inputs: int, outputs: int, scheme: str) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    if scheme == HE:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    return layer


def deep_case(
    norm: str,
    lr: float,
    steps: int,
    scheme: str = HE,
    depth: int = DEPTH,
    width: int = WIDTH,
    momentum: float = MOMENTUM,
) -> Case:
    """Such a net under SGD; its metric is the test accuracy."""
    images = digit_images()
    build = functools.partial(deep_net, norm, scheme=scheme, depth=depth, width=width)
    recipe = Recipe(lr=lr, momentum=momentum, batch_size=BATCH, steps=steps)
    metric = functools.partial(test_accuracy, images.test.x, images.test.y)
    return Case(build, functional.cross_entropy, images.train, recipe, metric=metric, name=norm)


def test_accuracy(x: torch.Tensor, y: torch.Tensor, model: nn.Module) -> dict[str, float]:
    """The share of the test samples classified right, as a metric of a Case."""
    return {"test accuracy": accuracy(x, y, model)["accuracy"]}


# --- images ---------------------------------------------------------------------------------------

VGG11 = (1, 2, 4, 4, 8, 8, 8, 8)  # channels in multiples of the first layer's 64
POOLED = (0, 1, 3, 5, 7)  # the layers that are followed by pooling


def image_net(
    norm: str, *, channels: int = 64, device: torch.device | str = "cpu"
) -> nn.Sequential:
    """VGG-11 of Simonyan and Zisserman 2015 for images of 32x32, with one connected layer."""
    layers: list[nn.Module] = []
    inputs = 3
    for place, times in enumerate(VGG11):
        outputs = times * channels
        conv = nn.Conv2d(inputs, outputs, 3, 1, 1)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.zeros_(conv.bias)  # pyright: ignore[reportArgumentType] - there is one
        after = [] if norm == NONE else [nn.BatchNorm2d(outputs)] + [Noise()] * (norm == NOISY)
        layers += [conv, *after, nn.ReLU()] + [nn.MaxPool2d(2)] * (place in POOLED)
        inputs = outputs
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs, 10)).to(device)


def image_case(
    norm: str, lr: float, steps: int, device: str, images: int | None, channels: int
) -> Case:
    """VGG-11 on the first `images` of CIFAR-10 (None: all of them), batches of 128."""
    train, test = cifar(device)
    build = functools.partial(image_net, norm, channels=channels, device=train.x.device)
    recipe = Recipe(lr=lr, momentum=MOMENTUM, batch_size=128, steps=steps)
    metric = functools.partial(test_accuracy, test.x[:images], test.y[:images])
    batches = (train.x[:images], train.y[:images])
    return Case(build, functional.cross_entropy, batches, recipe, metric=metric, name=norm)


# --- learning rates -------------------------------------------------------------------------------


def learns(trial: Trial) -> bool:
    """Whether a run did not diverge, and ended below the loss that it began with."""
    return not trial.diverged and final_loss(trial) < trial.loss.values[0]


def stable_rates(
    lab: Lab,
    case: Callable[..., Case],
    settings: dict[str, Any],
    lrs: Sequence[float],
    seeds: Sequence[int],
) -> np.ndarray:
    """(len(lrs), S) whether a run at each rate, on each seed, learns."""
    jobs = grid(seeds, lr=list(lrs), **{name: [value] for name, value in settings.items()})
    found = [learns(trial) for trial in lab.train(case, jobs)]
    return np.array(found).reshape(len(lrs), len(seeds))


def largest_stable(stable: np.ndarray, lrs: Sequence[float]) -> np.ndarray:
    """(S,) the largest rate up to which all of `lrs` are stable; 0 where even the first is not."""
    counts = np.cumprod(stable, axis=0).sum(0)
    return np.array([0.0, *lrs])[counts]
