"""Nets in which nothing is wrong, though each has something that a naive rule would report."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from sounding.objective import Loss, Objective
from sounding.train import Case, Recipe
from sounding.zoo import samples
from sounding.zoo.entry import Entry
from sounding.zoo.nets import (
    Experts,
    LeNet,
    Plain,
    Residual,
    ReZero,
    Squeezed,
    UNet,
    drawn,
    group_norm,
    mlp,
    normal,
    resnet,
    separable,
)
from sounding.zoo.sequences import HandWritten, LanguageModel, Recurrent, VisionTransformer

AFTER = (0, 30, 200)
RELU, TANH = 2**0.5, 1.0  # critical gains: chi = 1


def _healthy(
    name: str,
    build: Callable[[], nn.Module],
    data: Any,
    note: str,
    *,
    loss: Loss | Objective = functional.cross_entropy,
    **recipe: Any,
) -> Entry:
    settings = {"optimiser": "adam", "lr": 1e-3, "batch_size": 64} | recipe
    return Entry(name, Case(build, loss, data, Recipe(**settings), name=name), (), note, AFTER)


def _trained(net: nn.Module, data: samples.Pair, steps: int = 150, lr: float = 3e-3) -> nn.Module:
    """`net` after some steps on the whole of `data`: what somebody else has trained before."""
    optimiser = torch.optim.Adam(net.parameters(), lr=lr)
    for _ in range(steps):
        optimiser.zero_grad()
        functional.cross_entropy(net(data[0]), data[1]).backward()
        optimiser.step()
    return net


# -- build functions of more than a line -----------------------------------------------------------


def _frozen_backbone() -> nn.Module:
    net = _trained(mlp(32, 64, 64, 10), samples.CLUSTERS)
    net.requires_grad_(False)
    net[-1] = nn.Linear(64, 10)  # type: ignore[index]
    return net


def _sparse() -> nn.Module:
    net = mlp(32, 512, 256, 10)
    with torch.no_grad():
        net[0].bias.fill_(-0.6)  # type: ignore[union-attr]
        net[2].bias.fill_(-0.15)  # type: ignore[union-attr]
    return net


def _weight_normed() -> nn.Module:
    net = mlp(64, 64, 64, 64, 10)
    for layer in net:
        if isinstance(layer, nn.Linear):
            weight_norm(layer)
    return net


def _orthogonal_linear() -> nn.Module:
    return drawn(Plain(*[64] * 30, 10, activation=lambda x: x), nn.init.orthogonal_)


def _small_head() -> nn.Module:
    net = drawn(mlp(64, 256, 256, 10), normal(RELU))
    nn.init.normal_(net[-1].weight, std=1 / 256)  # type: ignore[index]  # muP (Yang et al. 2021)
    return net


def _normed(depth: int, norm: Callable[[int], nn.Module]) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(64, 64), norm(64), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 10))


def _dropout() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(32, 128), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(128, 128), nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(128, 10),
    )


def _step_by_step(model: nn.Module, batch: Any) -> torch.Tensor:
    """Two noisy views of a sample are told from the other samples (Chen et al. 2020)."""
    x, _ = batch
    first = functional.normalize(model(x + 0.1 * torch.randn_like(x)), dim=1)
    second = functional.normalize(model(x + 0.1 * torch.randn_like(x)), dim=1)
    return functional.cross_entropy(first @ second.T / 0.1, torch.arange(len(x)))


_DIGITS, _IMAGES = samples.flat_digits(), samples.image_digits()
_AUTO = (_DIGITS[0], _DIGITS[0])
_SGD = {"optimiser": "sgd", "momentum": 0.9}

HEALTHY: tuple[Entry, ...] = (
    # -- plain nets ------------------------------------------------------------------------------
    _healthy(
        "mlp",
        lambda: mlp(32, 64, 64, 10),
        samples.CLUSTERS,
        "gradients get tiny as it converges",
    ),
    _healthy(
        "digits mlp",
        lambda: mlp(64, 128, 128, 10),
        _DIGITS,
        "PyTorch's default weights, too small for ReLU, in three layers only",
        lr=0.05,
        **_SGD,
    ),
    _healthy(
        "wide",
        lambda: mlp(32, 4096, 10),
        samples.CLUSTERS,
        "tiny gradients per weight",
        lr=3e-4,
    ),
    _healthy(
        "sparse relu",
        _sparse,
        samples.CLUSTERS,
        "four activations in five are zero, as its biases want",
    ),
    _healthy(
        "gelu and silu",
        lambda: nn.Sequential(
            *(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 10))
        ),
        samples.CLUSTERS,
        "negative outputs, and many near zero",
        optimiser="adamw",
    ),
    _healthy("dropout", _dropout, samples.CLUSTERS, "half of the activations are zero, and noise"),
    _healthy(
        "six relu layers with adam",
        lambda: mlp(64, *[64] * 5, 10),
        _DIGITS,
        "the signal shrinks a hundredfold, which Adam divides out",
    ),
    _healthy(
        "tanh at the critical point, depth 30",
        lambda: drawn(mlp(64, *[64] * 29, 10, activation=nn.Tanh), normal(TANH)),
        _DIGITS,
        "the signal shrinks by a power of the depth",
        lr=0.003,
        **_SGD,
    ),
    _healthy(
        "He's relu, depth 30",
        lambda: drawn(mlp(64, *[128] * 29, 10), normal(RELU)),
        _DIGITS,
        "finite width makes the signal's size a random walk over the depth",
        lr=0.003,
        **_SGD,
    ),
    _healthy(
        "orthogonal linear, depth 30",
        _orthogonal_linear,
        _DIGITS,
        "thirty layers without an activation",
        lr=0.003,
        **_SGD,
    ),
    _healthy(
        "selu, depth 16",
        lambda: drawn(mlp(64, *[64] * 15, 10, activation=nn.SELU), normal(1.0)),
        _DIGITS,
        "keeps its own scale (Klambauer et al. 2017)",
        lr=0.003,
        **_SGD,
    ),
    _healthy(
        "small head",
        _small_head,
        _DIGITS,
        "outputs near zero at first, by the width's rule",
    ),
    _healthy(
        "weight-normed",
        _weight_normed,
        _DIGITS,
        "its weights are computed, not parameters",
    ),
    # -- normalised nets -------------------------------------------------------------------------
    _healthy(
        "batch norm, depth 12",
        lambda: _normed(12, nn.BatchNorm1d),
        _DIGITS,
        "weights of any scale, which the norm takes out again",
        lr=0.05,
        **_SGD,
    ),
    _healthy(
        "layer norm, depth 12",
        lambda: _normed(12, nn.LayerNorm),
        _DIGITS,
        "as above, with no batch statistics",
    ),
    _healthy(
        "resnet with batch norm",
        resnet,
        _IMAGES,
        "biases of the norms start at zero and have weight decay",
        lr=0.05,
        weight_decay=5e-4,
        batch_size=32,
        **_SGD,
    ),
    _healthy(
        "resnet with group norm",
        lambda: resnet(norm=group_norm),
        _IMAGES,
        "normalised per sample",
        batch_size=32,
    ),
    _healthy(
        "separable convolutions with relu6",
        separable,
        _IMAGES,
        "a rectifier with a ceiling: half of its slopes are zero",
        lr=3e-3,
        batch_size=32,
    ),
    _healthy(
        "squeeze and excitation",
        Squeezed,
        _IMAGES,
        "sigmoid gates that may close",
        batch_size=32,
    ),
    _healthy("lenet", LeNet, _IMAGES, "default weights in five layers", batch_size=32),
    # -- residual nets without normalisation -----------------------------------------------------
    _healthy(
        "rezero",
        ReZero,
        samples.CLUSTERS,
        "gates at zero: no branch gets a gradient in the first step",
    ),
    _healthy(
        "fixup",
        lambda: Residual(12, last=0.0),
        _DIGITS,
        "every branch ends in weights that are zero",
    ),
    # -- images in, images out -------------------------------------------------------------------
    _healthy(
        "u-net",
        UNet,
        (_IMAGES[0], _IMAGES[0]),
        "short and long ways from input to output",
        loss=functional.mse_loss,
        batch_size=32,
    ),
    _healthy(
        "autoencoder",
        lambda: mlp(64, 32, 8, 32, 64),
        _AUTO,
        "a bottleneck, and pixels that are always the same",
        loss=functional.mse_loss,
        lr=3e-3,
    ),
    # -- sequences -------------------------------------------------------------------------------
    _healthy(
        "language model",
        LanguageModel,
        samples.sentences(),
        "a loss that cannot fall below ln 2",
        optimiser="adamw",
        lr=2e-3,
        weight_decay=0.1,
        batch_size=16,
    ),
    _healthy(
        "language model with tied embeddings",
        lambda: LanguageModel(2, tied=True),
        samples.sentences(),
        "one table at both ends",
        optimiser="adamw",
        lr=2e-3,
        batch_size=16,
    ),
    _healthy(
        "transformer normalised after",
        lambda: LanguageModel(3, before=False),
        samples.sentences(),
        "the norms stand in the stream",
        optimiser="adamw",
        lr=1e-3,
        warmup=20,
        batch_size=16,
    ),
    _healthy(
        "vision transformer",
        VisionTransformer,
        _IMAGES,
        "a head that starts at zero: nothing else gets a gradient in the first step",
        optimiser="adamw",
        batch_size=32,
    ),
    _healthy(
        "lstm",
        lambda: Recurrent(nn.LSTM),
        samples.sequences(),
        "saturated gates",
        lr=3e-3,
        clip=1.0,
    ),
    _healthy(
        "hand-written recurrence",
        HandWritten,
        samples.sequences(),
        "the gradient vanishes over time, and the task does not ask for it",
        lr=3e-3,
        clip=1.0,
    ),
    _healthy(
        "rare words",
        lambda: nn.Sequential(nn.EmbeddingBag(5000, 32), nn.Linear(32, 4)),
        samples.rare_words(),
        "most rows get no gradient",
        lr=1e-2,
    ),
    # -- other losses, and other moments of a training -------------------------------------------
    _healthy(
        "experts in small batches",
        Experts,
        samples.CLUSTERS,
        "experts without a sample, or with one",
        batch_size=4,
    ),
    _healthy(
        "experts",
        Experts,
        samples.CLUSTERS,
        "an expert sees a few samples of a batch",
    ),
    _healthy(
        "discriminator",
        lambda: mlp(16, 64, 64, 1, activation=functools.partial(nn.LeakyReLU, 0.2)),
        samples.real_and_fake(),
        "a loss near ln 2 is fine",
        loss=functional.binary_cross_entropy_with_logits,
        lr=2e-4,
    ),
    _healthy(
        "two views",
        lambda: mlp(64, 128, 128, 32),
        _DIGITS,
        "called twice in a step",
        loss=Objective(_step_by_step),
    ),
    _healthy(
        "noise floor",
        lambda: mlp(8, 32, 1),
        samples.noisy_line(),
        "the loss stays where the noise is",
        loss=functional.mse_loss,
        batch_size=128,
    ),
    _healthy(
        "converged",
        lambda: _trained(mlp(32, 256, 10), tuple(t[:128] for t in samples.CLUSTERS)),  # type: ignore[arg-type]
        tuple(t[:128] for t in samples.CLUSTERS),
        "no gradient is left",
        lr=3e-3,
        batch_size=128,
    ),
    _healthy(
        "frozen backbone",
        _frozen_backbone,
        samples.CLUSTERS,
        "parameters that get no gradient on purpose",
    ),
    _healthy(
        "fine-tuning",
        lambda: _trained(mlp(32, 64, 64, 10), samples.OVERLAPPING),
        samples.OVERLAPPING,
        "tiny updates",
        optimiser="adamw",
        lr=1e-5,
    ),
)
