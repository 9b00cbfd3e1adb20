"""Nets of the programs that the zoo does not have: coders, pairs that play, bags, taggers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo.nets import mlp
from sounding.zoo.programs.tasks import TAGS


class Autoencoder(nn.Module):
    """64 pixels through a narrow code and back."""

    def __init__(self, code: int = 12, width: int = 64) -> None:
        super().__init__()
        self.encoder = mlp(64, width, code)
        self.decoder = mlp(code, width, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The pixels again, as logits or numbers."""
        return self.decoder(torch.relu(self.encoder(x)))


class Variational(nn.Module):
    """A variational autoencoder (Kingma and Welling 2014); in evaluation the code is its mean."""

    def __init__(self, code: int = 6) -> None:
        super().__init__()
        self.encoder = mlp(64, 64, 2 * code)
        self.decoder = mlp(code, 64, 64)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits of the pixels, mean and log-variance of the code."""
        mean, log_variance = self.encoder(x).chunk(2, 1)
        noise = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
        return self.decoder(mean + noise * (log_variance / 2).exp()), mean, log_variance


def divergence(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """From the standard normal distribution, a mean over the samples."""
    terms = mean.square() + log_variance.exp() - 1 - log_variance
    return 0.5 * terms.sum(1).mean()


def pixel_loss(logits: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of grey values, summed over an image."""
    entropy = functional.binary_cross_entropy_with_logits(logits, pixels, reduction="sum")
    return entropy / len(pixels)


class ConvAutoencoder(nn.Module):
    """Images of 8 x 8 pixels to 2 x 2 and back, with batch norm."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.down1 = nn.Conv2d(1, channels, 3, stride=2, padding=1)
        self.norm1 = nn.BatchNorm2d(channels)
        self.down2 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.norm2 = nn.BatchNorm2d(channels)
        self.up1 = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.norm3 = nn.BatchNorm2d(channels)
        self.up2 = nn.ConvTranspose2d(channels, 1, 2, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """An image of the same size."""
        x = torch.relu(self.norm1(self.down1(x)))
        x = torch.relu(self.norm2(self.down2(x)))
        return self.up2(torch.relu(self.norm3(self.up1(x))))


class Bag(nn.Module):
    """The mean of the words' vectors, and two layers on it."""

    def __init__(self, words: int = 200, classes: int = 5, width: int = 16) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(words, width, mode="mean")
        self.layers = mlp(width, 32, classes)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        return self.layers(self.table(words))


class Tastes(nn.Module):
    """A vector for each user and each item; their product says whether they agree."""

    def __init__(self, width: int = 8, std: float = 0.3, count: int = 60) -> None:
        super().__init__()
        self.users = nn.Embedding(count, width)
        self.items = nn.Embedding(count, width)
        nn.init.normal_(self.users.weight, std=std)
        nn.init.normal_(self.items.weight, std=std)

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        """A column of scores."""
        return (self.users(pairs[:, 0]) * self.items(pairs[:, 1])).sum(1, keepdim=True)


class Tagger(nn.Module):
    """A recurrent net that says a tag at every token."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU] = nn.GRU, width: int = 48) -> None:
        super().__init__()
        self.table = nn.Embedding(24, 24)
        self.recurrent = kind(24, width, batch_first=True)
        self.head = nn.Linear(width, TAGS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores (samples, tags, tokens)."""
        return self.head(self.recurrent(self.table(tokens))[0]).transpose(1, 2)


class Forecaster(nn.Module):
    """The last state of a recurrent net tells the next value of a series."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU] = nn.LSTM, width: int = 24) -> None:
        super().__init__()
        self.recurrent = kind(1, width, batch_first=True)
        self.head = nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A column."""
        return self.head(self.recurrent(x)[0][:, -1])


def generator(noise: int = 4) -> nn.Sequential:
    """Noise to points of the plane."""
    return mlp(noise, 32, 32, 2)


def critic() -> nn.Sequential:
    """Points of the plane to the logit that they are real."""
    return mlp(2, 32, 32, 1, activation=lambda: nn.LeakyReLU(0.2))
