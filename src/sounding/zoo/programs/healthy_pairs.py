"""Healthy trainings of experts, graphs, pairs, words and several tasks."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import Experts, GraphConvolutions, mlp
from sounding.zoo.program import Program
from sounding.zoo.programs.usual import batches, ending, fit, split

CLUSTERS, DIGITS = samples.CLUSTERS, samples.flat_digits()


def one_expert(_: bool) -> float:
    """One of eight experts for each of four samples: most have none."""
    net = Experts()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    return -fit(net, optimiser, CLUSTERS, functional.cross_entropy, size=4, steps=500)


class TwoExperts(nn.Module):
    """Two of six experts for each sample, and how unevenly they are used (Shazeer et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(32, 6)
        self.experts = nn.ModuleList(mlp(32, 32, 32) for _ in range(6))
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of the classes, and the load: 1 where it is even."""
        share = self.router(x).softmax(1)
        weight, chosen = share.topk(2, 1)
        used = functional.one_hot(chosen, 6).float().sum(1)
        load = 3 * (used.mean(0) * share.mean(0)).sum()
        dense = torch.zeros_like(share).scatter(1, chosen, weight / weight.sum(1, keepdim=True))
        added = sum(dense[:, [k]] * expert(x) for k, expert in enumerate(self.experts))
        return self.head(x + added), load


def two_experts(_: bool) -> float:
    """A second term of the loss keeps the load even: it ends at its own floor of 1."""
    train, test = split(CLUSTERS)
    net = TwoExperts()
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3)
    losses = []
    for x, y in batches(train, steps=250):
        scores, load = net(x)
        loss = functional.cross_entropy(scores, y)
        optimiser.zero_grad()
        (loss + 0.01 * load).backward()
        optimiser.step()
        losses.append(loss.item())
    net.eval()
    with torch.no_grad():
        functional.cross_entropy(net(test[0])[0], test[1]).item()
    return -ending(losses)


def graph(_: bool) -> float:
    """The nodes of one graph, a tenth of them labelled: all are in every batch."""
    x, y = DIGITS[0][:600], DIGITS[1][:600]
    distance = torch.cdist(x, x)
    near = torch.zeros(600, 600).scatter(1, distance.topk(6, largest=False).indices, 1.0)
    near = torch.maximum(near, near.T)
    net = GraphConvolutions(near / near.sum(1, keepdim=True), depth=2, width=32)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2, weight_decay=5e-4)
    losses = []
    for _epoch in range(80):
        net.train()
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x)[:60], y[:60])
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        net.eval()
        with torch.no_grad():
            (net(x)[60:].argmax(1) == y[60:]).float().mean().item()
    return -ending(losses)


def two_views(_: bool) -> float:
    """Chen et al. 2020: two noisy views of a sample are told from the rest of the batch."""
    net = mlp(64, 128, 32)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    losses = []
    for x, _y in batches(DIGITS, steps=200):
        first, second = (net(x + 0.5 * torch.randn_like(x)) for _ in range(2))
        near = functional.normalize(first, dim=1) @ functional.normalize(second, dim=1).T / 0.2
        labels = torch.arange(len(x))
        loss = functional.cross_entropy(near, labels) + functional.cross_entropy(near.T, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item() / 2)
    return -ending(losses)


def triplets(_: bool) -> float:
    """One of the same class must be nearer than one of another (Schroff et al. 2015)."""
    (x, y), _test = split(DIGITS)
    net = mlp(64, 128, 16)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    criterion = nn.TripletMarginLoss(margin=1.0)
    losses = []
    for _step in range(250):
        anchor = torch.randint(0, len(x), (64,))
        other = torch.randint(0, len(x), (64, 40))
        same = y[other] == y[anchor][:, None]
        positive = other.gather(1, same.int().argmax(1, keepdim=True))[:, 0]
        negative = other.gather(1, (~same).int().argmax(1, keepdim=True))[:, 0]
        loss = criterion(net(x[anchor]), net(x[positive]), net(x[negative]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return -ending(losses)


class TwoHeads(nn.Module):
    """One body, and a head for each of two tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.digit, self.even = nn.Linear(64, 10), nn.Linear(64, 1)

    def forward(self, x: torch.Tensor, task: str) -> torch.Tensor:
        """Scores of the classes of one task."""
        return self.digit(self.body(x)) if task == "digit" else self.even(self.body(x))[:, 0]


def two_tasks(_: bool) -> float:
    """Two steps in three are of one task, in which the other's head has no gradient."""
    (x, y), test = split(DIGITS)
    net = TwoHeads()
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    losses = []
    for step, (inputs, labels) in enumerate(batches((x, y), steps=360)):
        optimiser.zero_grad()
        if step % 3 == 2:
            loss = functional.binary_cross_entropy_with_logits(
                net(inputs, "even"), (labels % 2 == 0).float()
            )
        else:
            loss = functional.cross_entropy(net(inputs, "digit"), labels)
            losses.append(loss.item())
        loss.backward()
        optimiser.step()
    net.eval()
    with torch.no_grad():
        net(test[0], task="digit").argmax(1)
    return -ending(losses)


class SkipGram(nn.Module):
    """A word and its neighbours, each with vectors of its own (Mikolov et al. 2013)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.words = nn.Embedding(samples.TOKENS, width)
        self.neighbours = nn.Embedding(samples.TOKENS, width)
        nn.init.zeros_(self.neighbours.weight)

    def forward(self, word: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Scores of the others, (samples, others)."""
        return (self.words(word)[:, None] * self.neighbours(others)).sum(2)


def negative_sampling(_: bool) -> float:
    """The next word is told from five random ones."""
    tokens, following = (t.flatten() for t in samples.sentences())
    net = SkipGram()
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-2)
    losses = []
    for word, right in batches((tokens, following), size=128, steps=300):
        wrong = torch.randint(0, samples.TOKENS, (len(word), 5))
        scores = net(word, torch.cat([right[:, None], wrong], 1))
        loss = -functional.logsigmoid(scores[:, 0]) - functional.logsigmoid(-scores[:, 1:]).sum(1)
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
        losses.append(loss.mean().item())
    return -ending(losses)


