"""Products of slopes and weights against finite differences, which know nothing of either."""

import numpy as np
import pytest

from sounding.studies import study
from sounding.studies.claims import jacobian_product as product
from sounding.theory import activation


@pytest.mark.parametrize("phi", ["tanh", "relu"])
def test_the_reference_gradient_is_that_of_finite_differences(phi):
    known = activation(phi)
    weights, x = product._net(known, 2, 5, seed=0)

    def output(changed: list[np.ndarray]) -> float:
        h = x
        for weight in changed[:-1]:
            h = known.function(weight @ h)
        return float((changed[-1] @ h)[0])

    for n, gradient in enumerate(product._autograd(phi, weights, x)):
        moved = [[w.copy() for w in weights] for _ in range(2)]
        for sign, one in zip((1, -1), moved, strict=True):
            one[n][0, 1] += sign * 1e-6
        difference = (output(moved[0]) - output(moved[1])) / 2e-6
        assert gradient[0, 1] == pytest.approx(difference, rel=1e-6, abs=1e-9)


def test_a_wrong_factor_is_not_called_right(monkeypatch):
    outer = np.outer
    monkeypatch.setattr(product.np, "outer", lambda a, b: 2 * outer(a, b))
    assert product.layer_errors("tanh", 2, 6, 0)["right"] == pytest.approx(np.ones(3))


def test_the_study_is_supported_and_the_wrong_forms_fail():
    result = study("jacobian-product")
    assert [v.outcome for v in result.verdicts] == ["supported"] * 5
    errors = product.layer_errors("tanh", 3, 30, 1)
    assert errors["input as a product"][0] < 1e-12  # the first layer's input is x in both
    assert errors["input as a product"][1:].min() > 0.1
