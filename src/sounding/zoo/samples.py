"""The zoo's data: digits, and made-up sets of a few hundred samples, the same every time."""

from __future__ import annotations

import functools

import torch

from sounding.data import clusters, digits

Pair = tuple[torch.Tensor, torch.Tensor]

CLUSTERS: Pair = clusters(1024, features=32, classes=10, distance=6.0, seed=7)
OVERLAPPING: Pair = clusters(1024, features=32, classes=10, distance=2.5, seed=7)
TOKENS = 32  # of the made-up language


@functools.cache
def flat_digits() -> Pair:
    """Digits as 64 pixels."""
    x, y = digits().train
    return x, y


@functools.cache
def image_digits() -> Pair:
    """Digits as images (1, 8, 8)."""
    x, y = digits().train
    return x.view(-1, 1, 8, 8), y


@functools.cache
def sentences(count: int = 256, length: int = 24) -> Pair:
    """A language in which two tokens may follow each one: the best possible loss is ln 2."""
    generator = torch.Generator().manual_seed(3)
    following = torch.randint(0, TOKENS, (TOKENS, 2), generator=generator)
    text = [torch.randint(0, TOKENS, (count,), generator=generator)]
    for _ in range(length):
        either = torch.randint(0, 2, (count,), generator=generator)
        text.append(following[text[-1], either])
    whole = torch.stack(text, 1)
    return whole[:, :-1], whole[:, 1:]


@functools.cache
def sequences(count: int = 512, length: int = 15) -> Pair:
    """Noise of 8 channels; the class is the sign of the first, three steps before the end."""
    x = torch.randn(count, length, 8, generator=torch.Generator().manual_seed(5))
    return x, (x[:, -3, 0] > 0).long()


@functools.cache
def noisy_line(count: int = 1024) -> Pair:
    """A regression that can explain 8 % of the variance at best."""
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(count, 8, generator=generator)
    return x, 0.3 * x[:, :1] + torch.randn(count, 1, generator=generator)


@functools.cache
def real_and_fake(count: int = 1024) -> Pair:
    """What a discriminator sees: half real, half generated, the two overlapping."""
    generator = torch.Generator().manual_seed(8)
    real = (torch.arange(count) % 2).float()[:, None]
    x = torch.randn(count, 16, generator=generator)
    return torch.where(real > 0, x, 0.5 * x + 0.3), real


@functools.cache
def rare_words(count: int = 2048) -> Pair:
    """Bags of 12 out of 5,000 words, most of them rare; the first decides the class."""
    generator = torch.Generator().manual_seed(9)
    words = (torch.rand(count, 12, generator=generator) ** 4 * 5000).long()
    return words, words[:, 0] % 4


@functools.cache
def graph(nodes: int = 128, neighbours: int = 4) -> torch.Tensor:
    """Each node's mean over its neighbours and itself in a random graph, (nodes, nodes)."""
    generator = torch.Generator().manual_seed(10)
    chosen = torch.rand(nodes, nodes, generator=generator).argsort(1)[:, :neighbours]
    a = torch.eye(nodes).scatter(1, chosen, 1.0)
    a = torch.maximum(a, a.T)
    return a / a.sum(1, keepdim=True)
