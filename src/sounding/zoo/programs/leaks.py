"""SD417, SD418: sick programs whose outputs see the answers, or the other samples of the batch."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.scores import accuracy, classified, kept_finite
from sounding.zoo.programs.usual import Pair, batches, split
from sounding.zoo.sequences import Block, LanguageModel


def _one_after_the_other(net: nn.Module, data: Pair, count: int = 64) -> float:
    """Minus the loss of the last output, where the net is shown each beginning alone."""
    x, y = data[0][:count], data[1][:count]
    net.eval()
    with torch.no_grad():
        shown = [net(x[:, : at + 1])[..., -1] for at in range(x.shape[1])]
        return kept_finite(-functional.cross_entropy(torch.stack(shown, -1), y).item())


def _spoken(net: nn.Module, data: Pair, *, lr: float = 3e-3, copied: bool = False) -> float:
    train, test = split(data)
    optimiser = torch.optim.AdamW(net.parameters(), lr=lr)
    for x, y in batches(train, size=16, steps=200):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), x if copied else y)
        loss.backward()
        optimiser.step()
    return _one_after_the_other(net, test)


def unmasked(sick: bool) -> float:
    """A language model whose attention looks ahead."""
    net = LanguageModel(2)
    for block in net.blocks:
        if isinstance(block, Block):
            block.causal = not sick
    return _spoken(net, samples.sentences())


def not_shifted(sick: bool) -> float:
    """The loss compares each output with the token that stands at its own place."""
    return _spoken(LanguageModel(2), samples.sentences(), copied=sick)


class Speaker(nn.Module):
    """A GRU that tells the next token, in one direction or in both."""

    def __init__(self, *, both: bool, width: int = 32) -> None:
        super().__init__()
        self.table = nn.Embedding(samples.TOKENS, width)
        self.recurrent = nn.GRU(width, width, batch_first=True, bidirectional=both)
        self.head = nn.Linear(width * (1 + both), samples.TOKENS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores of the next token, (samples, TOKENS, tokens)."""
        return self.head(self.recurrent(self.table(tokens))[0]).transpose(1, 2)


def both_ways(sick: bool) -> float:
    """A recurrent language model that reads in both directions."""
    return _spoken(Speaker(both=sick), samples.sentences(), lr=1e-2)


class Reader(nn.Module):
    """A recurrent layer of torch's, which is told what comes first, or not."""

    def __init__(self, *, batch_first: bool, width: int = 48) -> None:
        super().__init__()
        self.recurrent = nn.GRU(8, width, batch_first=batch_first)
        self.head = nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes, of (samples, time, channels)."""
        return self.head(self.recurrent(x)[0][:, -1])


def batch_first_forgotten(sick: bool) -> float:
    """A recurrent layer takes the samples for moments."""
    net = Reader(batch_first=not sick)
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    return classified(net, optimiser, tasks.recall(length=8, at=5), steps=200)


class Turned(nn.Module):
    """A recurrent layer that wants time first, and gets it by a transpose or by a reshape."""

    def __init__(self, *, reshaped: bool, width: int = 48) -> None:
        super().__init__()
        self.recurrent = nn.GRU(8, width)
        self.head = nn.Linear(width, 2)
        self.reshaped = reshaped

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes, of (samples, time, channels)."""
        count, time, channels = x.shape
        turned = x.reshape(time, count, channels) if self.reshaped else x.transpose(0, 1)
        return self.head(self.recurrent(turned)[0][-1])


def reshaped_for_transposed(sick: bool) -> float:
    """`reshape` keeps the numbers in their order, so moments of samples are mixed."""
    net = Turned(reshaped=sick)
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    return classified(net, optimiser, tasks.recall(length=8, at=5), steps=200)


class Pooled(nn.Module):
    """Words' vectors, averaged over the words or over the samples."""

    def __init__(self, *, over_samples: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(200, 16)
        self.layers = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 5))
        self.over_samples = over_samples

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Scores of the topics, of (samples, words)."""
        vectors = self.table(words)
        if self.over_samples:
            vectors = vectors.mean(0, keepdim=True).expand_as(vectors)
        return self.layers(vectors.mean(1))


def averaged_over_samples(sick: bool) -> float:
    """`mean(0)` where `mean(1)` is meant: all samples get one prediction."""
    net = Pooled(over_samples=sick)
    train, test = split(tasks.bags())
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for x, y in batches(train, steps=200):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


LEAKS: tuple[Program, ...] = (
    Program(
        "unmasked",
        unmasked,
        ("SD417",),
        "attention looks ahead, at the token that is to be predicted: is_causal=True",
        code_only=True,
    ),
    Program(
        "not shifted",
        not_shifted,
        ("SD417",),
        "outputs are compared with the tokens of their own places: shift the targets by one",
        code_only=True,
    ),
    Program(
        "both ways",
        both_ways,
        ("SD417",),
        "a bidirectional layer has read what comes next: one direction",
        code_only=True,
    ),
    Program(
        "batch first forgotten",
        batch_first_forgotten,
        ("SD418",),
        "a recurrent layer runs along the samples: batch_first=True",
        code_only=True,
    ),
    Program(
        "reshaped for transposed",
        reshaped_for_transposed,
        ("SD418",),
        "a reshape mixes moments and samples: transpose",
        code_only=True,
    ),
    Program(
        "averaged over the samples",
        averaged_over_samples,
        ("SD418", "SD205"),
        "a mean over dimension 0 makes all samples one: mean(1)",
        code_only=True,
    ),
)
