"""The networks around what the catalogue is of, and the words for making a case."""

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

SAMPLES, FEATURES, CLASSES, TOKENS = 6, 2, 3, 5
VECTOR, SERIES, IMAGE = (4,), (3, 2), (2, 2, 2)  # what the thing is given, for one sample


@dataclasses.dataclass(frozen=True)
class Case:
    model: nn.Module
    loss: Callable[[Any, Any], torch.Tensor]
    batch: Any
    names: tuple[str, ...] = ("middle",)  # an error about this case holds one of them


class Between(nn.Module):
    """Linear, the thing, linear: (B, 2) -> (B, 3); the thing is given (B, *shape)."""

    def __init__(self, shape, middle):
        super().__init__()
        self.shape = shape
        self.before = nn.Linear(FEATURES, math.prod(shape))
        self.middle = middle
        width = self.through(torch.zeros(SAMPLES, FEATURES)).shape[1]
        self.after = nn.Linear(width, CLASSES)

    def through(self, x):
        found = self.middle(self.before(x).view(-1, *self.shape))
        return (found[0] if isinstance(found, tuple) else found).flatten(1)

    def forward(self, x):
        return self.after(self.through(x))


class Words(nn.Module):
    """Tokens (B, 3), the embedding, two layers."""

    def __init__(self, table):
        super().__init__()
        self.middle = table
        width = table.embedding_dim * (1 if isinstance(table, nn.EmbeddingBag) else 3)
        self.after = nn.Sequential(nn.Linear(width, 3), nn.Tanh(), nn.Linear(3, CLASSES))

    def forward(self, tokens):
        return self.after(self.middle(tokens).flatten(1))


class Apply(nn.Module):
    """A plain function as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, h):
        return self.function(h)


def mlp(outputs=CLASSES):
    return nn.Sequential(nn.Linear(FEATURES, 4), nn.Tanh(), nn.Linear(4, outputs))


def numbers():
    return torch.randn(SAMPLES, FEATURES)


def classes():
    return torch.arange(SAMPLES) % CLASSES


def between(shape, middle, *names):
    """The thing in training mode, under cross-entropy."""
    model = Between(shape, middle)
    return Case(
        model, F.cross_entropy, (numbers(), classes()), ("middle", type(middle).__name__, *names)
    )


def function(shape, call):
    return between(shape, Apply(call))


def tokens(table):
    batch = torch.randint(0, TOKENS, (SAMPLES, 3)), classes()
    return Case(Words(table), F.cross_entropy, batch, ("middle", type(table).__name__))


def under(loss, target, outputs=CLASSES):
    """A loss, on top of a small network."""
    name = getattr(loss, "__name__", type(loss).__name__)
    return Case(mlp(outputs), loss, (numbers(), target), (name, "loss"))


def evaluated(case):
    """The same in evaluation mode, after one pass in training mode."""
    with torch.no_grad():
        case.model(case.batch[0])
    case.model.eval()
    return case


def old(make, *arguments):
    """What torch calls deprecated, without its saying so; people's models are full of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return make(*arguments)
