"""All about one point at once, on a saddle and a minimum whose numbers are known."""

import numpy as np
import pytest
import torch
from torch import nn

from sounding.landscape.atlas import Atlas, atlas
from sounding.script.landscape import landscape_target

X, Y = torch.ones(1, 1, dtype=torch.float64), torch.full((1, 1), 2.0, dtype=torch.float64)


class Chain(nn.Module):
    """y = w v x: at 0 the Hessian of (w v - 2)^2 is [[0, -4], [-4, 0]]."""

    def __init__(self, w, v):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(float(w), dtype=torch.float64))
        self.v = nn.Parameter(torch.tensor(float(v), dtype=torch.float64))

    def forward(self, x):
        return self.w * self.v * x


@pytest.fixture(scope="module")
def saddle():
    net = Chain(0, 0)
    return atlas(net, nn.functional.mse_loss, (X, Y), escaping=True, points=7), net


def test_a_saddle_is_named_and_left(saddle):
    found, net = saddle
    assert found.point.kind == "strict saddle"
    assert found.point.smallest == pytest.approx(-4, abs=1e-6)
    assert found.spectrum.largest.values[0] == pytest.approx(4, abs=1e-3)
    assert found.escape.escaped
    assert found.escape.loss == pytest.approx(0, abs=1e-9)
    assert net.w.item() == net.v.item() == 0


def test_the_plane_is_that_of_the_way_and_holds_its_ends(saddle):
    found, _ = saddle
    assert found.surface.measured.all()
    if found.surface.along == "trajectory":
        first, last = found.surface.trajectory[[0, -1]]
        ends = found.escape.path[[0, -1]]
        assert np.linalg.norm(first - last) <= np.linalg.norm(ends[0] - ends[1]) + 1e-9


def test_it_is_saved_and_read(saddle, tmp_path):
    from sounding import load

    found, _ = saddle
    read = load(found.save(tmp_path / "atlas.json"))
    assert isinstance(read, Atlas)
    assert read.point.kind == "strict saddle"
    assert read.to_dict() == found.to_dict()


def test_a_minimum_has_no_way_off():
    found = atlas(Chain(1, 2), nn.functional.mse_loss, (X, Y), points=3)
    assert found.escape is None
    assert found.point.kind == "degenerate"  # w v = 2 is a curve of minima
    assert found.point.largest == pytest.approx(2 * (1 + 4), rel=1e-6)


def test_the_command_draws_one_plane_of_one_point(tmp_path):
    case = tmp_path / "case.py"
    case.write_text(
        "import torch, sounding as sd\nfrom torch import nn\n"
        "x = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))\n"
        "case = sd.Case(lambda: nn.Linear(2, 1), nn.functional.mse_loss, (x, x[:, :1]),"
        " sd.Recipe(lr=0.1))\n"
    )
    found = landscape_target(str(case), whole=True, points=3)
    assert isinstance(found, Atlas)
    with pytest.raises(ValueError, match="of one point"):
        landscape_target(str(case), escape=True, along="path", to=["a"])
    with pytest.raises(ValueError, match="leave out --dims"):
        landscape_target(str(case), escape=True, dims=1)
