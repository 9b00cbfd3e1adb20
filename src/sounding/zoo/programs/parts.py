"""Trainings that call the parts of a model, and never the model itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import Autoencoder
from sounding.zoo.programs.scores import kept_finite
from sounding.zoo.programs.usual import Pair, batches, split


class Tied(nn.Module):
    """Tokens in a window are read by an MLP; the same table gives the scores of the next one."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.table = nn.Embedding(samples.TOKENS, width)
        nn.init.normal_(self.table.weight, std=0.1)
        self.body = mlp(width, 64, width)


class Reader(nn.Module):
    """A sentence becomes a state, from which a second recurrence goes on tag by tag."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.words = nn.Embedding(24, width)
        self.tags = nn.Embedding(tasks.TAGS + 1, width)
        self.encoder = nn.GRU(width, width, batch_first=True)
        self.decoder = nn.GRU(2 * width, width, batch_first=True)
        self.head = nn.Linear(width, tasks.TAGS)


def _trained(
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    data: Pair,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    *,
    steps: int = 250,
    size: int = 64,
) -> float:
    """The usual loop; `loss` calls what it needs of the net. The score is minus the test loss."""
    train, (x, y) = split(data)
    for inputs, wanted in batches(train, size=size, steps=steps):
        optimiser.zero_grad()
        value = loss(inputs, wanted)
        value.backward()
        optimiser.step()
    net.eval()
    with torch.no_grad():
        test = loss(x, y).item()
    return kept_finite(-test)


def encoded_and_decoded(sick: bool) -> float:
    """`decoder(encoder(x))` in the loop, at a rate of 3 or of 0.003."""
    net = Autoencoder()
    optimiser = torch.optim.Adam(net.parameters(), lr=3.0 if sick else 3e-3)
    return _trained(
        net,
        optimiser,
        tasks.pixels(),
        lambda x, y: functional.mse_loss(net.decoder(torch.relu(net.encoder(x))), y),
    )


def timid_parts(sick: bool) -> float:
    """A body and a head that the loop calls one after the other, at 1e-5 or at 0.05."""
    net = nn.ModuleDict({"body": mlp(64, 64, 32), "head": nn.Linear(32, 10)})
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-5 if sick else 0.05, momentum=0.9)
    return _trained(
        net,
        optimiser,
        samples.flat_digits(),
        lambda x, y: functional.cross_entropy(net["head"](torch.relu(net["body"](x))), y),
        steps=200,
    )


def coder_in_parts(_: bool) -> float:
    """An autoencoder whose parts the loop calls."""
    return encoded_and_decoded(sick=False)


def scores_by_the_table(_: bool) -> float:
    """The scores are a product with the embeddings, outside of every module."""
    net = Tied()
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    return _trained(
        net,
        optimiser,
        samples.sentences(),
        lambda x, y: functional.cross_entropy(
            (net.body(net.table(x)) @ net.table.weight.T).transpose(1, 2), y
        ),
        size=32,
    )


def told_the_tag_before(_: bool) -> float:
    """Teacher forcing: the decoder is given the tags up to the one that it is to say."""
    net = Reader()
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)

    def loss(tokens: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
        states = net.encoder(net.words(tokens))[0]
        before = functional.pad(tags[:, :-1], (1, 0), value=tasks.TAGS)
        decoded = net.decoder(torch.cat([states, net.tags(before)], 2))[0]
        return functional.cross_entropy(net.head(decoded).transpose(1, 2), tags)

    return _trained(net, optimiser, tasks.tagged(), loss, size=32, steps=150)


PARTS: tuple[Program, ...] = (
    Program(
        "coder too hot, in parts",
        encoded_and_decoded,
        ("SD501", "SD101", "SD203"),
        "steps of 3: 0.003",
    ),
    Program("head and body, timid", timid_parts, ("SD502",), "steps of 1e-5: 0.05"),
)
HEALTHY_PARTS: tuple[Program, ...] = (
    Program("coder in parts", coder_in_parts, (), "no call of the model: its parts are called"),
    Program(
        "scores by the table",
        scores_by_the_table,
        (),
        "a parameter outside of every module: the embeddings give the scores",
    ),
    Program(
        "told the tag before",
        told_the_tag_before,
        (),
        "answer in the input: of the step before, as it is meant",
    ),
)
