"""Small networks, one for each layer, loss and idiom whose second derivatives torch may get wrong.

``build(name)`` makes one: always the same, in float32, with gradients from a first backward pass.
In most of them ``middle`` is the thing, between two linear layers, so that no derivative of it is
missed; the ``names`` of a case are the words of which an error about it has to hold one.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sounding.objective import Objective, as_objective

SAMPLES, FEATURES, CLASSES, TOKENS = 6, 2, 3, 5
VECTOR, SERIES, IMAGE = (4,), (3, 2), (2, 2, 2)  # what the thing is given, for one sample
NORMS = nn.utils.parametrizations


@dataclasses.dataclass(frozen=True)
class Case:
    model: nn.Module
    loss: Callable[[Any, Any], torch.Tensor]
    batch: Any
    names: tuple[str, ...] = ("middle",)  # an error about this case holds one of them


# -- the networks around the thing -------------------------------------------------------------


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


# -- layers that torch has no class for --------------------------------------------------------


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


class Nested(nn.Module):
    """Lists of lists of layers and parameters; a list of a tensor and a dictionary comes out."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.ModuleList([nn.Linear(2, 3), nn.Linear(2, 3)]), nn.Linear(3, CLASSES)]
        )
        self.scales = nn.ParameterList([torch.ones(3), torch.full((3,), 0.5)])

    def forward(self, x):
        hidden = sum(torch.tanh(f(x)) * s for f, s in zip(self.layers[0], self.scales, strict=True))
        return [self.layers[1](hidden), {"hidden": hidden}]


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.middle = nn.Linear(2, 3), nn.Bilinear(3, 2, 2)
        self.after = nn.Linear(2, CLASSES)

    def forward(self, first, second):
        return self.after(torch.tanh(self.middle(self.before(first), second)))


# -- functions with a backward pass of their own -----------------------------------------------


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h):
        ctx.save_for_backward(h)
        return h**3

    @staticmethod
    def backward(ctx, gradient):
        (h,) = ctx.saved_tensors
        return 3 * h**2 * gradient


class CubeOnce(Cube):
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (h,) = ctx.saved_tensors
        return 3 * h**2 * gradient


class CubeWithSlopeKept(torch.autograd.Function):
    """The first derivative is right; its own derivative is lost without a word."""

    @staticmethod
    def forward(ctx, h):
        ctx.slope = 3 * h**2
        return h**3

    @staticmethod
    def backward(ctx, gradient):
        return ctx.slope * gradient


class CubeInNumpy(Cube):
    @staticmethod
    def backward(ctx, gradient):
        (h,) = ctx.saved_tensors
        return torch.from_numpy(3 * h.detach().numpy() ** 2 * gradient.detach().numpy())


class CubeNewStyle(torch.autograd.Function):
    @staticmethod
    def forward(h):
        return h**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    backward = Cube.backward


class Backwards(torch.autograd.Function):
    """The identity, whose gradient is turned round."""

    @staticmethod
    def forward(ctx, h):
        return h.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class NoWayBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h):
        return h**2


# -- idioms, as layers that an error can name --------------------------------------------------


class Detached(nn.Module):
    def forward(self, h):
        return h * h.detach().sigmoid()


class Data(nn.Module):
    def forward(self, h):
        return h * h.data.sigmoid()


class ScaleWithoutGradient(nn.Module):
    def forward(self, h):
        with torch.no_grad():
            size = h.norm(dim=1, keepdim=True)
        return h / size


class StraightThrough(nn.Module):
    def forward(self, h):
        return h + (h.round() - h).detach()


class FakeQuantised(nn.Module):
    def forward(self, h):
        return torch.fake_quantize_per_tensor_affine(h, 0.1, 0, -10, 10)


class Reversal(nn.Module):
    def forward(self, h):
        return Backwards.apply(h)


class OneWay(nn.Module):
    def forward(self, h):
        return NoWayBack.apply(h)


class Logged(nn.Module):
    """Looks at what passes, and does not use it."""

    def forward(self, h):
        self.seen = h.detach().mean()
        return torch.tanh(h)


def shifted_softmax(h):
    """The shift that is detached changes nothing, so the derivatives are right."""
    powers = (h - h.detach().amax(1, keepdim=True)).exp()
    return powers / powers.sum(1, keepdim=True)


def either(h):
    return torch.tanh(h) if h.mean().item() > -10 else torch.sin(h)


def written(h):
    out = torch.zeros_like(h)
    out[:, [2, 0]] = h[:, [0, 1]].square()
    out[:, 1] += torch.sin(h[:, 3])
    return out


def masked(h):
    kept = torch.zeros_like(h)
    kept[h > 0] = h[h > 0].square()
    return kept


def with_minus_infinity(h):
    scores = h.masked_fill(torch.tensor([False, True, False, False]), -math.inf)
    return scores.softmax(1) * h


def messages(h):
    """Sent along five edges between four nodes, and added up where they arrive."""
    source, target = torch.tensor([[0, 1, 1, 2, 3], [1, 0, 2, 3, 0]])
    return torch.zeros_like(h).scatter_add(1, target.expand(len(h), -1), h[:, source].square())


