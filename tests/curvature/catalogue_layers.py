"""Layers: torch's own, and those that it has no class for."""

from collections.abc import Callable

import torch
from catalogue_networks import (
    IMAGE,
    SAMPLES,
    SERIES,
    TOKENS,
    VECTOR,
    Case,
    Words,
    between,
    classes,
    evaluated,
    old,
    tokens,
)
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

NORMS = nn.utils.parametrizations


class Attention(nn.Module):
    """(B, T, 4) -> the same, by torch's fused attention."""

    def __init__(self, **how):
        super().__init__()
        self.inwards, self.how = nn.Linear(4, 12), how

    def forward(self, h):
        q, k, v = self.inwards(h)[:, None].chunk(3, dim=-1)
        return F.scaled_dot_product_attention(q, k, v, **self.how)


class SelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, h):
        return self.heads(h, h, h)[0]


class Unrolled(nn.Module):
    """A recurrent cell, step by step: (B, T, 2) -> (B, 2)."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, h):
        state = None
        for step in h.unbind(1):
            state = self.cell(step, state)
        return state[0]


class SequenceFirst(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, h):
        return self.layer(h.transpose(0, 1))[0][-1]


class Warped(nn.Module):
    """An image of 3 x 3, looked at through a learnt affine map."""

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([[0.7, 0.1, 0.05], [-0.2, 0.6, 0.1]]))

    def forward(self, h):
        places = F.affine_grid(self.theta.expand(len(h), 2, 3), [len(h), 1, 2, 2], False)
        return F.grid_sample(h, places, align_corners=False)


class WithItself(nn.Module):
    def __init__(self, pair):
        super().__init__()
        self.pair = pair

    def forward(self, h):
        return self.pair(h, h)


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.inner, self.reentrant = nn.Sequential(nn.Linear(4, 4), nn.Tanh()), reentrant

    def forward(self, h):
        return checkpoint(self.inner, h, use_reentrant=self.reentrant)


class Distances(nn.Module):
    def __init__(self, **how):
        super().__init__()
        self.centres, self.how = nn.Parameter(torch.randn(3, 4)), how

    def forward(self, h):
        return torch.cdist(h, self.centres, **self.how)


class UpcastNorm(nn.Module):
    """Root mean square norm in float32 whatever comes in, as language models have it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(4) + 0.5)

    def forward(self, h):
        wide = h.float()
        return self.weight * (wide * wide.pow(2).mean(-1, keepdim=True).rsqrt()).to(h.dtype)


class SwiGLU(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, h):
        return self.down(F.silu(self.gate(h)) * self.up(h))


class Tied(nn.Module):
    """One layer used twice, and its weight once more, transposed."""

    def __init__(self):
        super().__init__()
        self.layer, self.back = nn.Linear(4, 4), nn.Linear(4, 4)
        self.back.weight = self.layer.weight

    def forward(self, h):
        h = torch.tanh(self.back(torch.tanh(self.layer(torch.tanh(self.layer(h))))))
        return h @ self.layer.weight.T


class Autocast(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))

    def forward(self, h):
        with torch.autocast("cpu", torch.bfloat16):
            return self.inner(h).float() if h.dtype == torch.float32 else self.inner(h)


class DropPath(nn.Module):
    """Leaves whole samples out, with a draw whose stream depends on the precision."""

    def forward(self, h):
        return h * (torch.rand(len(h), 1, dtype=h.dtype) < 0.6) / 0.6


class Reparametrised(nn.Module):
    """Mean and log-variance in, a sample out."""

    def forward(self, h):
        mean, spread = h.chunk(2, dim=1)
        return mean + torch.randn_like(mean) * (0.5 * spread).exp()


class Annealed(nn.Module):
    """Another function in every pass: a buffer counts them."""

    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, h):
        self.passes += 1
        return torch.tanh(h / (1 + 0.1 * self.passes))


def too_long_in_the_end():
    """Only the last of twelve samples uses the rows that a pass shortens."""
    table = nn.Embedding(TOKENS, 3, max_norm=0.5)
    with torch.no_grad():
        table.weight[:3] *= 0.1
    rows = torch.randint(0, 3, (2 * SAMPLES, 3))
    rows[-1] = torch.tensor([3, 4, 3])
    names = ("middle", "Embedding")
    return Case(Words(table), F.cross_entropy, (rows, torch.cat([classes(), classes()])), names)


