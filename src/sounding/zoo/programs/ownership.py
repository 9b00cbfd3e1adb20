"""SD207, SD208: sick programs in which parameters that should learn are out of reach."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import LeNet, mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import critic, generator
from sounding.zoo.programs.scores import classified, likeness, regressed
from sounding.zoo.programs.usual import batches, split


class Coded(nn.Module):
    """Eight features of an encoder, and a linear layer on them, or on a copy without history."""

    def __init__(self, *, cut: bool) -> None:
        super().__init__()
        self.encoder = mlp(32, 64, 8)
        self.head = nn.Linear(8, 10)
        self.cut = cut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        code = torch.relu(self.encoder(x))
        return self.head(code.detach() if self.cut else code)


def detached_encoder(sick: bool) -> float:
    """`detach` stands between encoder and head."""
    net = Coded(cut=sick)
    optimiser = torch.optim.Adam(net.parameters())
    return classified(net, optimiser, samples.CLUSTERS, steps=300)


def frozen_by_mistake(sick: bool) -> float:
    """A loop over the parameters freezes a convolutional net that was never trained."""
    net = LeNet()
    for name, parameter in net.named_parameters():
        parameter.requires_grad = not sick or name.startswith("fc3")
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    return classified(net, optimiser, samples.image_digits(), size=32, steps=200)


class Embedded(nn.Module):
    """Words whose vectors are looked up without gradients, and a recurrent net on them."""

    def __init__(self, *, learns: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(200, 4)
        self.recurrent = nn.GRU(4, 16, batch_first=True)
        self.head = nn.Linear(16, 5)
        self.learns = learns

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        with torch.set_grad_enabled(self.learns and torch.is_grad_enabled()):
            vectors = self.table(words)
        return self.head(self.recurrent(vectors)[0].mean(1))


def embeddings_without_gradient(sick: bool) -> float:
    """The table of vectors is read inside of `no_grad`."""
    net = Embedded(learns=not sick)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    return classified(net, optimiser, tasks.bags(), steps=120)


class Chosen(nn.Module):
    """An autoencoder whose code is one of 16 vectors, chosen by argmax or by a softmax."""

    def __init__(self, *, hard: bool) -> None:
        super().__init__()
        self.encoder = mlp(64, 64, 16)
        self.vectors = nn.Parameter(torch.randn(16, 8))
        self.decoder = mlp(8, 64, 64)
        self.hard = hard

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The pixels again."""
        scores = self.encoder(x)
        weights = scores.softmax(1)
        if self.hard:
            weights = functional.one_hot(scores.argmax(1), 16).float()
        return self.decoder(weights @ self.vectors)


def gradient_through_argmax(sick: bool) -> float:
    """The code is chosen by argmax, through which nothing flows back to the encoder."""
    net = Chosen(hard=sick)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    return regressed(net, optimiser, tasks.pixels(), steps=250)


def detached_fakes(sick: bool) -> float:
    """The generator's own loss is computed on detached points, so it never learns."""
    net, judge = generator(), critic()
    ours = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.5, 0.9))
    theirs = torch.optim.Adam(judge.parameters(), lr=4e-3, betas=(0.5, 0.9))
    arc, loss = tasks.crescent(), nn.BCEWithLogitsLoss()
    ones, zeros = torch.ones(64, 1), torch.zeros(64, 1)
    for _ in range(300):
        real = arc[torch.randint(0, len(arc), (64,))]
        fake = net(torch.randn(64, 4))
        theirs.zero_grad()
        (loss(judge(real), ones) + loss(judge(fake.detach()), zeros)).backward()
        theirs.step()
        ours.zero_grad()
        loss(judge(fake.detach() if sick else fake), ones).backward()
        ours.step()
    with torch.no_grad():
        return likeness(net(torch.randn(512, 4)), arc)


def replaced_layers(sick: bool) -> float:
    """The layers are replaced after the optimiser was made."""
    net = mlp(32, 64, 10)
    optimiser = torch.optim.Adam(net.parameters())
    if sick:
        net[0], net[2] = nn.Linear(32, 64), nn.Linear(64, 10)
    return classified(net, optimiser, samples.CLUSTERS, steps=250)


def only_the_head(sick: bool) -> float:
    """The optimiser is given the head alone; the recurrent net below it stays random."""
    recurrent, head = nn.LSTM(8, 32, batch_first=True), nn.Linear(32, 2)
    held = [*head.parameters()] if sick else [*recurrent.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(held, lr=1e-2)
    net = nn.ModuleDict({"recurrent": recurrent, "head": head})
    (train, labels), (x, y) = split(tasks.recall(512, 12, at=-2))
    for inputs, wanted in batches((train, labels), size=32, steps=200):
        optimiser.zero_grad()
        loss = functional.cross_entropy(head(recurrent(inputs)[0][:, -1]), wanted)
        loss.backward()
        optimiser.step()
    net.eval()
    with torch.no_grad():
        return (head(recurrent(x)[0][:, -1]).argmax(1) == y).float().mean().item()


def optimiser_of_a_copy(sick: bool) -> float:
    """The optimiser was made for the net that was then copied."""
    net = LeNet()
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3)
    trained = copy.deepcopy(net) if sick else net
    return classified(trained, optimiser, samples.image_digits(), size=32, steps=150)


OWNERSHIP: tuple[Program, ...] = (
    Program(
        "detached encoder",
        detached_encoder,
        ("SD207",),
        "detach() before the head leaves the encoder without gradients",
        "isayev/ReLeaSE#39",
        code_only=True,
    ),
    Program(
        "frozen by mistake",
        frozen_by_mistake,
        ("SD207",),
        "all but the last layer are frozen, and were never trained: requires_grad_(True)",
    ),
    Program(
        "embeddings without gradient",
        embeddings_without_gradient,
        ("SD207",),
        "the vectors are looked up under no_grad",
        code_only=True,
    ),
    Program(
        "gradient through argmax",
        gradient_through_argmax,
        ("SD207",),
        "argmax has no gradient: a softmax, or a straight-through estimate",
        code_only=True,
    ),
    Program(
        "detached fakes",
        detached_fakes,
        ("SD207",),
        "the generator's loss is computed on detached points: detach them for the critic only",
        code_only=True,
    ),
    Program(
        "replaced layers",
        replaced_layers,
        ("SD208",),
        "the optimiser holds the layers that were replaced: make it afterwards",
        "huggingface/accelerate#2665",
        code_only=True,
    ),
    Program(
        "only the head",
        only_the_head,
        ("SD208",),
        "the recurrent net is in no optimiser: give its parameters too",
        code_only=True,
    ),
    Program(
        "optimiser of a copy",
        optimiser_of_a_copy,
        ("SD208",),
        "the optimiser holds the net that was copied: make it for the copy",
        code_only=True,
    ),
)