def inverse(h):
    root = h.view(-1, 2, 2)
    matrix = torch.eye(2, dtype=h.dtype) + root @ root.mT
    norms = torch.linalg.norm(root, dim=(1, 2))[:, None]
    return torch.cat([torch.linalg.inv(matrix).flatten(1), norms], dim=1)


def too_long_in_the_end():
    """Only the last of twelve samples uses the rows that a pass shortens."""
    table = nn.Embedding(TOKENS, 3, max_norm=0.5)
    with torch.no_grad():
        table.weight[:3] *= 0.1
    rows = torch.randint(0, 3, (2 * SAMPLES, 3))
    rows[-1] = torch.tensor([3, 4, 3])
    names = ("middle", "Embedding")
    return Case(Words(table), F.cross_entropy, (rows, torch.cat([classes(), classes()])), names)


def hooked():
    """A gradient that is doubled on its way into one weight: no longer that of the loss."""
    case = between(VECTOR, nn.Linear(4, 3), "hook")
    case.model.middle.weight.register_hook(lambda gradient: 2 * gradient)
    return case


def hooked_layer():
    case = between(VECTOR, nn.Linear(4, 3), "hook")
    case.model.middle.register_full_backward_hook(lambda _, inwards, outwards: (2 * inwards[0],))
    return case


def frozen():
    case = between(VECTOR, nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)))
    case.model.middle[0].requires_grad_(False)
    return case


def at_a_kink():
    """A sample of zeros and biases of zero: some units of the ReLU stand exactly on the kink."""
    case = between(VECTOR, nn.ReLU())
    nn.init.zeros_(case.model.before.bias)
    case.batch[0][0] = 0
    return case


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


def in_precision(dtype):
    model = nn.Sequential(nn.Linear(FEATURES, 4), nn.GELU(), nn.Linear(4, CLASSES)).to(dtype)
    return Case(model, in_float32_or_more, (numbers().to(dtype), classes()))


# -- losses ------------------------------------------------------------------------------------


class Transcription(nn.Module):
    """Connectionist temporal classification of four steps and three symbols."""

    def forward(self, output, target):
        scores = output.view(-1, 4, 3).log_softmax(-1).transpose(0, 1)
        lengths = torch.full((len(output),), 4), torch.full((len(output),), 2)
        return F.ctc_loss(scores, target, *lengths)


class Contrast(nn.Module):
    """Each sample against all others of the batch."""

    def forward(self, output, target):
        directions = F.normalize(output, dim=1)
        likeness = directions @ directions.T / 0.5
        return F.cross_entropy(likeness - 100 * torch.eye(len(output)), target)


class OwnTarget(nn.Module):
    """Chases its own output, through which no gradient flows."""

    def forward(self, output, target):
        return F.mse_loss(output, output.detach().roll(1, dims=0) + target[:, None])


def in_float32_or_more(output, target):
    return F.cross_entropy(output.to(torch.promote_types(output.dtype, torch.float32)), target)


class DoubledGradient(nn.Module):
    """Twice the gradient that it should have: symmetric, consistent, and not the loss's."""

    def forward(self, output, target):
        loss = F.cross_entropy(output, target)
        if loss.requires_grad:
            loss.register_hook(lambda gradient: 2 * gradient)
        return loss


class TranscriptionInFloat32(Transcription):
    def forward(self, output, target):
        return super().forward(output.float(), target)


def divergence(output, target):
    return F.kl_div(output.log_softmax(-1), target, reduction="batchmean")


def negative_log_likelihood(output, target):
    return F.nll_loss(output.log_softmax(-1), target, ignore_index=-100)


def smoothed(output, target):
    return F.cross_entropy(output, target, label_smoothing=0.1)


def of_a_list(output, target):
    return F.cross_entropy(output[0], target) + output[1]["hidden"].square().mean()


