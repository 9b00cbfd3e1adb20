"""Images that are turned over between training and evaluation: told by the mean of each pixel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

LEAST = 1e-2  # of the mean variance: what a pixel that is constant in training may scatter


class Turned(NamedTuple):
    """How far the means of two sets of images are apart; both are about 1 where sets are alike.

    The mean over the pixels of the squared difference, over the variance that it has between two
    choices of samples.
    """

    how: str = ""  # the turn that brings them nearest, '' for none
    as_is: float = float("nan")
    turned: float = float("nan")  # after that turn


def turned(trained: torch.Tensor, seen: torch.Tensor, shape: torch.Size) -> Turned:
    """The means of (N, F) and (M, F) images of `shape`, as they are and turned."""
    if len(shape) < 3 or min(len(trained), len(seen)) < 2:
        return Turned()
    one, other = (rows.mean(0).view(shape) for rows in (trained, seen))
    variance = trained.var(0).view(shape)
    variance = variance + LEAST * variance.mean()
    if not float(variance.mean()) > 0:
        return Turned()
    variance = variance * (1 / len(trained) + 1 / len(seen))

    def apart(image: torch.Tensor) -> float:
        return float(((one - image).square() / variance).mean())

    found = {how: apart(image) for how, image in _turns(other)}
    how = min(found, key=lambda name: found[name])
    return Turned(how, apart(other), found[how])


def _turns(image: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """(..., H, W) in other orders of its rows and columns, and of three channels."""
    yield "upside down", image.flip(-2)
    yield "left to right", image.flip(-1)
    yield "turned by 180 degrees", image.flip(-2, -1)
    if image.shape[-1] == image.shape[-2]:
        across = image.transpose(-2, -1)
        yield "with rows and columns exchanged", across
        yield "turned by 90 degrees", across.flip(-1)
        yield "turned by 270 degrees", across.flip(-2)
    if image.shape[-3] == 3:
        yield "with its three channels in reverse", image.flip(-3)
