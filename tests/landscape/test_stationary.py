"""Kinds of stationary points against answers known in closed form."""

import numpy as np
import pytest
import torch
from torch import nn

import sounding as sd


class Plane(nn.Module):
    """A function of two numbers, as a model whose forward pass is the loss."""

    def __init__(self, function, start, dtype=torch.float64):
        super().__init__()
        self.function = function
        self.x = nn.Parameter(torch.tensor(start, dtype=dtype))

    def forward(self):
        return self.function(*self.x)


SADDLE, LEVEL = "non-strict saddle", "degenerate"
TEXTBOOK = {
    "hyperbolic saddle": (lambda x, y: x**2 - y**2, "strict saddle", 1),
    "product": (lambda x, y: x * y, "strict saddle", 1),
    "bowl": (lambda x, y: x**2 + 3 * y**2, "strict minimum", 0),
    "dome": (lambda x, y: -(x**2) - y**2, "maximum", 2),
    "cubic": (lambda x, y: x**3 + y**2, SADDLE, 0),
    "monkey saddle": (lambda x, y: x**3 - 3 * x * y**2, SADDLE, 0),
    "quartic bowl": (lambda x, y: x**4 + y**4, LEVEL, 0),
    "half-quartic bowl": (lambda x, y: x**2 + y**4, LEVEL, 0),
    "quartic saddle": (lambda x, y: x**2 - y**4, SADDLE, 0),
    "quintic": (lambda x, y: x**5 + y**2, SADDLE, 0),
    "sextic saddle": (lambda x, y: y**2 - x**6, SADDLE, 0),
    "quartic dome": (lambda x, y: -(x**4) - y**4, "maximum", 0),
    "half-quartic dome": (lambda x, y: -(x**2) - y**4, "maximum", 1),
    "falls, and rises along a flat direction": (lambda x, y: y**4 - x**2, "strict saddle", 1),
    "constant": (lambda x, y: 0 * x * y + 3, LEVEL, 0),
    # Rises along every straight line through 0, falls along y = x^2.
    "curved saddle": (lambda x, y: y**2 - 2 * x**2 * y + x**4 / 2, SADDLE, 0),
    "curved bowl": (lambda x, y: y**2 - 2 * x**2 * y + 2 * x**4, LEVEL, 0),
    # min over x is -y^6 / 4
    "hidden sextic": (lambda x, y: x**2 + x * y**3, SADDLE, 0),
}


@pytest.mark.parametrize("scale", [1.0, 1e-5, 1e4])
@pytest.mark.parametrize("name", TEXTBOOK)
def test_textbook_points_are_right_at_the_point_and_found_from_nearby(name, scale):
    function, kind, index = TEXTBOOK[name]

    def scaled(x, y):
        return scale * function(x, y)

    at = sd.stationary(Plane(scaled, [0.0, 0.0]), search=False)
    assert (at.kind, at.index) == (kind, index)
    if name != "constant":
        found = sd.stationary(Plane(scaled, [0.3, 0.2]))
        assert (found.kind, found.index) == (kind, index)
        assert np.abs(found.parameters["x"]).max() < 1e-3
