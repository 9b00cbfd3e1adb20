"""Nets with one fault each, made so that the fault and its rule are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from sounding.objective import Loss, Objective
from sounding.train import Case, Recipe
from sounding.zoo import samples
from sounding.zoo.entry import Entry
from sounding.zoo.nets import GraphConvolutions, Plain, PlainConv, Residual, drawn, mlp, normal

RELU, TANH, SIGMOID = 2**0.5, 1.5925, 1.8462  # gains that keep the second moment


def _sick(
    name: str,
    expected: str | tuple[str, ...],
    build: Callable[[], nn.Module],
    data: Any,
    note: str,
    *,
    loss: Loss | Objective = functional.cross_entropy,
    after: int = 0,
    **recipe: Any,
) -> Entry:
    settings = {"optimiser": "sgd", "lr": 0.01, "batch_size": 64} | recipe
    codes = (expected,) if isinstance(expected, str) else expected
    case = Case(build, loss, data, Recipe(**settings), name=name)
    return Entry(name, case, codes, note, (after,))


# -- SD101 -----------------------------------------------------------------------------------------


class LogOfSoftmax(nn.Module):
    """log(softmax(x)) written out: a probability that underflows has the logarithm -inf."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp(32, 64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of the classes."""
        return torch.log(torch.softmax(self.body(300 * x), 1))


class Standardised(nn.Module):
    """Divides each image by its own deviation, which is 0 for a blank one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.head = nn.Linear(8 * 64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        x = (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True)
        return self.head(functional.relu(self.conv(x)).flatten(1))


class HalfPrecision(nn.Module):
    """Squares of activations in float16, which ends at 65,504."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(32, 64), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        x = functional.relu(self.first(1000 * x)).half()
        return functional.linear(x * x, self.head.weight.half(), self.head.bias.half()).float()


def _distance(model: nn.Module, batch: Any) -> torch.Tensor:
    """Length by Pythagoras: the square root has no finite slope at 0."""
    x, y = batch
    return (((model(x) ** 2).sum(1).sqrt() - y) ** 2).mean()


def _broken_parameter() -> nn.Module:
    net = mlp(64, 64, 64, 10)
    with torch.no_grad():
        net[2].weight[3, 5] = torch.nan  # type: ignore[index]
    return net


def _points_at_zero() -> samples.Pair:
    x = samples.CLUSTERS[0].clone()
    x[::8] = 0
    return x, x.norm(dim=1)


def _blank_images() -> samples.Pair:
    x, y = samples.image_digits()
    x = x.clone()
    x[::16] = x.mean()
    return x, y


# -- SD201, SD202 ----------------------------------------------------------------------------------


class Damped(nn.Module):
    """Passes a tenth of the gradient in each layer: a trick meant for one layer, used in all."""

    def __init__(self, depth: int = 8) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(depth))
        self.head = nn.Linear(64, 10)
        drawn(self, normal(RELU))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        for layer in self.layers:
            x = torch.relu(layer(x))
            x = 0.1 * x + 0.9 * x.detach()
        return self.head(x)


def _sine(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(30 * x)  # of Sitzmann et al. 2020, but without their initialisation


def _batch_normed(depth: int) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 10))


# -- SD203, SD204 ----------------------------------------------------------------------------------


def _biased(net: nn.Module, layer: str, bias: float) -> nn.Module:
    nn.init.constant_(net.get_submodule(layer).bias, bias)  # type: ignore[arg-type]
    return net


def _mostly_dead() -> nn.Module:
    net = drawn(mlp(64, 128, 128, 128, 10), normal(RELU))
    for number in (0, 2, 4):
        nn.init.constant_(net[number].bias[1:], -20.0)  # type: ignore[index]
    return net


def _random_biases() -> nn.Module:
    net = drawn(mlp(64, *[64] * 4, 10, activation=nn.Tanh), normal(TANH))
    for layer in net.children():
        if isinstance(layer, nn.Linear) and layer.out_features == 64:
            layer.bias.data = 12 * torch.randn(64).sign()
    return net