class Sets(nn.Module):
    """A function of sets (Zaheer et al. 2017): members are mapped, summed, mapped again."""

    def __init__(self) -> None:
        super().__init__()
        self.member, self.whole = mlp(4, 32, 32), mlp(32, 32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A column, whatever the order of the members."""
        return self.whole(self.member(x).mean(1))


def sets(_: bool) -> float:
    """How far the members of a set are spread."""
    x = torch.randn(1024, 10, 4) * (0.3 + torch.rand(1024, 1, 1))
    net = Sets()
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    return -fit(net, optimiser, (x, x.std((1, 2))[:, None]), functional.mse_loss)


PAIRS: tuple[Program, ...] = (
    Program(
        "experts in small batches",
        one_expert,
        (),
        "parameters without a gradient, noisy gradient: an expert that no sample was sent to",
    ),
    Program(
        "two experts of six",
        two_experts,
        (),
        "loss stays high: a term that keeps the load even ends at its floor",
    ),
    Program(
        "graph",
        graph,
        (),
        "mixed samples, same batch again and again: nodes see their neighbours on purpose",
    ),
    Program(
        "two views",
        two_views,
        (),
        "mixed samples: the other samples of the batch are the wrong answers",
    ),
    Program(
        "triplets",
        triplets,
        (),
        "vanishing gradient: most triplets are right by the margin; the net is called three times",
    ),
    Program(
        "two tasks",
        two_tasks,
        (),
        "parameters without a gradient: a head that is not asked in this step",
    ),
    Program(
        "negative sampling",
        negative_sampling,
        (),
        "zero initialisation, no target: as in the original, the second table starts at zero",
    ),
    Program("sets", sets, (), "mixed samples: members of one set are, samples are not"),
)
