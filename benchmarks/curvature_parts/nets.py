"""Three small nets, each trained for a few steps from a fixed seed, and one batch for each.

Real data are read where there are some; else the batch is random, which changes the numbers but
not the way they are measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch
from checkup import ResNet20
from torch import nn

from sounding.data import cifar10, digits

Batch = tuple[torch.Tensor, torch.Tensor]
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"  # beside the project, if anywhere


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """A net at one point of its training, a loss and a batch: they define the Hessian."""

    name: str
    model: nn.Module
    loss: nn.CrossEntropyLoss
    batch: Batch

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All of them, in the order of every library's flat vector."""
        return list(self.model.parameters())

    @property
    def size(self) -> int:
        """How many numbers that is."""
        return sum(p.numel() for p in self.parameters)

    def value(self) -> torch.Tensor:
        """The loss of the batch, with its graph."""
        return self.loss(self.model(self.batch[0]), self.batch[1])


class Transformer(nn.Module):
    """Two pre-norm layers of width 128 on 64 characters, 0.42 million weights."""

    def __init__(self, width: int = 128, characters: int = 64) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, 0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.table = nn.Embedding(characters, width)
        self.places = nn.Parameter(torch.randn(64, width) / 50)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, characters)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores of the next character, classes second."""
        return self.head(self.layers(self.table(tokens) + self.places)).transpose(1, 2)


def _mlp(_: Path) -> tuple[nn.Module, Batch]:
    sizes = [nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10)]
    data = digits()
    return nn.Sequential(*sizes), (data.x[:512], data.y[:512])


def _transformer(data: Path) -> tuple[nn.Module, Batch]:
    model = Transformer()
    generator = torch.Generator().manual_seed(1)
    try:
        text = (data / "text" / "tinyshakespeare.txt").read_text()[:200_000]
        known = {c: i for i, c in enumerate(sorted(set(text))[:64])}
        codes = torch.tensor([known.get(c, 0) for c in text])
    except OSError:
        codes = torch.randint(0, 64, (200_000,), generator=generator)
    starts = torch.randint(0, len(codes) - 65, (32,), generator=generator).tolist()
    rows = torch.stack([codes[s : s + 65] for s in starts])
    return model, (rows[:, :-1].contiguous(), rows[:, 1:].contiguous())


def _resnet(data: Path) -> tuple[nn.Module, Batch]:
    model = ResNet20()
    try:
        pixels, y = cifar10(data / "cifar10", limit=128)
        x = (pixels / 255 - 0.5) / 0.25
    except OSError:
        x, y = torch.randn(128, 3, 32, 32), torch.randint(0, 10, (128,))
    return model, (x, y)


NETS: dict[str, tuple[Callable[[Path], tuple[nn.Module, Batch]], int]] = {
    "mlp": (_mlp, 60),
    "transformer": (_transformer, 15),
    "resnet": (_resnet, 15),
}


def problem(name: str, data: Path = SHARED) -> Problem:
    """One of the nets after its steps of Adam on its batch, in eval mode."""
    torch.manual_seed(0)
    make, steps = NETS[name]
    model, batch = make(data)
    made = Problem(name, model.train(), nn.CrossEntropyLoss(), batch)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        made.value().backward()
        optimiser.step()
    optimiser.zero_grad()
    model.eval()
    return made
