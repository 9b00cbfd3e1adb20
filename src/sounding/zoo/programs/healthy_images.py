"""Healthy trainings on images: convolutions, norms, patches, augmentation, pixels as targets."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import ConvBlock, PlainConv, Squeezed, UNet, drawn, group_norm, mlp, normal
from sounding.zoo.nets import resnet as small_resnet
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.usual import fit
from sounding.zoo.sequences import VisionTransformer

IMAGES = samples.image_digits()
PICTURES = tasks.pictures()


def resnet(_: bool) -> float:
    """The last scale of every branch starts at zero (Goyal et al. 2017)."""
    net = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(ConvBlock(16, nn.BatchNorm2d), ConvBlock(16, nn.BatchNorm2d)),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 4)),
    )
    for block in net.children():
        if isinstance(block, ConvBlock):
            nn.init.zeros_(block.norm2.weight)  # type: ignore[arg-type]
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    return -fit(net, optimiser, PICTURES, functional.cross_entropy, size=32, steps=150)


def resnet_without_batch_statistics(_: bool) -> float:
    """Group norm, with a small L2 term inside of Adam, as many scripts have it."""
    net = small_resnet(2, norm=group_norm)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2, weight_decay=1e-4)
    return -fit(net, optimiser, IMAGES, functional.cross_entropy, size=64, steps=200)


def plain_convolutions(_: bool) -> float:
    """Four convolutions without skips or norms."""
    net = drawn(PlainConv(4), normal(2**0.5))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    return -fit(net, optimiser, IMAGES, functional.cross_entropy, size=32, steps=250)


def squeeze_and_excitation(_: bool) -> float:
    """Sigmoid gates on the channels."""
    net = Squeezed()
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    return -fit(net, optimiser, IMAGES, functional.cross_entropy, size=32, steps=200)


def vision_transformer(_: bool) -> float:
    """Warmed up over twenty steps; its head starts at zero."""
    net = VisionTransformer(depth=2)
    optimiser = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1, (step + 1) / 20))
    return -fit(
        *(net, optimiser, IMAGES, functional.cross_entropy),
        steps=200,
        size=32,
        clip=1.0,
        schedule=schedule,
    )


def segmentation(_: bool) -> float:
    """Where there is ink: cross-entropy of every pixel, and the overlap of the whole (Dice)."""

    def loss(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        p = torch.sigmoid(logits)
        overlap = (p * mask).sum((1, 2, 3))
        dice = 1 - (2 * overlap + 1) / (p.sum((1, 2, 3)) + mask.sum((1, 2, 3)) + 1)
        return functional.binary_cross_entropy_with_logits(logits, mask) + dice.mean()

    net = UNet(8)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    return -fit(net, optimiser, tasks.ink(), loss, size=32, steps=150)


def autoencoder(_: bool) -> float:
    """Grey values between 0 and 1, a sigmoid at the end, and their cross-entropy."""
    net = nn.Sequential(mlp(64, 64, 24, 64, 64), nn.Sigmoid())
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    criterion = nn.BCELoss()
    return -fit(net, optimiser, tasks.pixels(), criterion, steps=400)


def tanh_autoencoder(_: bool) -> float:
    """Grey values between -1 and 1, a tanh at the end, and their squared error."""
    x = 2 * tasks.pixels()[0] - 1
    net = nn.Sequential(mlp(64, 64, 24, 64, 64), nn.Tanh())
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    return -fit(net, optimiser, (x, x), functional.mse_loss, steps=400)


class SkippedBlocks(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training a branch is left out now and then."""

    def __init__(self, blocks: int = 5, keep: float = 0.8) -> None:
        super().__init__()
        self.stem = nn.Linear(64, 64)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64))
            for _ in range(blocks)
        )
        self.head = nn.Linear(64, 10)
        self.keep = keep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        x = self.stem(x)
        for block in self.blocks:
            if not self.training:
                x = x + self.keep * block(x)
            elif torch.rand(()) < self.keep:
                x = x + block(x)
        return self.head(x)


def stochastic_depth(_: bool) -> float:
    """In every step some layers are not called at all."""
    net = SkippedBlocks()
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    return -fit(net, optimiser, samples.flat_digits(), functional.cross_entropy, steps=200)


IMAGE_NETS: tuple[Program, ...] = (
    Program(
        "resnet with batch norm",
        resnet,
        (),
        "dead scales, zero initialisation: the last scale of a branch starts at zero, and grows",
    ),
    Program(
        "resnet with group norm",
        resnet_without_batch_statistics,
        (),
        "L2 inside of Adam: so little of it that nothing changes",
    ),
    Program(
        "plain convolutions",
        plain_convolutions,
        (),
        "no norms and no skips: four layers with the right weights need none",
    ),
    Program(
        "squeeze and excitation",
        squeeze_and_excitation,
        (),
        "saturated units: sigmoid gates that may close",
    ),
    Program(
        "vision transformer",
        vision_transformer,
        (),
        "zero initialisation: with a head of zeros nothing else moves in the first step",
    ),
    Program(
        "segmentation",
        segmentation,
        (),
        "sigmoid before the loss: only the second part of the loss takes probabilities",
    ),
    Program(
        "autoencoder",
        autoencoder,
        (),
        "loss stays high, saturated sigmoid: grey pixels have an entropy, black ones are black",
    ),
    Program(
        "tanh autoencoder",
        tanh_autoencoder,
        (),
        "output range: tanh ends at -1 and 1, and so do the pixels",
    ),
    Program(
        "stochastic depth",
        stochastic_depth,
        (),
        "parameters without a gradient: a branch that is left out for a step",
    ),
)
