"""A look leaves no trace: the same bits and the same objects before and after, on awkward models.

Also when the model raises, in the middle of the forward or backward pass, and on Ctrl-C. Every
other test uses each model once; none would notice a buffer that moved on, a hook that was left
behind or a gradient that was added to.
"""

import contextlib
import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.capture.passes import record
from sounding.capture.recorder import Recorder
from sounding.checkup import checkup

BATCH = 8


class Tower(nn.Module):
    """(B, 3, 8, 8) -> (B, 4), through whatever is put in the middle."""

    def __init__(self, *middle):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.middle = nn.Sequential(*middle)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.middle(self.first(x)).mean((2, 3)))


class Words(nn.Module):
    """Tokens through an embedding that renormalises its rows in place as they are used."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(20, 8, max_norm=0.5)
        self.head = nn.Linear(8, 4)

    def forward(self, tokens):
        return self.head(self.table(tokens).mean(1))


class Counting(nn.Module):
    """Keeps a plain attribute, a cache made on first use, and a buffer that it writes in place."""

    def __init__(self):
        super().__init__()
        self.layer, self.calls, self.cache = nn.Linear(8, 4), 0, None
        self.register_buffer("total", torch.zeros(()))
        self.register_buffer("empty", None)

    def forward(self, x):
        self.calls += 1
        self.cache = x.mean().detach()
        self.total += 1
        self.register_buffer("late", torch.ones(2))
        return self.layer(x)


class Shared(nn.Module):
    """One layer used twice, and a weight tied to it."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        self.b.weight = self.a.weight
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(torch.relu(self.b(torch.relu(self.a(torch.relu(self.a(x)))))))


def _with_gradients(net):
    for p in net.parameters():
        p.grad = torch.randn_like(p)
    next(iter(net.parameters())).grad = None
    return net


def _frozen(net):
    net.first.requires_grad_(False)
    return net


def _optimised_in_backward():
    net = nn.Linear(8, 4)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)

    def step(_):
        optimiser.step()
        optimiser.zero_grad()

    for p in net.parameters():
        p.register_post_accumulate_grad_hook(step)
    return net


def _hooked():
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    net[0].register_forward_hook(lambda *_: None)
    net[2].register_full_backward_hook(lambda *_: None)
    net[1].register_forward_pre_hook(lambda *_: None)
    net[2].weight.register_hook(lambda g: g * 2)
    return net


def images():
    return torch.randn(BATCH, 3, 8, 8)


def vectors():
    return torch.randn(BATCH, 8)


MODELS = {
    "batch norm": (lambda: Tower(nn.BatchNorm2d(8), nn.ReLU()), images),
    "instance norm with statistics": (
        lambda: Tower(nn.InstanceNorm2d(8, track_running_stats=True)),
        images,
    ),
    "dropout": (lambda: Tower(nn.Dropout2d(0.5), nn.Dropout(0.2), nn.RReLU()), images),
    "in-place relu": (lambda: Tower(nn.BatchNorm2d(8), nn.ReLU(inplace=True)), images),
    "evaluation mode": (lambda: Tower(nn.BatchNorm2d(8), nn.Dropout(0.5)).eval(), images),
    "mixed modes": (lambda: Tower(nn.BatchNorm2d(8).eval(), nn.Dropout(0.5)), images),
    "frozen": (lambda: _frozen(Tower(nn.ReLU())), images),
    "spectral norm": (
        lambda: nn.Sequential(
            nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)),
            nn.ReLU(),
            nn.utils.spectral_norm(nn.Linear(8, 4)),
        ),
        vectors,
    ),
    "channels last": (
        lambda: Tower(nn.Conv2d(8, 8, 3)).to(memory_format=torch.channels_last),
        images,
    ),
    "shared and tied": (Shared, vectors),
    "existing gradients": (lambda: _with_gradients(Tower(nn.ReLU())), images),
    "optimiser inside backward": (_optimised_in_backward, vectors),
    "hooks of the user's": (_hooked, vectors),
    "state of its own": (Counting, vectors),
    "renormalised embedding": (Words, lambda: torch.randint(0, 20, (BATCH, 5))),
    "bfloat16": (
        lambda: nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)).bfloat16(),
        lambda: vectors().bfloat16(),
    ),
    "double": (lambda: Tower(nn.BatchNorm2d(8)).double(), lambda: images().double()),
    "recurrent": (
        lambda: nn.Sequential(nn.Linear(8, 8), First(nn.LSTM(8, 4))),
        vectors,
    ),
}


