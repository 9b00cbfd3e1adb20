"""Remedies do what they say: variances against He's formula, LSUV's unit variance, code that runs.

The oracle is the sampling error of a variance, sqrt(2 / n) of it for n normal entries.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sounding.checkup import checkup
from sounding.remedies import Remedy, apply, code, treat
from sounding.result import NotApplicable
from sounding.train import Case, Recipe

LOSS = nn.functional.cross_entropy


class Residual(nn.Module):
    """Functional activations, a residual branch with a zero end, an embedding, a tied layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(16, 64)
        self.up = nn.Linear(64, 128)
        self.down = nn.Linear(128, 64)
        self.head = nn.Linear(64, 4)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = x + self.down(torch.tanh(self.up(x)))
        return self.head(x)


def deep(depth: int = 12) -> nn.Sequential:
    layers = [m for _ in range(depth) for m in (nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(64, 4))


def remedy(name: str, touches: str = "weights", **arguments: str) -> Remedy:
    return Remedy(name=name, arguments=dict(arguments), touches=touches)


def agrees(weight: torch.Tensor, variance: float) -> None:
    """Within four standard errors."""
    error = variance * math.sqrt(2 / weight.numel())
    assert abs(float(weight.detach().var()) - variance) < 4 * error


def test_the_gain_is_that_of_the_activation_in_the_executed_graph() -> None:
    torch.manual_seed(0)
    net, x = Residual(), torch.randn(32, 16)
    treat(remedy("reinitialise", scheme="kaiming"), net, lambda: net(x))
    agrees(net.stem.weight, 2 / 16)
    agrees(net.up.weight, 1.5925374**2 / 64)  # tanh, by quadrature: claims C3
    agrees(net.head.weight, 1 / 64)
    assert not net.down.weight.any()  # the zero end of a branch is there on purpose
    assert not net.stem.bias.any()


@pytest.mark.parametrize(
    ("scheme", "variance"),
    [("kaiming", 2 / 64), ("xavier", 1 / 64), ("lecun", 1 / 64), ("kaiming_fan_out", 2 / 64)],
)
def test_schemes_have_their_variance(scheme: str, variance: float) -> None:
    torch.manual_seed(1)
    net, x = deep(), torch.randn(32, 64)
    treat(remedy("reinitialise", scheme=scheme), net, lambda: net(x))
    agrees(net[4].weight, variance)


def test_orthogonal_weights_are_orthogonal_times_the_gain() -> None:
    net, x = deep(), torch.randn(32, 64)
    treat(remedy("reinitialise", scheme="orthogonal"), net, lambda: net(x))
    product = net[4].weight @ net[4].weight.T
    torch.testing.assert_close(product, 2 * torch.eye(64), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_data_driven_init_gives_every_layer_unit_variance(activation: type[nn.Module]) -> None:
    """Mishkin and Matas 2016; claims D5 asks for 1 +- 0.1."""
    torch.manual_seed(2)
    layers = [m for _ in range(10) for m in (nn.Linear(64, 64), activation())]
    net, x = nn.Sequential(*layers, nn.Linear(64, 4)), torch.randn(128, 64)
    treat(remedy("data_driven_init"), net, lambda: net(x))
    for layer in net:
        x = layer(x)
        if isinstance(layer, nn.Linear):
            assert abs(float(x.detach().var()) - 1) < 0.1


def test_a_norm_goes_behind_each_layer_once() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Flatten(), nn.Linear(128, 4),
    )  # fmt: skip
    x = torch.randn(4, 3, 8, 8)
    before = net(x).shape
    treat(remedy("insert_norm", "architecture", kind="batch"), net, lambda: net(x))
    assert sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) == 2
    assert isinstance(net[0][1], nn.BatchNorm2d)
    assert net(x).shape == before


def test_activations_between_layers_change_and_the_output_stays() -> None:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(64, 64), nn.Sigmoid(), nn.Linear(64, 4), nn.Sigmoid())
    x = torch.randn(32, 64)
    treat(remedy("change_activation", "architecture", to="relu"), net, lambda: net(x))
    assert [type(m) for m in net] == [nn.Linear, nn.ReLU, nn.Linear, nn.Sigmoid]
    agrees(net[0].weight, 2 / 64)


def test_functional_activations_are_left_to_the_code() -> None:
    net, x = Residual(), torch.randn(32, 16)
    with pytest.raises(NotApplicable, match="functional"):
        treat(remedy("change_activation", "architecture"), net, lambda: net(x))


def test_unknown_names_and_arguments_are_named() -> None:
    net, x = deep(), torch.randn(32, 64)
    with pytest.raises(ValueError, match="did you mean reinitialise"):
        treat(remedy("reinitialize"), net, lambda: net(x))
    with pytest.raises(ValueError, match="no argument 'shceme'"):
        treat(remedy("reinitialise", shceme="kaiming"), net, lambda: net(x))
    with pytest.raises(ValueError, match="no scheme is called 'best'"):
        treat(remedy("reinitialise", scheme="best"), net, lambda: net(x))


def test_a_case_is_copied_and_random_numbers_are_given_back() -> None:
    x, y = torch.randn(64, 64), torch.randint(0, 4, (64,))
    case = Case(deep, LOSS, (x, y), Recipe(lr=0.1, batch_size=32))
    state = torch.get_rng_state()
    treated = apply(remedy("reinitialise", scheme="kaiming"), case)
    assert torch.equal(torch.get_rng_state(), state)
    agrees(treated.build()[4].weight, 2 / 64)
    agrees(case.build()[4].weight, 1 / (3 * 64))


@pytest.mark.parametrize("scheme", ["kaiming", "xavier", "orthogonal", "lecun"])
def test_the_code_to_paste_does_the_same(scheme: str) -> None:
    torch.manual_seed(4)
    batch = torch.randn(64, 64), torch.randint(0, 4, (64,))
    model = deep()
    exam = checkup(model, LOSS, batch)
    exec(
        code(remedy("reinitialise", scheme=scheme), exam.readings),
        {"torch": torch, "nn": nn, "model": model},
    )
    twin = deep()
    treat(remedy("reinitialise", scheme=scheme), twin, lambda: twin(batch[0]))
    for pasted, treated in zip(model, twin, strict=True):
        if isinstance(pasted, nn.Linear):
            size = float(treated.weight.detach().norm())
            assert float(pasted.weight.detach().norm()) == pytest.approx(size, rel=0.15)
            assert not pasted.bias.any()


def test_the_code_of_the_other_remedies_runs() -> None:
    batch = torch.randn(64, 64), torch.randint(0, 4, (64,))
    for one, kind in (
        (remedy("insert_norm", "architecture", kind="batch"), nn.BatchNorm1d),
        (remedy("change_activation", "architecture", to="gelu"), nn.GELU),
    ):
        model = deep(3)
        exam = checkup(model, LOSS, batch)
        exec(code(one, exam.readings), {"torch": torch, "nn": nn, "model": model})
        assert sum(isinstance(m, kind) for m in model.modules()) == 3
        assert model(batch[0]).shape == (64, 4)