def penalised(model, batch):
    """With a penalty on the gradient to the input: a second derivative in the loss itself."""
    x = batch["x"].clone().requires_grad_()
    output = model(x)
    (slope,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
    return F.cross_entropy(output, batch["y"]) + 0.1 * slope.square().mean()


# -- the catalogue -----------------------------------------------------------------------------


def encoder(layers=None, dropout=0.1):
    layer = nn.TransformerEncoderLayer(4, 2, 2, dropout, batch_first=True)
    return layer if layers is None else nn.TransformerEncoder(layer, layers)


CATALOGUE: dict[str, Callable[[], Case]] = {
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
    "Function": lambda: function(VECTOR, Cube.apply),
    "Function, once differentiable": lambda: function(VECTOR, CubeOnce.apply),
    "Function, slope kept": lambda: function(VECTOR, CubeWithSlopeKept.apply),
    "Function, backward in numpy": lambda: function(VECTOR, CubeInNumpy.apply),
    "Function, new style": lambda: function(VECTOR, CubeNewStyle.apply),
    "Function without backward": lambda: between(VECTOR, OneWay(), "NoWayBack"),
    "cdist": lambda: between(VECTOR, Distances()),
    "cdist p=1": lambda: between(VECTOR, Distances(p=1.0)),
    "cumsum": lambda: function(VECTOR, lambda h: h.cumsum(1).square()),
    "cumprod": lambda: function(VECTOR, lambda h: h.cumprod(1)),
    "sort": lambda: function(VECTOR, lambda h: h.sort(1).values.square()),
    "topk": lambda: function(VECTOR, lambda h: h.topk(2, dim=1).values.square()),
    "rfft": lambda: function(VECTOR, lambda h: torch.fft.rfft(h).abs()),
    "linalg": lambda: function(VECTOR, inverse),
    "data-dependent if": lambda: function(VECTOR, either),
    "detach": lambda: between(VECTOR, Detached()),
    "x.data": lambda: between(VECTOR, Data()),
    "no_grad inside": lambda: between(VECTOR, ScaleWithoutGradient()),
    "detach for a log": lambda: between(VECTOR, Logged()),
    "detached shift of a softmax": lambda: function(VECTOR, shifted_softmax),
    "straight-through": lambda: between(VECTOR, StraightThrough()),
    "gradient reversal": lambda: between(VECTOR, Reversal(), "Backwards"),
    "fake quantisation": lambda: between(VECTOR, FakeQuantised()),
    "hook on a gradient": hooked,
    "hook on a layer's gradient": hooked_layer,
    "boolean mask": lambda: function(VECTOR, masked),
    "masked_fill": lambda: function(VECTOR, lambda h: h.masked_fill(h < 0.1, -1.0).square()),
    "softmax with -inf": lambda: function(VECTOR, with_minus_infinity),
    "scatter_add": lambda: function(VECTOR, messages),
    "where": lambda: function(VECTOR, lambda h: torch.where(h > 0, h.square(), h.sin())),
    "in-place index write": lambda: function(VECTOR, written),
    "autocast bf16": lambda: between(VECTOR, Autocast()),
    "quantile": lambda: function(VECTOR, lambda h: (h - h.quantile(0.3, 1, True)).square()),
    "RMSNorm in float32": lambda: between(VECTOR, UpcastNorm()),
    "SwiGLU": lambda: between(VECTOR, SwiGLU()),
    "tied weights": lambda: between(VECTOR, Tied()),
    "DropPath": lambda: between(VECTOR, DropPath()),
    "reparametrisation": lambda: between(VECTOR, Reparametrised()),
    "state that a pass moves": lambda: between(VECTOR, Annealed()),
    "compiled": lambda: between(VECTOR, torch.compile(SwiGLU(), backend="aot_eager")),
    "frozen layer": frozen,
    "exactly on a kink": at_a_kink,
    "bfloat16 model": lambda: in_precision(torch.bfloat16),
    "float64 model": lambda: in_precision(torch.float64),
    "nested lists": lambda: Case(Nested(), of_a_list, (numbers(), classes())),
    "two inputs": lambda: Case(TwoInputs(), F.cross_entropy, ((numbers(), numbers()), classes())),
    "gradient penalty": lambda: Case(mlp(), Objective(penalised), {"x": numbers(), "y": classes()}),
    "BCEWithLogits": lambda: under(nn.BCEWithLogitsLoss(), torch.rand(SAMPLES, CLASSES)),
    "CTC": lambda: under(Transcription(), torch.randint(1, 3, (SAMPLES, 2)), outputs=12),
    "CTC in float32": lambda: under(
        TranscriptionInFloat32(), torch.randint(1, 3, (SAMPLES, 2)), outputs=12
    ),
    "label smoothing": lambda: under(smoothed, classes()),
    "KLDiv": lambda: under(divergence, torch.rand(SAMPLES, CLASSES).softmax(-1)),
    "Huber": lambda: under(nn.HuberLoss(delta=0.7), torch.randn(SAMPLES, CLASSES)),
    "NLL ignore_index": lambda: under(
        negative_log_likelihood, torch.tensor([0, -100, 2, 1, -100, 0])
    ),
    "contrast within the batch": lambda: under(Contrast(), torch.tensor([1, 0, 3, 2, 5, 4])),
    "gradient doubled by the loss": lambda: under(DoubledGradient(), classes()),
    "own output as target": lambda: under(OwnTarget(), torch.randn(SAMPLES)),
}


# One cannot; in the others it would shorten the rows that are too long.
NO_FIRST_PASS = (
    "Function without backward",
    "Embedding max_norm, active",
    "Embedding max_norm, active for the last sample",
)


def build(name: str) -> Case:
    """The case of this name, the same every time; its gradients are those of a first pass."""
    with torch.random.fork_rng(devices=[]), torch.compiler.set_stance("force_eager"):
        torch.manual_seed(0)
        case = CATALOGUE[name]()
        if name not in NO_FIRST_PASS:
            as_objective(case.loss)(case.model, case.batch).backward()
    return case