class First(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[0]


# -- what may not change ----------------------------------------------------------------------


def _bits(tensor):
    return None if tensor is None else tensor.detach().clone().reshape(-1).view(torch.uint8).numpy()


def _of_module(module):
    plain = {k: id(v) for k, v in vars(module).items()}
    tables = {
        name: {k: id(v) for k, v in getattr(module, name).items()}
        for name in vars(module)
        if isinstance(getattr(module, name), dict)
    }
    return plain, tables


def _of_tensor(tensor):
    hooks = [dict(getattr(tensor, name) or {}) for name in HOOKS]
    return id(tensor), tensor.requires_grad, hooks, id(tensor.grad), tensor.dtype, tensor.stride()


HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


def _numbers(net):
    held = {f"parameter {n}": _bits(p) for n, p in net.named_parameters()}
    held |= {f"buffer {n}": _bits(b) for n, b in net.named_buffers()}
    return held | {f"gradient {n}": _bits(p.grad) for n, p in net.named_parameters()}


def _world():
    """Whatever torch, numpy and Python keep globally that a recorder might touch."""
    module = torch.nn.modules.module
    tables = {n: v for n, v in vars(module).items() if n.startswith("_global_")}
    return {
        "hooks": {n: dict(v) if isinstance(v, dict) else v for n, v in tables.items()},
        "modes": torch._C._len_torch_function_stack(),
        "functions": (nn.Module.__init__, torch.autograd.backward, F.cross_entropy),
        "gradients": (torch.is_grad_enabled(), torch.is_anomaly_enabled()),
        "filters": list(warnings.filters),
        "python": random.getstate(),
        "numpy": [np.asarray(part).tolist() for part in np.random.get_state()],  # noqa: NPY002
        "torch": torch.get_rng_state().tolist(),
    }


@contextlib.contextmanager
def no_trace(net):
    modules = [_of_module(m) for m in net.modules()]
    tensors = [_of_tensor(t) for t in (*net.parameters(), *net.buffers())]
    numbers, world = _numbers(net), _world()
    yield
    assert _world() == world
    assert [_of_module(m) for m in net.modules()] == modules
    assert [_of_tensor(t) for t in (*net.parameters(), *net.buffers())] == tensors
    after = _numbers(net)
    assert list(after) == list(numbers)
    for name, bits in numbers.items():
        assert (bits is None) == (after[name] is None), name
        assert bits is None or np.array_equal(bits, after[name]), name


# -- the looks --------------------------------------------------------------------------------


def loss(output, target):
    return F.cross_entropy(output.float(), target)


@pytest.fixture(params=MODELS)
def case(request):
    torch.manual_seed(0)
    build, inputs = MODELS[request.param]
    return build(), inputs(), torch.randint(0, 4, (BATCH,))


def test_record_and_checkup(case):
    net, x, y = case
    with no_trace(net):
        assert record(net, lambda: loss(net(x), y), x).failures == ()
    with no_trace(net):
        checkup(net, loss, (x, y))


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["forward", "loss", "backward"])
def test_interrupted(case, where, interruption):
    net, x, y = case
    net = nn.Sequential(net, Interrupting(interruption, where)).train(net.training)

    def interrupted(output, target):
        if where == "loss":
            raise interruption("in the loss")
        return loss(output, target)

    for look in (lambda: record(net, lambda: interrupted(net(x), y), x),
                 lambda: checkup(net, interrupted, (x, y))):  # fmt: skip
        with no_trace(net), pytest.raises((interruption, ValueError)):
            look()


class Interrupting(nn.Module):
    """The identity, which raises on its way there or back."""

    def __init__(self, error, where):
        super().__init__()
        self.error, self.where = error, where

    def forward(self, x):
        if self.where == "forward":
            raise self.error("in the forward pass")
        return RaiseInBackward.apply(x, self.error) if self.where == "backward" else x


class RaiseInBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, error):
        ctx.error = error
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise ctx.error("in the backward pass")


def test_a_loss_with_a_state_of_its_own():
    class Centres(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("centre", torch.zeros(4))

        def forward(self, output, target):
            self.centre.lerp_(output.detach().mean(0), 0.1)
            return loss(output - self.centre, target)

    net, criterion = nn.Linear(8, 4), Centres()
    batch = torch.randn(BATCH, 8), torch.randint(0, 4, (BATCH,))
    with no_trace(net), no_trace(criterion):
        checkup(net, criterion, batch)


# -- training under observation ---------------------------------------------------------------


def _trained(net, watched):
    """The weights after 20 steps, with a recorder armed on every one, or without any."""
    torch.manual_seed(1)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(20):
        x, y = torch.randn(BATCH, 3, 8, 8), torch.randint(0, 4, (BATCH,))
        recorder = Recorder(net)
        with recorder.watching() if watched else contextlib.nullcontext():
            value = F.cross_entropy(net(x), y)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        assert recorder.failures == []
        assert bool(recorder.nodes) == watched
    return [_bits(t) for t in (*net.parameters(), *net.buffers())]


@pytest.mark.parametrize(
    "middle",
    [
        lambda: [nn.Dropout(0.3), nn.ReLU()],
        lambda: [nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)],
        lambda: [nn.BatchNorm2d(8), nn.SiLU(inplace=True), nn.Dropout2d(0.5, inplace=True)],
    ],
)
def test_training_is_bit_identical_under_observation(middle):
    nets = []
    for _ in range(2):
        torch.manual_seed(0)
        nets.append(Tower(*middle()))
    plain, watched = _trained(nets[0], False), _trained(nets[1], True)
    assert all(np.array_equal(a, b) for a, b in zip(plain, watched, strict=True))
