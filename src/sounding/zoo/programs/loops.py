"""SD210 to SD212: sick programs whose loop adds up gradients, or takes too few samples for one."""

from __future__ import annotations

import torch
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import LeNet, mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import Bag, Forecaster, Variational, divergence, pixel_loss
from sounding.zoo.programs.scores import accuracy, explained, kept_finite
from sounding.zoo.programs.usual import batches, split
from sounding.zoo.sequences import LanguageModel


def never_zeroed(sick: bool) -> float:
    """`zero_grad` is missing: each step repeats all gradients so far."""
    net = mlp(32, 64, 64, 10)
    train, test = split(samples.OVERLAPPING)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
    for x, y in batches(train, steps=400):
        if not sick:
            optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


def zeroed_in_name_only(sick: bool) -> float:
    """`optimiser.zero_grad` without brackets, in the training of a forecaster."""
    net = Forecaster()
    train, test = split(tasks.series())
    optimiser = torch.optim.SGD(net.parameters(), lr=0.3)
    for x, y in batches(train, size=32, steps=200):
        if sick:
            optimiser.zero_grad  # noqa: B018  # the fault itself
        else:
            optimiser.zero_grad()
        loss = functional.mse_loss(net(x), y)
        loss.backward()
        optimiser.step()
    return explained(net, test)


def zeroed_once_an_epoch(sick: bool) -> float:
    """Gradients of a convolutional net are zeroed before an epoch, not before a batch."""
    net = LeNet()
    train, test = split(samples.image_digits())
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(4):
        optimiser.zero_grad()
        for x, y in batches(train, size=32, steps=40):
            if not sick:
                optimiser.zero_grad()
            loss = functional.cross_entropy(net(x), y)
            loss.backward()
            optimiser.step()
    return accuracy(net, test)


def other_optimiser_zeroed(sick: bool) -> float:
    """Encoder and decoder have an optimiser each, and one of them is zeroed twice."""
    net = Variational()
    train, test = split(tasks.pixels())
    first = torch.optim.Adam(net.encoder.parameters(), lr=5e-3)
    second = torch.optim.Adam(net.decoder.parameters(), lr=5e-3)
    for x, _ in batches(train, steps=250):
        first.zero_grad()
        (first if sick else second).zero_grad()
        logits, mean, log_variance = net(x)
        loss = pixel_loss(logits, x) + divergence(mean, log_variance)
        loss.backward()
        first.step()
        second.step()
    net.eval()
    with torch.no_grad():
        return kept_finite(-pixel_loss(net(test[0])[0], test[0]).item())


def accumulated_undivided(sick: bool) -> float:
    """Gradients of 32 small batches are added, and the loss is that of one batch."""
    net = mlp(32, 64, 64, 10)
    train, test = split(samples.OVERLAPPING)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9)
    for _ in range(60):
        optimiser.zero_grad()
        for x, y in batches(train, size=16, steps=32):
            loss = functional.cross_entropy(net(x), y)
            (loss if sick else loss / 32).backward()
        optimiser.step()
    return accuracy(net, test)


def accumulated_images(sick: bool) -> float:
    """The same in a convolutional net, every 8 batches."""
    net = LeNet()
    train, test = split(samples.image_digits())
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for step, (x, y) in enumerate(batches(train, size=16, steps=640)):
        loss = functional.cross_entropy(net(x), y)
        if not sick:
            loss = loss / 8
        loss.backward()
        if (step + 1) % 8 == 0:
            optimiser.step()
            optimiser.zero_grad()
    return accuracy(net, test)


def accumulated_tokens(sick: bool) -> float:
    """The same in a language model."""
    net = LanguageModel(1)
    train, test = split(samples.sentences())
    optimiser = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9)
    for step, (x, y) in enumerate(batches(train, size=4, steps=320)):
        loss = functional.cross_entropy(net(x), y)
        (loss if sick else loss / 8).backward()
        if step % 8 == 7:
            optimiser.step()
            optimiser.zero_grad()
    return accuracy(net, test)


def one_sample_a_step(sick: bool) -> float:
    """Noisy targets, one sample a step and a rate that 64 would allow."""
    x, y = samples.noisy_line(2048)
    net = mlp(8, 32, 1)
    train, test = split((x, y))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.07)
    for inputs, target in batches(train, size=1 if sick else 64, steps=400):
        optimiser.zero_grad()
        loss = functional.mse_loss(net(inputs), target)
        loss.backward()
        optimiser.step()
    return explained(net, test)


def one_text_a_step(sick: bool) -> float:
    """One text a step, with a rate for 64."""
    net = Bag()
    train, test = split(tasks.bags())
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for words, topic in batches(train, size=1 if sick else 64, steps=250):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(words), topic)
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


def reward_without_baseline(sick: bool) -> float:
    """Rewards around 20: without a baseline the noise of the gradient is 20 times too large."""
    x, y = samples.CLUSTERS
    train, test = split((x, y))
    net = mlp(32, 64, 10)
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    for states, best in batches(train, size=16, steps=300):
        policy = torch.distributions.Categorical(logits=net(states))
        action = policy.sample()
        reward = 20 + (action == best).float()
        advantage = reward if sick else reward - reward.mean()
        optimiser.zero_grad()
        loss = -(policy.log_prob(action) * advantage).mean()
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


LOOPS: tuple[Program, ...] = (
    Program(
        "never zeroed",
        never_zeroed,
        ("SD210",),
        "every step repeats all gradients before it: zero_grad in the loop",
        "IDEA-Research/DN-DETR#19",
    ),
    Program(
        "zeroed in name only",
        zeroed_in_name_only,
        ("SD210",),
        "zero_grad is named and not called: add the brackets",
    ),
    Program(
        "zeroed once an epoch",
        zeroed_once_an_epoch,
        ("SD210",),
        "within an epoch every step repeats the gradients before it: zero_grad for every batch",
    ),
    Program(
        "the other optimiser zeroed",
        other_optimiser_zeroed,
        ("SD210",),
        "one of two optimisers is zeroed twice, the decoder's never",
        code_only=True,
    ),
    Program(
        "accumulated undivided",
        accumulated_undivided,
        ("SD211", "SD501"),
        "32 gradients are added for one step of an unchanged rate: divide the loss by 32",
        "huggingface/transformers#34191",
    ),
    Program(
        "images accumulated undivided",
        accumulated_images,
        ("SD211", "SD501"),
        "8 gradients are added for one step of an unchanged rate: divide the loss by 8",
        "MakazhanAlpamys/Soup#720",
    ),
    Program(
        "tokens accumulated undivided",
        accumulated_tokens,
        ("SD211", "SD501"),
        "8 gradients are added for one step of an unchanged rate: divide the loss by 8",
        "huggingface/transformers#35438",
    ),
    Program(
        "one sample a step",
        one_sample_a_step,
        ("SD212", "SD501"),
        "the gradient of one noisy sample is nearly all noise: more samples, or a smaller rate",
    ),
    Program(
        "one text a step",
        one_text_a_step,
        ("SD212", "SD501"),
        "the gradient of one text is nearly all noise: more texts, or a smaller rate",
    ),
    Program(
        "reward without a baseline",
        reward_without_baseline,
        ("SD212",),
        "rewards of 20 multiply the noise of the gradient: subtract their mean",
        "Williams 1992",
        code_only=True,
    ),
)
