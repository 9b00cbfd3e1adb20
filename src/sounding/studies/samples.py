"""The data of the studies, read once a process, and what a scale needs before it can run."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import nn

from sounding.data import Digits, Labelled, cifar10, digits


class Split(NamedTuple):
    """A data set in its two parts."""

    train: Labelled
    test: Labelled


@functools.cache
def digit_images() -> Digits:
    """The handwritten digits, standardised; 64 features."""
    return digits()


@functools.cache
def cifar(device: str) -> Split:
    """CIFAR-10 on `device`, as float32 of about mean 0 and deviation 1: (N, 3, 32, 32).

    Raises:
        FileNotFoundError: If it is nowhere to be read from; see `sounding.data.cifar10`.
        ImportError: If it is in parquet files, and what reads these is not installed.
    """
    parts = []
    for train in (True, False):
        images, labels = cifar10(train=train)
        parts.append(Labelled((images.to(device).float() - 120.0) / 64.0, labels.to(device)))
    return Split(*parts)


def needs(device: str, *, cifar10: bool = False) -> str:
    """Why a scale cannot run here, as a sentence; empty where it can."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        return "a CUDA device is needed"
    try:
        if cifar10:
            cifar(device)
    except (FileNotFoundError, ImportError) as missing:
        return str(missing)
    return ""


def accuracy(x: torch.Tensor, y: torch.Tensor, model: nn.Module) -> dict[str, float]:
    """The share of samples that `model` classifies right, as a metric of a Case."""
    right = sum(
        int((model(part).argmax(1) == labels).sum())
        for part, labels in zip(x.split(2048), y.split(2048), strict=True)
    )
    return {"accuracy": right / len(y)}
