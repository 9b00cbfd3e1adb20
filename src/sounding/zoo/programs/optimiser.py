"""SD504, SD505, SD510, SD511: sick programs with decay or an epsilon in the wrong place."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import LeNet, mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import Autoencoder, Bag, Forecaster, Tagger, Tastes
from sounding.zoo.programs.scores import accuracy, classified, negated, regressed
from sounding.zoo.programs.usual import Pair, batches, fit, split
from sounding.zoo.sequences import LanguageModel, VisionTransformer


def drowned_in_decay(sick: bool) -> float:
    """Weight decay of 0.3 in plain descent pulls harder than the loss."""
    net = mlp(32, 64, 64, 10)
    decay = 0.3 if sick else 1e-4
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=decay)
    return classified(net, optimiser, samples.CLUSTERS, steps=250)


def decayed_transformer(sick: bool) -> float:
    """AdamW's decay is a share of the rate: 50 takes 15 % of every weight at each step."""
    net = LanguageModel(1)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=50.0 if sick else 0.1)
    data = samples.sentences()
    fit(net, optimiser, data, functional.cross_entropy, size=16, steps=120)
    return accuracy(net, split(data)[1])


def decayed_coder(sick: bool) -> float:
    """Weight decay of 0.03 beside a mean squared error of 0.05."""
    net = Autoencoder()
    decay = 0.03 if sick else 0.0
    optimiser = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9, weight_decay=decay)
    return regressed(net, optimiser, tasks.pixels(), steps=300)


def decayed_forecaster(sick: bool) -> float:
    """AdamW at a rate of 0.01 and decay of 10: a tenth of every weight at each step."""
    net = Forecaster()
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=10.0 if sick else 0.01)
    return regressed(net, optimiser, tasks.series(), steps=120)


def _rare_tokens() -> tuple[Pair, Pair]:
    """Eight tokens of which the first decides; one sample in fifty has a rare one there."""
    tokens = torch.randint(0, 50, (4096, 8))
    rare = torch.rand(4096) < 0.02
    tokens[:, 0] = torch.where(rare, torch.randint(50, 250, (4096,)), tokens[:, 0])
    sign = torch.randn(250, generator=torch.Generator().manual_seed(1)) > 0
    labels = sign[tokens[:, 0]].long()
    return (tokens, labels), (tokens[rare], labels[rare])


def decayed_rare_tokens(sick: bool) -> float:
    """Decay takes 3 % of every vector at each step, used or not; the rare ones are asked for."""
    everything, rare = _rare_tokens()
    net = nn.Sequential(nn.Embedding(250, 16), nn.Flatten(), nn.Linear(128, 2))
    groups = [
        {"params": net[0].parameters(), "weight_decay": 5.0 if sick else 0.0},
        {"params": net[2].parameters(), "weight_decay": 0.01},
    ]
    optimiser = torch.optim.AdamW(groups, lr=1e-2)
    for tokens, labels in batches(everything, steps=400):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(tokens), labels)
        loss.backward()
        optimiser.step()
    return accuracy(net, rare)


def decayed_seldom_users(sick: bool) -> float:
    """Decay takes a tenth of every user's vector at each step; most users rate once in a while."""
    pairs, liked = tasks.ratings(12_000)
    seldom = pairs[:, 0] >= 10
    kept = ~seldom | (torch.rand(len(pairs)) < 0.1)
    net = Tastes(8, std=0.3)
    groups = [
        {"params": net.users.parameters(), "weight_decay": 10.0 if sick else 0.01},
        {"params": net.items.parameters(), "weight_decay": 0.01},
    ]
    optimiser = torch.optim.AdamW(groups, lr=1e-2)
    for chosen, answer in batches((pairs[kept], liked[kept]), size=16, steps=500):
        optimiser.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(net(chosen), answer)
        loss.backward()
        optimiser.step()
    rest = seldom & ~kept
    return accuracy(net, (pairs[rest], liked[rest]))


def decayed_norms(sick: bool) -> float:
    """Scales and shifts of layer norms lose a tenth at each step."""
    net = LanguageModel(1)
    groups = [
        {"params": [p for p in net.parameters() if p.dim() < 2], "weight_decay": 0.0},
        {"params": [p for p in net.parameters() if p.dim() >= 2], "weight_decay": 0.01},
    ]
    if sick:
        groups[0]["weight_decay"] = 30.0
    optimiser = torch.optim.AdamW(groups, lr=3e-3)
    data = samples.sentences()
    fit(net, optimiser, data, functional.cross_entropy, size=16, steps=150)
    return negated(net, split(data)[1], functional.cross_entropy)


