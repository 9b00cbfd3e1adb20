"""All about one point at once, on a saddle and a minimum whose numbers are known."""

import types

import numpy as np
import pytest
import torch
from torch import nn

from sounding.landscape import atlas as atlas_module
from sounding.landscape.atlas import Atlas, atlas
from sounding.script.landscape import landscape_target
from sounding.view.atlas import tiles

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


def test_its_tiles_say_where_the_point_is_and_where_the_way_ends(saddle):
    found, _ = saddle
    said = {tile.name: tile for tile in tiles(found.parts)}
    assert said["This point"].value == "strict saddle"
    assert "loss 4" in said["This point"].said
    assert said["Escaped"].value.startswith("4 → ")
    assert said["Loss"].value == "4"


def test_a_way_that_bends_spans_the_plane():
    """A way along the parabola (t, t^2) spans a plane, which holds it; a straight one does not."""
    t = np.linspace(-1, 1, 101)
    curved = types.SimpleNamespace(path=np.stack([t, t**2, 0 * t], axis=1))
    stops = atlas_module._stops(curved, "eigen")
    assert len(stops) == atlas_module.STOPS
    np.testing.assert_array_equal(stops[0], curved.path[0])
    np.testing.assert_array_equal(stops[-1], curved.path[-1])
    straight = types.SimpleNamespace(path=np.stack([t, 2 * t], axis=1))
    assert atlas_module._stops(straight, "eigen") == "eigen"
    assert atlas_module._stops(types.SimpleNamespace(path=None), "filter") == "filter"


def test_where_the_way_is_straight_the_plane_is_that_of_the_curvature(saddle):
    """The saddle of w v - 2 is left along w = v, so that its way spans a line."""
    found, _ = saddle
    assert found.surface.along == "eigen"
    assert found.surface.measured.all()
    way = found.escape.path - found.escape.path[0]
    np.testing.assert_allclose(np.abs(way[:, 0]), np.abs(way[:, 1]), atol=1e-6)


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