def _scaled_up(factor: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: torch.tanh(factor * x)


_RAW_CLUSTERS = (40 * samples.CLUSTERS[0] + 128, samples.CLUSTERS[1])


# -- SD301, SD302 ----------------------------------------------------------------------------------


def _zero_hidden() -> nn.Module:
    net = mlp(64, 64, 64, 64, 10)
    for number in (2, 4):
        nn.init.zeros_(net[number].weight)  # type: ignore[arg-type]
        nn.init.zeros_(net[number].bias)  # type: ignore[arg-type]
    return net


def _constant(value: float) -> Callable[[torch.Tensor], object]:
    return lambda weight: nn.init.constant_(weight, value)


def _repeated_rows() -> nn.Module:
    """A pretrained row tiled to a wider layer, and the head's columns with it."""
    net = mlp(64, 64, 64, 10)
    with torch.no_grad():
        net[2].weight.copy_(net[2].weight[:1].expand(64, 64))  # type: ignore[index]
        net[2].bias.fill_(0.1)  # type: ignore[union-attr]
        net[4].weight.copy_(net[4].weight[:, :1].expand(10, 64))  # type: ignore[index]
    return net


# -- SD303 -----------------------------------------------------------------------------------------


def _xavier(net: nn.Module) -> nn.Module:
    return drawn(net, nn.init.xavier_normal_)


_DIGITS, _IMAGES = samples.flat_digits(), samples.image_digits()

SICK: tuple[Entry, ...] = (
    _sick(
        "log of softmax",
        "SD101",
        LogOfSoftmax,
        samples.CLUSTERS,
        "log 0",
        loss=functional.nll_loss,
    ),
    _sick("blank images", "SD101", Standardised, _blank_images(), "0 / 0"),
    _sick("half precision", "SD101", HalfPrecision, samples.CLUSTERS, "more than 65,504"),
    _sick(
        "distance of nothing",
        "SD101",
        lambda: nn.Sequential(nn.Linear(32, 8, bias=False)),
        _points_at_zero(),
        "the slope of a square root at 0",
        loss=Objective(_distance),
        optimiser="adam",
    ),
    _sick("broken parameter", "SD101", _broken_parameter, _DIGITS, "a weight that is NaN"),
    _sick(
        "stacked sigmoids",
        ("SD201", "SD303"),
        lambda: mlp(64, *[64] * 7, 10, activation=nn.Sigmoid),
        _DIGITS,
        "each sigmoid multiplies the gradient by a quarter at most",
    ),
    _sick(
        "stacked sigmoids, well initialised",
        "SD201",
        lambda: drawn(mlp(64, *[64] * 11, 10, activation=nn.Sigmoid), normal(SIGMOID)),
        _DIGITS,
        "no scale of the weights keeps the gradient through a sigmoid",
    ),
    _sick(
        "functional sigmoids with adam",
        "SD201",
        lambda: drawn(Plain(64, *[64] * 17, 10, activation=torch.sigmoid), normal(SIGMOID)),
        _DIGITS,
        "deep enough for Adam too",
        optimiser="adam",
        lr=1e-3,
    ),
    _sick(
        "convolutions with sigmoids",
        "SD201",
        lambda: drawn(PlainConv(9, activation=torch.sigmoid), normal(SIGMOID)),
        _IMAGES,
        "the same in a convolutional net",
    ),
    _sick("damped gradients", "SD201", Damped, _DIGITS, "a tenth of the gradient in each layer"),
    _sick(
        "batch norm without skips, depth 60",
        "SD202",
        lambda: _batch_normed(60),
        _DIGITS,
        "batch norm before ReLU multiplies the gradient by 1.2 a layer (Yang et al. 2019)",
        lr=0.1,
    ),
    _sick(
        "sines",
        "SD202",
        lambda: Plain(64, *[64] * 6, 10, activation=_sine),
        _DIGITS,
        "a slope of 30 in each layer",
    ),
    _sick(
        "chaotic tanh, depth 30",
        ("SD202", "SD303"),
        lambda: drawn(mlp(64, *[64] * 29, 10, activation=nn.Tanh), normal(3.0)),
        _DIGITS,
        "weights in the chaotic phase",
    ),
    _sick(
        "dead layer",
        "SD203",
        lambda: _biased(mlp(32, 64, 64, 10), "2", -15.0),
        samples.CLUSTERS,
        "biases at -15",
    ),
    _sick(
        "dead functional layer",
        "SD203",
        lambda: _biased(Plain(64, 64, 64, 64, 10), "layers.1", -15.0),
        _DIGITS,
        "the same, and the rectifier is a function call",
        optimiser="adam",
    ),
    _sick(
        "dead convolution",
        "SD203",
        lambda: _biased(PlainConv(3, activation=lambda x: x.clamp(min=0)), "layers.1", -20.0),
        _IMAGES,
        "the same in a convolutional net, rectified by a clamp",
    ),
    _sick(
        "killed by the first steps",
        "SD203",
        lambda: mlp(32, 64, 10),
        _RAW_CLUSTERS,
        "inputs around 128: the first step puts every unit far below zero",
        lr=0.05,
        after=20,
    ),
    _sick("mostly dead", "SD203", _mostly_dead, _DIGITS, "one of 128 units is alive in each layer"),
    _sick("saturated by biases", "SD204", _random_biases, _DIGITS, "biases of +-12 before tanh"),
    _sick(
        "saturated by a factor",
        "SD204",
        lambda: drawn(Plain(64, *[64] * 8, 10, activation=_scaled_up(20.0)), normal(1.0)),
        _DIGITS,
        "tanh(20 x) in every layer",
    ),
    _sick(
        "saturated by weights",
        ("SD204", "SD303"),
        lambda: drawn(mlp(64, *[64] * 8, 10, activation=nn.Tanh), normal(30.0)),
        _DIGITS,
        "weights that are twenty times too large for tanh",
    ),
    _sick(
        "smoothed graph",
        "SD205",
        lambda: GraphConvolutions(samples.graph(), 24),
        [tuple(t[:128] for t in _DIGITS)],
        "averaging over neighbours makes all nodes alike (Oono and Suzuki 2020)",
    ),
    _sick(
        "drowned in a constant",
        "SD205",
        lambda: drawn(
            Plain(64, *[64] * 6, 10, activation=lambda x: torch.relu(x) + 1e8), normal(RELU)
        ),
        _DIGITS,
        "a constant beside which float32 cannot hold the signal",
    ),
    _sick(
        "residual net without norm, depth 60",
        "SD206",
        lambda: Residual(60),
        _DIGITS,
        "the variance grows by half in every block",
    ),
    _sick(
        "doubled skip",
        "SD206",
        lambda: Residual(16, last=0.1, stream=2.0),
        _DIGITS,
        "h + h + f(h)",
    ),
    _sick(
        "zero weights",
        "SD301",
        lambda: drawn(mlp(32, 64, 64, 10), nn.init.zeros_),
        samples.CLUSTERS,
        "nothing but the last bias ever moves",
        lr=0.1,
    ),
    _sick(
        "zero convolutions",
        "SD301",
        lambda: drawn(PlainConv(3), nn.init.zeros_),
        _IMAGES,
        "the same in a convolutional net",
        optimiser="adam",
        lr=1e-3,
    ),
    _sick("two zero layers", "SD301", _zero_hidden, _DIGITS, "each takes the other's gradient"),
    _sick(
        "constant weights",
        "SD302",
        lambda: drawn(mlp(64, 64, 64, 10, activation=nn.Tanh), _constant(0.05)),
        _DIGITS,
        "one unit, 64 times",
    ),
    _sick(
        "constant convolutions",
        "SD302",
        lambda: drawn(PlainConv(2), _constant(0.02), bias=0.1),
        _IMAGES,
        "the same in a convolutional net",
        optimiser="adam",
        lr=1e-3,
    ),
    _sick("repeated rows", "SD302", _repeated_rows, _DIGITS, "a layer widened by copying a row"),
    _sick(
        "default weights, depth 30",
        "SD303",
        lambda: Plain(64, *[128] * 29, 10),
        _DIGITS,
        "variance 1/(3 fan_in) where ReLU needs 2/fan_in",
        lr=0.001,
        momentum=0.9,
    ),
    _sick(
        "default weights, depth 30, adam",
        "SD303",
        lambda: mlp(64, *[64] * 29, 10),
        _DIGITS,
        "deep enough for Adam too",
        optimiser="adam",
        lr=1e-3,
    ),
    _sick(
        "default convolutions, depth 16",
        "SD303",
        lambda: PlainConv(16),
        _IMAGES,
        "the same in a convolutional net",
    ),
    _sick(
        "xavier before relu, depth 30",
        "SD303",
        lambda: _xavier(Plain(64, *[64] * 29, 10, activation=functional.relu)),
        _DIGITS,
        "half of the mean square is lost in each layer (He et al. 2015)",
    ),
    _sick(
        "tiny weights before tanh",
        "SD303",
        lambda: drawn(
            mlp(32, *[64] * 9, 10, activation=nn.Tanh), lambda w: nn.init.normal_(w, std=0.01)
        ),
        samples.CLUSTERS,
        "N(0, 0.01^2) in ten layers",
        lr=0.05,
    ),
    _sick(
        "unit normal weights",
        "SD303",
        lambda: drawn(PlainConv(4), nn.init.normal_),
        _IMAGES,
        "N(0, 1) whatever the width",
    ),
    _sick(
        "positive weights",
        "SD303",
        lambda: drawn(mlp(64, 64, 64, 64, 10), nn.init.uniform_),
        _DIGITS,
        "U(0, 1): the means add up",
        optimiser="adam",
    ),
)
