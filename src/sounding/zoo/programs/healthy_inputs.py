"""Healthy trainings whose data are uncommon, or changed on the way to the net."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from sounding.zoo import samples
from sounding.zoo.nets import mlp
from sounding.zoo.nets import resnet as small_resnet
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.usual import batches, ending, evaluate, fit, split


def denoiser(_: bool) -> float:
    """Trained on noisy images, evaluated on clean ones as well."""
    train, test = split(tasks.pixels())
    net = mlp(64, 128, 128, 64)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    losses = []
    for clean, _same in batches(train, steps=300):
        loss = functional.mse_loss(net(clean + 0.3 * torch.randn_like(clean)), clean)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    evaluate(net, test, functional.mse_loss)
    return -ending(losses)


def norm_first(_: bool) -> float:
    """Features of scales from 1e-2 to 1e4, which a norm in front takes out."""
    x, y = samples.CLUSTERS
    x = x * torch.logspace(-2, 4, 32) + 100
    net = nn.Sequential(nn.BatchNorm1d(32), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    return -fit(net, optimiser, (x, y), functional.cross_entropy)


def raw_pixels(_: bool) -> float:
    """Grey values from 0 to 16 as they are in the file: with Adam no harm."""
    x = (16 * tasks.pixels()[0]).round()
    net = mlp(64, 64, 10)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    return -fit(net, optimiser, (x, samples.flat_digits()[1]), functional.cross_entropy)


def augmentation(_: bool) -> float:
    """Images moved by a pixel, noisy, a column erased; evaluated on whole ones."""
    train, test = split(samples.image_digits())
    net = small_resnet(2)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=200)
    losses = []
    for x, y in batches(train, size=32, steps=200):
        x = torch.stack([torch.roll(image, int(torch.randint(-1, 2, ())), 2) for image in x])
        x = x + 0.2 * torch.randn_like(x)
        x[torch.arange(len(x)), :, torch.randint(0, 8, (len(x),))] = x.min()
        optimiser.zero_grad(set_to_none=False)
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    evaluate(net, test, functional.cross_entropy)
    return -ending(losses)


def mixed_samples(_: bool) -> float:
    """Mixup (Zhang et al. 2018): inputs and labels of two samples, in a random proportion."""
    train, test = split(samples.CLUSTERS)
    net = mlp(32, 128, 10)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    share = torch.distributions.Beta(0.2, 0.2)
    for x, y in batches(train, steps=300):
        other, part = torch.randperm(len(x)), share.sample()
        target = functional.one_hot(y, 10).float()
        target = part * target + (1 - part) * target[other]
        loss = functional.cross_entropy(net(part * x + (1 - part) * x[other]), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    evaluate(net, test, functional.cross_entropy)
    return -ending(losses)


def adversarial(_: bool) -> float:
    """Each batch is moved uphill first (Goodfellow et al. 2015): two backward calls a step."""
    train, test = split(samples.CLUSTERS)
    net = mlp(32, 128, 10)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    losses = []
    for x, y in batches(train, steps=200):
        moved = x.clone().requires_grad_()
        functional.cross_entropy(net(moved), y).backward()
        assert moved.grad is not None
        moved = (x + 0.1 * moved.grad.sign()).detach()
        optimiser.zero_grad()  # also of what the attack has left in the weights
        loss = functional.cross_entropy(net(moved), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    evaluate(net, test, functional.cross_entropy)
    return -ending(losses)


def rare_words(_: bool) -> float:
    """Bags out of 5,000 words, most of which a batch does not have."""
    net = nn.Sequential(nn.EmbeddingBag(5000, 32), nn.Linear(32, 4))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    return -fit(net, optimiser, tasks.rare_words(), functional.cross_entropy, steps=250)


def drawn_evenly(_: bool) -> float:
    """One sample in twenty is of class 1; the sampler shows it as often as the other."""
    (x, y), test = split(tasks.rare_class(2048, share=0.05, shift=1.0))
    weights = (1 / y.bincount().float())[y]
    sampler = WeightedRandomSampler(weights.tolist(), len(y))
    loader = DataLoader(TensorDataset(x, y), batch_size=64, sampler=sampler)
    net = mlp(16, 32, 2)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    losses = []
    for _epoch in range(6):
        net.train()
        for inputs, labels in loader:
            loss = functional.cross_entropy(net(inputs), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    evaluate(net, test, functional.cross_entropy)
    return -ending(losses)


def few_of_one_class(_: bool) -> float:
    """One sample in twenty is of class 1, and can be told from the others without any help."""
    data = tasks.rare_class(2048, share=0.05, shift=1.5)
    net = mlp(16, 32, 2)
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    return -fit(net, optimiser, data, functional.cross_entropy, steps=300)


def large_targets(_: bool) -> float:
    """Targets around 500, deviation 50: the bias starts at their mean, the step is right."""
    x = torch.randn(1024, 8)
    y = 500 + 50 * (x[:, :1] + torch.sin(2 * x[:, 1:2])) / 1.2 + 5 * torch.randn(1024, 1)
    net = mlp(8, 64, 1)
    nn.init.constant_(net[2].bias, y.mean().item())  # type: ignore[arg-type]
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-2)
    return -fit(net, optimiser, (x, y), functional.mse_loss, steps=400)


def epochs(_: bool) -> float:
    """The tutorial's loop: a loader, epochs, the loss as a running sum, the rate cut per epoch."""
    train, test = split(samples.image_digits())
    loader = DataLoader(TensorDataset(*train), batch_size=64, shuffle=True)
    tests = DataLoader(TensorDataset(*test), batch_size=128)
    net = small_resnet(1)
    criterion = nn.CrossEntropyLoss()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_size=4, gamma=0.1)
    running = 0.0
    for _epoch in range(8):
        net.train()
        running = 0.0
        for x, y in loader:  # the last batch of an epoch is a smaller one
            optimiser.zero_grad()
            loss = criterion(net(x), y)
            loss.backward()
            optimiser.step()
            running += loss.item() * len(y) / len(train[1])
        schedule.step()
        net.eval()
        with torch.no_grad():
            for x, y in tests:
                (net(x).argmax(1) == y).float().mean().item()
    return -running


