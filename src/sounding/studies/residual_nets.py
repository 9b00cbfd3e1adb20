"""Residual networks for images of 32x32, with any normalisation after each convolution.

He et al., "Deep Residual Learning", CVPR 2016, section 4.2: three stages of n blocks with 1, 2 and
4 times `width` channels, 6 n + 2 layers in all. Where the size changes, the way around a block is a
convolution of 1x1, normalised as well.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

Norm = Callable[[int], nn.Module]  # of the number of channels


class Block(nn.Module):
    """Two convolutions of 3x3, and a way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.inside = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            norm(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            norm(outputs),
        )
        self.around = nn.Sequential()
        if stride > 1 or inputs != outputs:
            self.around.append(nn.Conv2d(inputs, outputs, 1, stride, bias=False))
            self.around.append(norm(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        return (self.inside(x) + self.around(x)).relu()


def residual_net(
    depth: int,
    *,
    width: int = 16,
    norm: Norm = nn.BatchNorm2d,
    classes: int = 10,
    device: torch.device | str = "cpu",
) -> nn.Sequential:
    """A network of `depth` layers, He's initialisation, on `device`; the last module is the head.

    Raises:
        ValueError: If `depth` is not 8, 14, 20, ...
    """
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise ValueError(f"depth is {depth}; such a network has 6 n + 2 layers: 8, 14, 20, ...")
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, 1, 1, bias=False), norm(width), nn.ReLU()]
    inputs = width
    for outputs in (width, 2 * width, 4 * width):
        for place in range(blocks):
            stride = 2 if place == 0 and outputs > width else 1
            layers.append(Block(inputs, outputs, stride, norm))
            inputs = outputs
    head = nn.Linear(inputs, classes)
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return net.to(device)
