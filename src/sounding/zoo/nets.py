"""Plain, convolutional and residual nets of the zoo."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

Function = Callable[[torch.Tensor], torch.Tensor]


def mlp(*widths: int, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers of these widths with an activation between them."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


@torch.no_grad()
def drawn(net: nn.Module, weight: Callable[[torch.Tensor], object], bias: float = 0.0) -> nn.Module:
    """`net` with `weight` applied to every weight of a layer, and constant biases."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            weight(layer.weight)
            if layer.bias is not None:
                layer.bias.fill_(bias)
    return net


def normal(gain: float) -> Callable[[torch.Tensor], object]:
    """Draws N(0, gain^2 / fan_in)."""
    return lambda weight: nn.init.normal_(weight, std=gain / weight[0].numel() ** 0.5)


class Plain(nn.Module):
    """A deep net whose activation is a function call, not a module."""

    def __init__(self, *widths: int, activation: Function = torch.relu) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(widths))
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairs[:-1])
        self.head = nn.Linear(*pairs[-1])
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        for layer in self.layers:
            x = self.activation(layer(x))
        return self.head(x)


class PlainConv(nn.Module):
    """Convolutions without skips or normalisation on 8 x 8 images."""

    def __init__(self, depth: int, channels: int = 16, activation: Function = torch.relu) -> None:
        super().__init__()
        widths = [1] + [channels] * depth
        pairs = itertools.pairwise(widths)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairs)
        self.head = nn.Linear(channels * 16, 10)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        for layer in self.layers:
            x = self.activation(layer(x))
        return self.head(functional.avg_pool2d(x, 2).flatten(1))


class LeNet(nn.Module):
    """Two convolutions with max-pooling, three linear layers (LeCun et al. 1998)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.fc1 = nn.Linear(64, 64)
        self.fc2 = nn.Linear(64, 32)
        self.fc3 = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = functional.relu(self.fc1(x.flatten(1)))
        return self.fc3(functional.relu(self.fc2(x)))


def separable(activation: Callable[[], nn.Module] = nn.ReLU6) -> nn.Sequential:
    """Depthwise separable convolutions with batch norm (Howard et al. 2017)."""
    layers: list[nn.Module] = [nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)]
    for _ in range(4):
        layers += [activation(), nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)]
        layers += [nn.BatchNorm2d(16), activation(), nn.Conv2d(16, 16, 1, bias=False)]
        layers += [nn.BatchNorm2d(16)]
    layers += [activation(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)]
    return nn.Sequential(*layers)


class ConvBlock(nn.Module):
    """x + conv(relu(norm(conv(x)))), then norm and rectified, as in He et al. 2016."""

    def __init__(self, channels: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = norm(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of the shape of x."""
        branch = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        return functional.relu(x + self.norm2(self.conv2(branch)))


def resnet(blocks: int = 3, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Sequential:
    """A small residual net for digits; `norm` makes a normalisation of so many channels."""
    stem = [nn.Conv2d(1, 16, 3, padding=1, bias=False), norm(16), nn.ReLU()]
    body = [ConvBlock(16, norm) for _ in range(blocks)]
    return nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def group_norm(channels: int) -> nn.GroupNorm:
    """Four groups."""
    return nn.GroupNorm(4, channels)


class Residual(nn.Module):
    """Residual blocks of two linear layers without normalisation.

    `last` is the gain of the second layer of every branch: 0 as Fixup does (Zhang et al. 2019);
    with 1 the variance grows by half in every block. `stream` multiplies the skip.
    """

    def __init__(
        self, blocks: int, width: int = 64, last: float = 1.0, stream: float = 1.0
    ) -> None:
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.up = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.down = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.head = nn.Linear(width, 10)
        self.stream = stream
        drawn(self, normal(2**0.5))
        drawn(self.down, normal(last))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        x = self.stem(x)
        for up, down in zip(self.up, self.down, strict=True):
            x = self.stream * x + down(torch.relu(up(torch.relu(x))))
        return self.head(x)


class ReZero(nn.Module):
    """Residual blocks behind gates that start at 0 (Bachlechner et al. 2021)."""

    def __init__(self, blocks: int = 6) -> None:
        super().__init__()
        self.stem = nn.Linear(32, 64)
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(blocks))
        self.gates = nn.Parameter(torch.zeros(blocks))
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        x = torch.relu(self.stem(x))
        for gate, layer in zip(self.gates, self.layers, strict=True):
            x = x + gate * torch.relu(layer(x))
        return self.head(x)


class Squeezed(nn.Module):
    """Convolutions whose channels are gated by a sigmoid of their means (Hu et al. 2018)."""

    def __init__(self, channels: int = 16, blocks: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in range(blocks)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(blocks))
        self.down = nn.ModuleList(nn.Linear(channels, channels // 4) for _ in range(blocks))
        self.up = nn.ModuleList(nn.Linear(channels // 4, channels) for _ in range(blocks))
        self.head = nn.Linear(channels, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        x = self.stem(x)
        for conv, norm, down, up in zip(self.convs, self.norms, self.down, self.up, strict=True):
            branch = norm(conv(torch.relu(x)))
            gate = torch.sigmoid(up(torch.relu(down(branch.mean((2, 3))))))
            x = x + branch * gate[:, :, None, None]
        return self.head(torch.relu(x).mean((2, 3)))


class UNet(nn.Module):
    """Down to 2 x 2 pixels and up, the finer maps put beside (Ronneberger et al. 2015)."""

    def __init__(self, channels: int = 12) -> None:
        super().__init__()
        self.down1 = nn.Conv2d(1, channels, 3, padding=1)
        self.down2 = nn.Conv2d(channels, 2 * channels, 3, padding=1)
        self.middle = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1)
        self.up2 = nn.ConvTranspose2d(2 * channels, 2 * channels, 2, stride=2)
        self.join2 = nn.Conv2d(4 * channels, channels, 3, padding=1)
        self.up1 = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.join1 = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.head = nn.Conv2d(channels, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """An image of the same size."""
        fine = functional.relu(self.down1(x))
        coarse = functional.relu(self.down2(functional.max_pool2d(fine, 2)))
        middle = functional.relu(self.middle(functional.max_pool2d(coarse, 2)))
        coarse = functional.relu(self.join2(torch.cat([coarse, self.up2(middle)], 1)))
        fine = functional.relu(self.join1(torch.cat([fine, self.up1(coarse)], 1)))
        return self.head(fine)


class Experts(nn.Module):
    """Each sample goes through one of eight experts: the others are not called for it."""

    def __init__(self, width: int = 32, experts: int = 8) -> None:
        super().__init__()
        self.router = nn.Linear(width, experts)
        self.experts = nn.ModuleList(mlp(width, 32, width) for _ in range(experts))
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        weight, chosen = self.router(x).softmax(-1).max(-1)
        added = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            rows = (chosen == number).nonzero()[:, 0]
            if len(rows):
                added = added.index_add(0, rows, expert(x[rows]) * weight[rows, None])
        return self.head(x + added)


class GraphConvolutions(nn.Module):
    """Each node takes its neighbours' mean in every layer (Kipf and Welling 2017)."""

    def __init__(self, adjacency: torch.Tensor, depth: int, width: int = 64) -> None:
        super().__init__()
        self.register_buffer("adjacency", adjacency)
        widths = [64] + [width] * depth
        pairs = itertools.pairwise(widths)
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairs)
        self.head = nn.Linear(width, 10)
        drawn(self, normal(2**0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes of every node."""
        for layer in self.layers:
            x = torch.relu(self.adjacency @ layer(x))
        return self.head(x)
