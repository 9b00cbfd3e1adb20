"""Transformers and recurrent nets of the zoo."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo.samples import TOKENS


class Block(nn.Module):
    """Attention and a GELU layer, normalised before (Xiong et al. 2020) or, as once, after."""

    def __init__(self, width: int, *, before: bool, causal: bool, heads: int = 4) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.before, self.causal, self.heads = before, causal, heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(samples, tokens, width), as x."""
        if self.before:
            x = x + self._attend(self.norm1(x))
            return x + self._feed(self.norm2(x))
        x = self.norm1(x + self._attend(x))
        return self.norm2(x + self._feed(x))

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        samples, tokens, width = x.shape
        split = self.qkv(x).view(samples, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = split
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).reshape(samples, tokens, width))

    def _feed(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(functional.gelu(self.up(x)))


class LanguageModel(nn.Module):
    """A small GPT; with `tied` the head is the table of embeddings."""

    def __init__(
        self, depth: int = 4, width: int = 48, *, before: bool = True, tied: bool = False
    ) -> None:
        super().__init__()
        self.table = nn.Embedding(TOKENS, width)
        self.places = nn.Embedding(64, width)
        self.blocks = nn.ModuleList(Block(width, before=before, causal=True) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, TOKENS, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores of the next token, (samples, TOKENS, tokens)."""
        x = self.table(tokens) + self.places(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)).transpose(1, 2)


class VisionTransformer(nn.Module):
    """Patches of 2 x 2 pixels as tokens (Dosovitskiy et al. 2021); its head starts at zero."""

    def __init__(self, depth: int = 3, width: int = 48) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.places = nn.Parameter(0.02 * torch.randn(16, width))
        self.blocks = nn.ModuleList(Block(width, before=True, causal=False) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)
        nn.init.zeros_(self.head.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        x = self.patches(x).flatten(2).transpose(1, 2) + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


class Recurrent(nn.Module):
    """A recurrent layer of torch's own and a linear one on its last output."""

    def __init__(self, layer: type[nn.LSTM] | type[nn.GRU], width: int = 48) -> None:
        super().__init__()
        self.recurrent = layer(8, width, batch_first=True)
        self.head = nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        return self.head(self.recurrent(x)[0][:, -1])


class HandWritten(nn.Module):
    """A tanh recurrence written as a loop: the same two layers called at every step."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.input, self.state = nn.Linear(8, width), nn.Linear(width, width)
        self.head = nn.Linear(width, 2)
        self.width = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        state = x.new_zeros(len(x), self.width)
        for column in x.unbind(1):
            state = torch.tanh(self.input(column) + self.state(state))
        return self.head(state)