def epsilon_of_one(sick: bool) -> float:
    """Adam with eps=1: beside it all gradients are small, and steps are as small as they."""
    net = mlp(32, 64, 10)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3, eps=1.0 if sick else 1e-8)
    return classified(net, optimiser, samples.CLUSTERS, steps=200)


def epsilon_above_small_gradients(sick: bool) -> float:
    """The same on a vision transformer."""
    net = VisionTransformer(2, 32)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, eps=1.0 if sick else 1e-8)
    return classified(net, optimiser, samples.image_digits(), size=32, steps=150)


def epsilon_in_rmsprop(sick: bool) -> float:
    """RMSprop with eps=0.1, for gradients of 0.01, in an LSTM."""
    net = Tagger(nn.LSTM)
    optimiser = torch.optim.RMSprop(net.parameters(), lr=3e-3, eps=0.1 if sick else 1e-8)
    return classified(net, optimiser, tasks.tagged(), size=32, steps=120)


def l2_in_adam(sick: bool) -> float:
    """Decay of 0.1 in Adam is divided by the gradients' size like they are; AdamW's is not."""
    kind = torch.optim.Adam if sick else torch.optim.AdamW
    net = Forecaster(nn.GRU)
    optimiser = kind(net.parameters(), lr=5e-3, weight_decay=0.1)
    return regressed(net, optimiser, tasks.series(), steps=150)


def l2_in_adam_on_words(sick: bool) -> float:
    """The same on vectors of words, most of which have no gradient at most steps."""
    kind = torch.optim.Adam if sick else torch.optim.AdamW
    net = Bag()
    optimiser = kind(net.parameters(), lr=1e-2, weight_decay=0.02)
    return classified(net, optimiser, tasks.bags(), steps=200)


def l2_in_adam_on_images(sick: bool) -> float:
    """The same on a convolutional net."""
    kind = torch.optim.Adam if sick else torch.optim.AdamW
    net = LeNet()
    optimiser = kind(net.parameters(), lr=2e-3, weight_decay=0.1)
    return classified(net, optimiser, samples.image_digits(), size=32, steps=150)


OPTIMISER: tuple[Program, ...] = (
    Program(
        "drowned in decay",
        drowned_in_decay,
        ("SD504",),
        "weight decay of 0.3 pulls harder than the loss: 1e-4",
    ),
    Program(
        "decayed transformer",
        decayed_transformer,
        ("SD504", "SD505"),
        "AdamW takes rate times decay, 15 %, of every weight at each step: 0.1",
    ),
    Program(
        "decayed autoencoder",
        decayed_coder,
        ("SD504",),
        "weight decay of 0.03 is more than the loss can give: 0",
    ),
    Program(
        "decayed forecaster",
        decayed_forecaster,
        ("SD504",),
        "AdamW takes a tenth of every weight at each step: 0.01",
    ),
    Program(
        "decayed rare tokens",
        decayed_rare_tokens,
        ("SD505",),
        "vectors of rare tokens shrink at every step and are corrected once in a while: no decay",
        "Lightning-AI/lit-llama#254",
    ),
    Program(
        "decayed seldom users",
        decayed_seldom_users,
        ("SD505",),
        "vectors of users shrink at every step, most are seen once in a while: no decay",
    ),
    Program(
        "decayed norms",
        decayed_norms,
        ("SD505", "SD606"),
        "scales of layer norms lose a tenth at each step: no decay on vectors",
    ),
    Program(
        "epsilon of one",
        epsilon_of_one,
        ("SD510",),
        "gradients are small beside an epsilon of 1: 1e-8",
    ),
    Program(
        "epsilon of one in a transformer",
        epsilon_above_small_gradients,
        ("SD510",),
        "gradients are small beside an epsilon of 1: 1e-8",
    ),
    Program(
        "epsilon in rmsprop",
        epsilon_in_rmsprop,
        ("SD510",),
        "gradients of 0.01 are small beside an epsilon of 0.1: 1e-8",
    ),
    Program(
        "l2 in adam",
        l2_in_adam,
        ("SD511", "SD504"),
        "Adam divides the decay by the gradients' size: AdamW",
        "Loshchilov and Hutter 2019",
    ),
    Program(
        "l2 in adam on words",
        l2_in_adam_on_words,
        ("SD511", "SD505"),
        "Adam divides the decay by the gradients' size, which is small for rare words: AdamW",
    ),
    Program(
        "l2 in adam on images",
        l2_in_adam_on_images,
        ("SD511", "SD504"),
        "Adam divides the decay by the gradients' size: AdamW",
    ),
)