def small_batches_with_norm(_: bool) -> float:
    """Batch norm on batches of sixteen: noisy, and still good in evaluation."""
    net = nn.Sequential(
        *(nn.Linear(32, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
    )
    optimiser = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    return -fit(net, optimiser, samples.CLUSTERS, functional.cross_entropy, size=16, steps=300)


INPUTS: tuple[Program, ...] = (
    Program(
        "denoiser",
        denoiser,
        (),
        "evaluation inputs differ: noise is for training, and the noise it removes is the floor",
    ),
    Program(
        "norm in front",
        norm_first,
        (),
        "unscaled inputs: from 1e-2 to 1e4, but a batch norm stands in front",
    ),
    Program(
        "raw pixels",
        raw_pixels,
        (),
        "unscaled inputs: 0 to 16, in which Adam sees no harm",
    ),
    Program(
        "augmentation",
        augmentation,
        (),
        "evaluation inputs differ: the images of training are moved, noisy and erased on purpose",
    ),
    Program(
        "mixup",
        mixed_samples,
        (),
        "mixed samples, soft targets whose rows sum to 1: the logits are logits",
    ),
    Program(
        "adversarial samples",
        adversarial,
        (),
        "accumulated gradients, ascent: two backward calls a step, zeroed between; the first is "
        "the attack",
    ),
    Program(
        "rare words",
        rare_words,
        (),
        "dead weights: most rows get no gradient in a step",
    ),
    Program(
        "classes drawn evenly",
        drawn_evenly,
        (),
        "duplicated samples, class imbalance: the sampler repeats the few on purpose",
    ),
    Program(
        "few of one class",
        few_of_one_class,
        (),
        "class imbalance: one in twenty, and all the same found",
    ),
    Program(
        "large targets",
        large_targets,
        (),
        "unscaled targets: the loss starts in the thousands and falls to the noise of 25",
    ),
    Program(
        "epochs",
        epochs,
        (),
        "schedule ended early: the rate falls tenfold once, after four epochs",
    ),
    Program(
        "batch norm on sixteen samples",
        small_batches_with_norm,
        (),
        "batch too small for batch norm: noisy, but good in evaluation too",
    ),
)
