"""Healthy trainings of plain nets on vectors."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from sounding.zoo import samples
from sounding.zoo.nets import Residual, ReZero, mlp
from sounding.zoo.program import Program
from sounding.zoo.programs.usual import fit

DIGITS = samples.flat_digits()


def _clusters(net: nn.Module, *, lr: float = 1e-3, steps: int = 250) -> float:
    optimiser = torch.optim.Adam(net.parameters(), lr=lr)
    return -fit(net, optimiser, samples.CLUSTERS, functional.cross_entropy, steps=steps)


def _digits(net: nn.Module, *, lr: float = 1e-3, steps: int = 250) -> float:
    optimiser = torch.optim.Adam(net.parameters(), lr=lr)
    return -fit(net, optimiser, DIGITS, functional.cross_entropy, steps=steps)


def _mostly_off(layer: nn.Linear, bias: float) -> nn.Linear:
    nn.init.constant_(layer.bias, bias)
    return layer


def _sparse() -> nn.Module:
    return nn.Sequential(
        *(_mostly_off(nn.Linear(32, 512), -0.6), nn.ReLU()),
        *(_mostly_off(nn.Linear(512, 256), -0.15), nn.ReLU()),
        nn.Linear(256, 10),
    )


def _smooth() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 10))
    )


def _weight_normed() -> nn.Module:
    layers = [weight_norm(nn.Linear(64, width)) for width in (64, 64, 10)]
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


def dropped() -> nn.Module:
    """Half of every hidden layer is dropped."""
    return nn.Sequential(
        *(nn.Linear(32, 128), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(128, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)),
    )


class FunctionalDropout(nn.Module):
    """Dropout as a function that is told the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(32, 128)
        self.head = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        x = functional.dropout(torch.relu(self.hidden(x)), 0.4, training=self.training)
        return self.head(x)


PLAIN: tuple[Program, ...] = (
    Program(
        "mlp",
        lambda _: _clusters(mlp(32, 64, 64, 10)),
        (),
        "vanishing gradient: it gets tiny because the loss does",
    ),
    Program(
        "wide",
        lambda _: _clusters(mlp(32, 4096, 10), lr=3e-4, steps=120),
        (),
        "vanishing gradient: tiny per weight, since there are so many",
    ),
    Program(
        "sparse relu",
        lambda _: _clusters(_sparse()),
        (),
        "dead units: four activations in five are zero, but each unit is alive for some",
    ),
    Program(
        "gelu and silu",
        lambda _: _clusters(_smooth()),
        (),
        "dead units: many outputs near zero and negative, all of them with a slope",
    ),
    Program(
        "six relu layers with adam",
        lambda _: _digits(mlp(64, *[64] * 5, 10)),
        (),
        "initialisation: default weights shrink the signal, which Adam divides out",
    ),
    Program(
        "selu with alpha dropout",
        lambda _: _digits(
            nn.Sequential(
                *(nn.Linear(64, 64), nn.SELU(), nn.AlphaDropout(0.05)),
                *(nn.Linear(64, 64), nn.SELU(), nn.AlphaDropout(0.05), nn.Linear(64, 10)),
            )
        ),
        (),
        "saturated units: the negative side is flat, and holds the scale",
    ),
    Program(
        "weight-normed",
        lambda _: _digits(_weight_normed(), lr=3e-3),
        (),
        "unregistered parameters: its weights are computed, from parameters that are held",
    ),
    Program(
        "rezero",
        lambda _: _clusters(ReZero()),
        (),
        "zero initialisation: no branch gets a gradient in the first step, only its gate",
    ),
    Program(
        "fixup",
        lambda _: _digits(Residual(8, last=0.0)),
        (),
        "zero initialisation: every branch ends in zeros, which the first step changes",
    ),
    Program(
        "dropout of one half",
        lambda _: _clusters(dropped(), steps=400),
        (),
        "dropout too strong: the loss in training is above the other, and still falls",
    ),
    Program(
        "functional dropout",
        lambda _: _clusters(FunctionalDropout(), lr=2e-3),
        (),
        "dropout always on: it is a function, but one that is told the mode",
    ),
)
