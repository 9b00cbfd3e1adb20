"""Idioms: backward passes of one's own, detached values, hooks, plain functions between layers."""

import math
from collections.abc import Callable

import torch
from catalogue_networks import VECTOR, Case, between, function
from torch import nn

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


IDIOMS: dict[str, Callable[[], Case]] = {
    "Function": lambda: function(VECTOR, Cube.apply),
    "Function, once differentiable": lambda: function(VECTOR, CubeOnce.apply),
    "Function, slope kept": lambda: function(VECTOR, CubeWithSlopeKept.apply),
    "Function, backward in numpy": lambda: function(VECTOR, CubeInNumpy.apply),
    "Function, new style": lambda: function(VECTOR, CubeNewStyle.apply),
    "Function without backward": lambda: between(VECTOR, OneWay(), "NoWayBack"),
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
    "quantile": lambda: function(VECTOR, lambda h: (h - h.quantile(0.3, 1, True)).square()),
    "frozen layer": frozen,
    "exactly on a kink": at_a_kink,
}
