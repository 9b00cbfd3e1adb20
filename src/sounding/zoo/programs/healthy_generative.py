"""Healthy trainings of nets that make points or pictures."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from sounding.zoo import samples
from sounding.zoo.nets import mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import Variational, critic, divergence, generator
from sounding.zoo.programs.usual import batches, ending, fit, split

ARC = tasks.crescent()


def energy_distance(first: torch.Tensor, second: torch.Tensor) -> float:
    """Between two clouds of points: 0 where they have one distribution (Székely and Rizzo 2013)."""
    between = torch.cdist(first, second).mean()
    within = torch.cdist(first, first).mean() + torch.cdist(second, second).mean()
    return (2 * between - within).item()


def _distance(net: nn.Module, noise: int) -> float:
    net.eval()
    with torch.no_grad():
        return energy_distance(net(torch.randn(512, noise)), ARC[:512])


def discriminator(_: bool) -> float:
    """One half of a pair, alone: real points and made ones that overlap."""
    net = mlp(16, 64, 64, 1, activation=lambda: nn.LeakyReLU(0.2))
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999))
    loss = functional.binary_cross_entropy_with_logits
    return -fit(net, optimiser, samples.real_and_fake(), loss)


def spectral(_: bool) -> float:
    """Every layer's largest singular value is one (Miyato et al. 2018); the hinge loss."""
    layers = [spectral_norm(nn.Linear(a, b)) for a, b in ((16, 64), (64, 64), (64, 1))]
    net = nn.Sequential(layers[0], nn.LeakyReLU(0.2), layers[1], nn.LeakyReLU(0.2), layers[2])
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)

    def hinge(score: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        return torch.relu(1 - (2 * real - 1) * score).mean()

    return -fit(net, optimiser, samples.real_and_fake(), hinge, steps=400)


def adversaries(_: bool) -> float:
    """A pair that plays (Goodfellow et al. 2014); minus the distance of what it makes."""
    maker, judge = generator(), critic()
    making = torch.optim.Adam(maker.parameters(), lr=1e-3, betas=(0.5, 0.999))
    judging = torch.optim.Adam(judge.parameters(), lr=4e-3, betas=(0.5, 0.999))
    entropy = functional.binary_cross_entropy_with_logits
    for real, _same in batches((ARC, ARC), steps=700):
        made = maker(torch.randn(64, 4))
        judging.zero_grad()
        right, wrong = judge(real), judge(made.detach())
        loss = entropy(right, torch.ones_like(right)) + entropy(wrong, torch.zeros_like(wrong))
        loss.backward()
        judging.step()
        making.zero_grad()
        score = judge(made)
        entropy(score, torch.ones_like(score)).backward()
        making.step()
    return -_distance(maker, 4)


def gradient_penalty(_: bool) -> float:
    """Gulrajani et al. 2017: a gradient inside of the loss, which is negative now and then."""
    maker, judge = generator(), critic()
    making = torch.optim.Adam(maker.parameters(), lr=2e-3, betas=(0.0, 0.9))
    judging = torch.optim.Adam(judge.parameters(), lr=2e-3, betas=(0.0, 0.9))
    for number, (real, _same) in enumerate(batches((ARC, ARC), steps=450)):
        made = maker(torch.randn(64, 4)).detach()
        share = torch.rand(64, 1)
        between = (share * real + (1 - share) * made).requires_grad_()
        (slope,) = torch.autograd.grad(judge(between).sum(), between, create_graph=True)
        judging.zero_grad()
        penalty = (slope.norm(dim=1) - 1).square().mean()
        (judge(made).mean() - judge(real).mean() + penalty).backward()
        judging.step()
        if number % 3 == 2:
            making.zero_grad()
            (-judge(maker(torch.randn(64, 4))).mean()).backward()
            making.step()
    return -_distance(maker, 4)


def _noisy_pixels(logits: torch.Tensor, pixels: torch.Tensor, variance: float = 0.02):
    error = (torch.sigmoid(logits) - pixels).square().sum()
    return error / (2 * variance * len(pixels))


def variational(_: bool) -> float:
    """An evidence bound: the squared error in units of the pixels' noise, and a divergence."""
    pixels, test = split(tasks.pixels())
    net = Variational()
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    losses = []
    for x, _same in batches(pixels, steps=400):
        logits, mean, log_variance = net(x)
        loss = _noisy_pixels(logits, x) + divergence(mean, log_variance)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    net.eval()
    with torch.no_grad():
        _noisy_pixels(net(test[0])[0], test[1]).item()
    return -ending(losses)


class Quantised(nn.Module):
    """An autoencoder whose code is the nearest of 32 vectors (van den Oord et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(64, 64, 32), mlp(32, 64, 64)
        self.book = nn.Embedding(32, 8)
        nn.init.uniform_(self.book.weight, -0.3, 0.3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The pixels again, and how far codes and book are apart."""
        code = self.encoder(x).view(-1, 4, 8)
        nearest = self.book(torch.cdist(code, self.book.weight[None]).argmin(2))
        apart = functional.mse_loss(nearest, code.detach())
        apart = apart + 0.25 * functional.mse_loss(code, nearest.detach())
        passed = code + (nearest - code).detach()  # the gradient goes past the choice
        return self.decoder(passed.flatten(1)), apart


def quantised(_: bool) -> float:
    """Graphs that are cut on purpose, around a choice that has no gradient."""
    pixels, test = split(tasks.pixels())
    net = Quantised()
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    variance, losses = pixels[0].var(0).mean(), []
    for x, _same in batches(pixels, steps=600):
        again, apart = net(x)
        error = functional.mse_loss(again, x)
        optimiser.zero_grad()
        (error / variance + apart).backward()
        optimiser.step()
        losses.append(error.item())
    net.eval()
    with torch.no_grad():
        functional.mse_loss(net(test[0])[0], test[1]).item()
    return -ending(losses)


def diffusion(_: bool) -> float:
    """The noise in a point is guessed at a random level of it (Ho et al. 2020)."""
    net = mlp(4, 64, 64, 2, activation=nn.SiLU)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for x, _same in batches((ARC, ARC), size=128, steps=400):
        angle = 0.5 * math.pi * torch.rand(len(x), 1)
        noise = torch.randn_like(x)
        mixed = angle.cos() * x + angle.sin() * noise
        loss = functional.mse_loss(net(torch.cat([mixed, angle.cos(), angle.sin()], 1)), noise)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return -ending(losses)


class Coupling(nn.Module):
    """One coordinate scales and moves the other, in turn (Dinh et al. 2017)."""

    def __init__(self, depth: int = 6) -> None:
        super().__init__()
        self.nets = nn.ModuleList(mlp(1, 32, 2) for _ in range(depth))
        for net in self.nets:
            nn.init.zeros_(net[2].weight)  # type: ignore[index]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The logarithm of the density, (samples,)."""
        volume = torch.zeros(len(x))
        for net in self.nets:
            kept, other = x.chunk(2, 1)
            scale, shift = net(kept).chunk(2, 1)
            scale = torch.tanh(scale)
            volume = volume + scale[:, 0]
            x = torch.cat([other * scale.exp() + shift, kept], 1)
        return volume - 0.5 * x.square().sum(1) - math.log(2 * math.pi)


def flow(_: bool) -> float:
    """A density is learned; its loss has no target."""
    net = Coupling()
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for x, _same in batches((ARC, ARC), size=128, steps=300):
        loss = -net(x).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return -ending(losses)


GENERATIVE: tuple[Program, ...] = (
    Program(
        "discriminator",
        discriminator,
        (),
        "loss stays high: near ln 2 is where two overlapping clouds leave it",
    ),
    Program(
        "spectral-normed discriminator",
        spectral,
        (),
        "unregistered parameters: its weights are computed; the state changes in every pass",
    ),
    Program(
        "adversaries",
        adversaries,
        (),
        "loss does not fall, blocked gradient: two nets that play, and neither loss means much",
    ),
    Program(
        "gradient penalty",
        gradient_penalty,
        (),
        "negative loss, ascent, accumulated gradients: a critic's loss has no floor at zero",
    ),
    Program(
        "variational autoencoder",
        variational,
        (),
        "output not repeatable: the code is drawn; a sum over the pixels, not a mean",
    ),
    Program(
        "quantised autoencoder",
        quantised,
        (),
        "blocked gradient: detached three times, as published",
    ),
    Program(
        "diffusion",
        diffusion,
        (),
        "loss stays high: no net can tell all of the noise; targets without any information",
    ),
    Program(
        "flow",
        flow,
        (),
        "no target, zero initialisation: a density's logarithm; every coupling starts as nothing",
    ),
)