def beside_float32():
    """A layer of which double backward is wrong, and another that hides it behind rounding."""
    norm = NORMS.weight_norm(nn.Linear(4, 4))
    return between(VECTOR, nn.Sequential(norm, UpcastNorm()))


def normed_at_a_kink():
    """A layer of which double backward is wrong, and units that stand exactly on the kink."""
    layer = nn.Sequential(nn.ReLU(), NORMS.weight_norm(nn.Linear(4, 4)))
    case = between(VECTOR, layer, "kink")
    nn.init.zeros_(case.model.before.bias)
    case.batch[0][0] = 0
    return case


def encoder(layers=None, dropout=0.1):
    layer = nn.TransformerEncoderLayer(4, 2, 2, dropout, batch_first=True)
    return layer if layers is None else nn.TransformerEncoder(layer, layers)


LAYERS: dict[str, Callable[[], Case]] = {
    "Linear": lambda: between(VECTOR, nn.Linear(4, 3)),
    "Conv1d": lambda: between((2, 4), nn.Conv1d(2, 3, 2)),
    "Conv2d": lambda: between((2, 3, 3), nn.Conv2d(2, 2, 2)),
    "Conv2d grouped": lambda: between((4, 2, 2), nn.Conv2d(4, 4, 2, groups=2)),
    "Conv2d depthwise": lambda: between((3, 2, 3), nn.Conv2d(3, 3, 2, groups=3, padding=1)),
    "Conv3d": lambda: between((1, 2, 2, 2), nn.Conv3d(1, 2, 2)),
    "ConvTranspose2d": lambda: between(IMAGE, nn.ConvTranspose2d(2, 1, 2)),
    "BatchNorm2d train": lambda: between(IMAGE, nn.BatchNorm2d(2)),
    "BatchNorm2d train, no running stats": lambda: between(
        IMAGE, nn.BatchNorm2d(2, track_running_stats=False)
    ),
    "BatchNorm2d eval": lambda: evaluated(between(IMAGE, nn.BatchNorm2d(2))),
    "InstanceNorm2d": lambda: between(IMAGE, nn.InstanceNorm2d(2, affine=True)),
    "GroupNorm": lambda: between((4, 2), nn.GroupNorm(2, 4)),
    "LayerNorm": lambda: between(VECTOR, nn.LayerNorm(4)),
    "RMSNorm": lambda: between(VECTOR, nn.RMSNorm(4)),
    "LocalResponseNorm": lambda: between((3, 2, 2), nn.LocalResponseNorm(2, alpha=1.0)),
    "Embedding": lambda: tokens(nn.Embedding(TOKENS, 3)),
    "Embedding max_norm, active": lambda: tokens(nn.Embedding(TOKENS, 3, max_norm=0.5)),
    "Embedding max_norm, active for the last sample": too_long_in_the_end,
    "Embedding max_norm, inactive": lambda: tokens(nn.Embedding(TOKENS, 3, max_norm=100.0)),
    "Embedding sparse": lambda: tokens(nn.Embedding(TOKENS, 3, sparse=True)),
    "EmbeddingBag mean": lambda: tokens(nn.EmbeddingBag(TOKENS, 3, mode="mean")),
    "EmbeddingBag sum": lambda: tokens(nn.EmbeddingBag(TOKENS, 3, mode="sum")),
    "EmbeddingBag max": lambda: tokens(nn.EmbeddingBag(TOKENS, 3, mode="max")),
    "SDPA": lambda: between((3, 4), Attention()),
    "SDPA causal": lambda: between((3, 4), Attention(is_causal=True)),
    "SDPA dropout": lambda: between((3, 4), Attention(dropout_p=0.3)),
    "MultiheadAttention train": lambda: between((2, 4), SelfAttention()),
    "MultiheadAttention eval": lambda: evaluated(between((2, 4), SelfAttention())),
    "TransformerEncoderLayer train p=0": lambda: between((2, 4), encoder(dropout=0.0)),
    "TransformerEncoderLayer train": lambda: between((2, 4), encoder()),
    "TransformerEncoderLayer eval": lambda: evaluated(between((2, 4), encoder())),
    "TransformerEncoder eval": lambda: evaluated(between((2, 4), encoder(2))),
    "LSTM": lambda: between(SERIES, nn.LSTM(2, 2, batch_first=True)),
    "LSTM sequence first": lambda: between(SERIES, SequenceFirst(nn.LSTM(2, 2))),
    "GRU": lambda: between(SERIES, nn.GRU(2, 2, batch_first=True)),
    "RNN tanh": lambda: between(SERIES, nn.RNN(2, 2, batch_first=True)),
    "LSTMCell": lambda: between(SERIES, Unrolled(nn.LSTMCell(2, 2))),
    "Dropout train": lambda: between(VECTOR, nn.Dropout(0.5)),
    "MaxPool2d": lambda: between((2, 3, 3), nn.MaxPool2d(2, 1)),
    "AvgPool2d": lambda: between((2, 3, 3), nn.AvgPool2d(2, 1)),
    "AdaptiveAvgPool2d": lambda: between((2, 3, 3), nn.AdaptiveAvgPool2d(2)),
    "AdaptiveMaxPool2d": lambda: between((2, 3, 3), nn.AdaptiveMaxPool2d(2)),
    "Upsample bilinear": lambda: between((1, 2, 2), nn.Upsample(scale_factor=2, mode="bilinear")),
    "PixelShuffle": lambda: between((4, 1, 2), nn.PixelShuffle(2)),
    "grid_sample": lambda: between((1, 3, 3), Warped()),
    "ReLU inplace": lambda: between(VECTOR, nn.ReLU(inplace=True)),
    "GELU": lambda: between(VECTOR, nn.GELU()),
    "SiLU": lambda: between(VECTOR, nn.SiLU()),
    "Softplus": lambda: between(VECTOR, nn.Softplus()),
    "Mish": lambda: between(VECTOR, nn.Mish()),
    "Hardswish": lambda: between(VECTOR, nn.Hardswish()),
    "ELU": lambda: between(VECTOR, nn.ELU()),
    "PReLU": lambda: between(VECTOR, nn.PReLU()),
    "RReLU train": lambda: between(VECTOR, nn.RReLU()),
    "GLU": lambda: between(VECTOR, nn.GLU()),
    "LogSoftmax": lambda: between(VECTOR, nn.LogSoftmax(-1)),
    "Bilinear": lambda: between(VECTOR, WithItself(nn.Bilinear(4, 4, 2))),
    "weight_norm": lambda: between(VECTOR, NORMS.weight_norm(nn.Linear(4, 3))),
    "weight_norm, old": lambda: between(VECTOR, old(nn.utils.weight_norm, nn.Linear(4, 3))),
    "weight_norm beside float32": beside_float32,
    "weight_norm on a kink": normed_at_a_kink,
    "spectral_norm train": lambda: between(VECTOR, NORMS.spectral_norm(nn.Linear(4, 3))),
    "spectral_norm eval": lambda: evaluated(between(VECTOR, NORMS.spectral_norm(nn.Linear(4, 3)))),
    "spectral_norm train, old": lambda: between(VECTOR, nn.utils.spectral_norm(nn.Linear(4, 3))),
    "spectral_norm eval, old": lambda: evaluated(
        between(VECTOR, nn.utils.spectral_norm(nn.Linear(4, 3)))
    ),
    "orthogonal": lambda: between(VECTOR, NORMS.orthogonal(nn.Linear(4, 4))),
    "checkpoint non-reentrant": lambda: between(VECTOR, Checkpointed(reentrant=False)),
    "checkpoint reentrant": lambda: between(VECTOR, Checkpointed(reentrant=True)),
    "cdist": lambda: between(VECTOR, Distances()),
    "cdist p=1": lambda: between(VECTOR, Distances(p=1.0)),
    "autocast bf16": lambda: between(VECTOR, Autocast()),
    "RMSNorm in float32": lambda: between(VECTOR, UpcastNorm()),
    "SwiGLU": lambda: between(VECTOR, SwiGLU()),
    "tied weights": lambda: between(VECTOR, Tied()),
    "DropPath": lambda: between(VECTOR, DropPath()),
    "reparametrisation": lambda: between(VECTOR, Reparametrised()),
    "state that a pass moves": lambda: between(VECTOR, Annealed()),
    "compiled": lambda: between(VECTOR, torch.compile(SwiGLU(), backend="aot_eager")),
}
