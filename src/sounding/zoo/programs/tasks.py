"""What the programs train on, beside the zoo's samples: small, made-up, the same every time."""

from __future__ import annotations

import functools

import torch

from sounding.zoo import samples
from sounding.zoo.programs.usual import Pair

TAGS = 4


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@functools.cache
def waves(count: int = 1024) -> Pair:
    """A sine, y = sin(3 x), x between -1 and 1, as columns."""
    x = 2 * torch.rand(count, 1, generator=_generator(21)) - 1
    return x, torch.sin(3 * x)


@functools.cache
def bowl(count: int = 1024) -> Pair:
    """A bowl: y = |x|^2 / 8 - 1 of 8 normal features, deviation 1/2."""
    x = torch.randn(count, 8, generator=_generator(22))
    return x, x.square().mean(1, keepdim=True) - 1


@functools.cache
def plane(count: int = 1280) -> Pair:
    """A weighted sum of 8 features, deviation about 1, without noise; columns."""
    x = torch.randn(count, 8, generator=_generator(23))
    return x, x @ torch.linspace(-0.6, 0.6, 8)[:, None]


@functools.cache
def quadrants(count: int = 1024) -> Pair:
    """Points of the plane; the class is whether both coordinates have the same sign."""
    x = torch.randn(count, 2, generator=_generator(24))
    return x, (x.prod(1) > 0).long()


@functools.cache
def rare_class(count: int = 5120, share: float = 0.01, shift: float = 0.8) -> Pair:
    """16 normal features, moved in all of them for the few of class 1."""
    generator = _generator(25)
    y = (torch.rand(count, generator=generator) < share).long()
    return torch.randn(count, 16, generator=generator) + shift * y[:, None], y


@functools.cache
def two_clouds(count: int = 1024) -> Pair:
    """Two overlapping clouds of 32 features; the target is a column of 0.0 and 1.0."""
    generator = _generator(26)
    y = torch.randint(0, 2, (count, 1), generator=generator).float()
    return torch.randn(count, 32, generator=generator) + 0.25 * (2 * y - 1), y


@functools.cache
def pictures(count: int = 1024) -> Pair:
    """Noisy coloured images (3, 8, 8) of four patterns."""
    generator = _generator(27)
    patterns = torch.randn(4, 3, 8, 8, generator=generator)
    y = torch.randint(0, 4, (count,), generator=generator)
    return patterns[y] + 1.5 * torch.randn(count, 3, 8, 8, generator=generator), y


@functools.cache
def grain(count: int = 1024) -> Pair:
    """Noise images (1, 8, 8) of mean zero; the class says whether neighbours agree or disagree."""
    generator = _generator(28)
    noise = torch.randn(count, 1, 8, 9, generator=generator)
    y = torch.randint(0, 2, (count,), generator=generator)
    sign = (2.0 * y - 1)[:, None, None, None]
    return (noise[..., 1:] + sign * noise[..., :-1]) / 2**0.5, y


@functools.cache
def pixels() -> Pair:
    """Digits as 64 numbers from 0 to 1, to be reproduced."""
    x = samples.flat_digits()[0]
    x = (x - x.min()) / (x.max() - x.min())
    return x, x


@functools.cache
def ink() -> Pair:
    """Noisy digits as images, and where there is ink: 0.0 and 1.0 of the same shape."""
    x = samples.image_digits()[0]
    noise = torch.randn(x.shape, generator=_generator(29))
    return x + 0.7 * noise, (x > 0.5).float()


@functools.cache
def recall(count: int = 1024, length: int = 24, at: int = 2, channels: int = 8) -> Pair:
    """Noise of several channels; the class is the sign of the first one at one early moment."""
    x = torch.randn(count, length, channels, generator=_generator(30))
    return x, (x[:, at, 0] > 0).long()


@functools.cache
def series(count: int = 1024, length: int = 20) -> Pair:
    """Sums of two oscillations, (count, length, 1), and their next value as a column."""
    generator = _generator(31)
    phase, speed = torch.rand(2, count, 2, 1, generator=generator)
    time = torch.arange(length + 1.0)
    wave = torch.sin(6.28 * phase + (0.15 + 0.25 * speed) * time).sum(1)
    wave = wave + 0.02 * torch.randn(wave.shape, generator=generator)
    return wave[:, :length, None], wave[:, length:]


@functools.cache
def tagged(count: int = 1024, length: int = 12) -> Pair:
    """Tokens (count, length), and for each a tag: its own half, and that of the one before it."""
    tokens = torch.randint(0, 24, (count, length), generator=_generator(32))
    half = tokens // 12
    return tokens, 2 * half + half.roll(1, 1)


@functools.cache
def bags(count: int = 2048, words: int = 200) -> Pair:
    """Ten words each; the class is the topic that most of them belong to, of five."""
    generator = _generator(33)
    topic = torch.randint(0, 5, (count,), generator=generator)
    own = torch.randint(0, words // 5, (count, 10), generator=generator) * 5 + topic[:, None]
    other = torch.randint(0, words, (count, 10), generator=generator)
    mixed = torch.rand(count, 10, generator=generator) < 0.6
    return torch.where(mixed, other, own), topic


@functools.cache
def rare_words(count: int = 2048) -> Pair:
    """Bags of 12 out of 5,000 words, most of them rare; most belong to the topic, of four."""
    generator = _generator(36)
    topic = torch.randint(0, 4, (count,), generator=generator)
    rank = (torch.rand(count, 12, generator=generator) ** 4 * 1250).long()
    other = torch.randint(0, 4, (count, 12), generator=generator)
    mixed = torch.rand(count, 12, generator=generator) < 0.5
    return 4 * rank + torch.where(mixed, other, topic[:, None]), topic


@functools.cache
def ratings(count: int = 4096, users: int = 60, items: int = 60) -> Pair:
    """Pairs (user, item), and 1.0 where their hidden tastes agree, else 0.0, as a column."""
    generator = _generator(34)
    taste, kind = torch.randn(2, users, 3, generator=generator)
    chosen = torch.randint(0, min(users, items), (count, 2), generator=generator)
    score = (taste[chosen[:, 0]] * kind[chosen[:, 1]]).sum(1, keepdim=True)
    return chosen, (score > 0).float()


@functools.cache
def crescent(count: int = 1024) -> torch.Tensor:
    """Points on an arc in the plane, for a generator to imitate."""
    generator = _generator(35)
    angle = 3.14 * torch.rand(count, generator=generator)
    arc = torch.stack([torch.cos(angle), torch.sin(angle)], 1)
    return 2 * arc + 0.1 * torch.randn(count, 2, generator=generator)
