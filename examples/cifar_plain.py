"""A 20-layer plain conv net on CIFAR-10 as a case: `sounding repair examples/cifar_plain.py`.

Needs the data: set SOUNDING_DATA to a folder with CIFAR-10 as parquet or binary files.
"""

from torch import nn

import sounding as sd

images = sd.data.cifar10(limit=2000)
x = (images.x.float() / 255 - 0.47) / 0.25


def build(width=16, depth=20):
    """Convolutions with ReLU, no normalisation, no skips; halved twice on the way up."""
    layers, channels = [], 3
    for number in range(depth - 1):
        stride = 2 if number in (0, depth // 3, 2 * depth // 3) else 1
        layers += [nn.Conv2d(channels, width, 3, stride=stride, padding=1), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


case = sd.Case(
    build,
    nn.functional.cross_entropy,
    (x, images.y),
    sd.Recipe(optimiser="sgd", lr=0.02, momentum=0.9, batch_size=64, steps=150),
    name="20-layer plain conv net on CIFAR-10",
)
