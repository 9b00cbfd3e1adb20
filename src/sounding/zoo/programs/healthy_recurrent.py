"""Healthy trainings of recurrent nets."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from sounding.zoo import samples
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import Forecaster, Tagger
from sounding.zoo.programs.usual import batches, ending, evaluate, fit, split
from sounding.zoo.sequences import HandWritten, Recurrent

LATE = tasks.recall(4096, length=12, at=9)  # the third before the end decides


def lstm(_: bool) -> float:
    """Clipped, as recurrent nets mostly are."""
    net = Recurrent(nn.LSTM)
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    return -fit(net, optimiser, LATE, functional.cross_entropy, clip=1.0, steps=300)


def gru(_: bool) -> float:
    """A tag at every token."""
    net = Tagger()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    return -fit(net, optimiser, tasks.tagged(), functional.cross_entropy, steps=250)


def tanh_recurrence(_: bool) -> float:
    """Written as a loop; the gradient fades over time, and the task does not ask for more."""
    net = HandWritten()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    return -fit(
        *(net, optimiser, samples.sequences(), functional.cross_entropy), clip=1.0, steps=200
    )


def forecast(_: bool) -> float:
    """The next value of a series."""
    net = Forecaster()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    return -fit(net, optimiser, tasks.series(), functional.mse_loss, steps=200, clip=1.0)


class BothWays(nn.Module):
    """Reads packed sequences from both ends."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(8, 24, batch_first=True, bidirectional=True)
        self.head = nn.Linear(48, 2)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, (state, _) = self.recurrent(packed)
        return self.head(torch.cat([state[0], state[1]], 1))


def packed_sequences(_: bool) -> float:
    """Sequences of several lengths; the class is the sign of the sum of one channel."""
    texts = [torch.randn(int(n), 8) for n in torch.randint(4, 12, (512,))]
    y = torch.tensor([int(text[:, 0].sum() > 0) for text in texts])
    net = BothWays()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _step in range(150):
        rows = torch.randperm(400)[:32].tolist()
        x = pad_sequence([texts[i] for i in rows], batch_first=True)
        lengths = torch.tensor([len(texts[i]) for i in rows])
        loss = functional.cross_entropy(net(x, lengths), y[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return -ending(losses)


class TimeFirst(nn.Module):
    """Torch's default order: (time, samples, channels)."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.GRU(8, 48)
        self.head = nn.Linear(48, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        return self.head(self.recurrent(x)[0][-1])


def time_first(_: bool) -> float:
    """The first dimension of the input is no batch."""
    train, test = split(LATE)
    net = TimeFirst()
    optimiser = torch.optim.RMSprop(net.parameters(), lr=3e-3)
    losses = []
    for x, y in batches(train, steps=300):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x.transpose(0, 1)), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    evaluate(net, (test[0].transpose(0, 1), test[1]), functional.cross_entropy)
    return -ending(losses)


class Carrying(nn.Module):
    """A recurrent language model that is given its state."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(samples.TOKENS, 32)
        self.recurrent = nn.GRU(32, 64, batch_first=True)
        self.head = nn.Linear(64, samples.TOKENS)

    def forward(
        self, tokens: torch.Tensor, state: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of the next token, (samples, TOKENS, tokens), and the state."""
        x, last = self.recurrent(self.table(tokens), state)
        return self.head(x).transpose(1, 2), last


def carried_state(_: bool) -> float:
    """Back-propagation through six steps of time; the state goes on, detached."""
    tokens, following = samples.sentences()
    net = Carrying()
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    losses = []
    for _round in range(40):
        rows, state = torch.randperm(len(tokens))[:32], None
        for start in range(0, tokens.shape[1], 6):
            part = slice(start, start + 6)
            scores, state = net(tokens[rows, part], state)
            loss = functional.cross_entropy(scores, following[rows, part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            state = state.detach()
            losses.append(loss.item())
    return -ending(losses)


RECURRENT: tuple[Program, ...] = (
    Program("lstm", lstm, (), "saturated units: gates are meant to close"),
    Program("gru", gru, (), "a loss with one more dimension: a tag at every token"),
    Program(
        "tanh recurrence",
        tanh_recurrence,
        (),
        "vanishing gradient over time: the answer stands three steps before the end",
    ),
    Program("forecast", forecast, (), "clipping always on: at a norm that it seldom reaches"),
    Program(
        "packed sequences",
        packed_sequences,
        (),
        "odd inputs: rows of several lengths in one flat table, a second argument",
    ),
    Program(
        "time first",
        time_first,
        (),
        "mixed samples: the first dimension is time, and times do influence each other",
    ),
    Program(
        "carried state",
        carried_state,
        (),
        "blocked gradient: the state is detached between two parts of a text, on purpose",
    ),
)
