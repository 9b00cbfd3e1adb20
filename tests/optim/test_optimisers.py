"""What all optimisers here promise, and the escape times that theory predicts."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import sounding as sd
from sounding.optim.perturbed import jin_constants

GAMMA = 0.5


def pitchfork(x):
    """x'Hx / 2 + x_1^4 / 4, H = diag(-1/2, 1, ..., 1): a saddle at 0, minima -1/16 at sqrt(1/2)."""
    return 0.5 * (x[1:].square().sum() - GAMMA * x[0] ** 2) + x[0] ** 4 / 4


def start(d=10):
    return nn.Parameter(torch.zeros(d, dtype=torch.float64))


def with_gradients(optimizer, x):
    def closure():
        optimizer.zero_grad()
        loss = pitchfork(x)
        loss.backward()
        return loss

    return closure


def closure_of(optimizer, x):
    if isinstance(optimizer, sd.optim.NegativeCurvature | sd.optim.CubicNewton):
        return lambda: pitchfork(x)
    return with_gradients(optimizer, x)


MAKE = {
    "perturbed": lambda p, seed=0: sd.optim.PerturbedSGD(p, lr=0.2, radius=1e-3, seed=seed),
    "noisy": lambda p, seed=0: sd.optim.NoisySGD(p, lr=0.1, noise=0.01, seed=seed),
    "negative curvature": lambda p, seed=0: sd.optim.NegativeCurvature(
        p, gradient_threshold=1e-6, seed=seed
    ),
    "cubic": lambda p, seed=0: sd.optim.CubicNewton(p, seed=seed),
}


@pytest.mark.parametrize("name", MAKE)
def test_each_leaves_the_saddle_at_which_plain_descent_stays(name):
    for seed in range(2):
        x = start()
        optimizer = MAKE[name]([x], seed)
        closure = closure_of(optimizer, x)
        for _ in range(300):
            optimizer.step(closure)
        assert abs(float(x.detach()[0].abs()) - 0.5**0.5) < 0.05
        assert float(pitchfork(x).detach()) == pytest.approx(-1 / 16, abs=1e-3)
    plain = start()
    sgd = torch.optim.SGD([plain], lr=0.2)
    for _ in range(300):
        sgd.step(with_gradients(sgd, plain))
    assert not plain.detach().any()


@pytest.mark.parametrize("name", MAKE)
def test_a_saved_state_goes_on_as_if_nothing_had_happened(name):
    x = start()
    optimizer = MAKE[name]([x])
    for _ in range(3):
        optimizer.step(closure_of(optimizer, x))
    state, where = copy.deepcopy(optimizer.state_dict()), x.detach().clone()
    for _ in range(4):
        optimizer.step(closure_of(optimizer, x))
    y = nn.Parameter(where)
    again = MAKE[name]([y], 99)
    again.load_state_dict(state)
    for _ in range(4):
        again.step(closure_of(again, y))
    torch.testing.assert_close(y, x, rtol=0, atol=0)
    assert (again.gradients, again.products) == (optimizer.gradients, optimizer.products)


@pytest.mark.parametrize("name", MAKE)
def test_a_state_that_was_saved_does_not_move_and_no_global_number_is_drawn(name):
    x = start()
    optimizer = MAKE[name]([x])
    optimizer.step(closure_of(optimizer, x))
    saved = optimizer.state_dict()
    before, random = copy.deepcopy(saved), torch.get_rng_state()
    for _ in range(3):
        optimizer.step(closure_of(optimizer, x))
    assert torch.equal(torch.get_rng_state(), random)
    assert before["state"]["run"]["steps"] == saved["state"]["run"]["steps"] == 1
    assert torch.equal(before["state"]["run"]["generator"], saved["state"]["run"]["generator"])


def test_groups_have_rates_of_their_own():
    a, b = (nn.Parameter(torch.ones(1, dtype=torch.float64)) for _ in range(2))
    optimizer = sd.optim.PerturbedSGD(
        [{"params": [a], "lr": 0.1}, {"params": [b], "lr": 0.3}], lr=1.0
    )
    (a + b).sum().backward()
    optimizer.step()
    assert (a.item(), b.item()) == (pytest.approx(0.9), pytest.approx(0.7))


@pytest.mark.parametrize("kind", [sd.optim.NegativeCurvature, sd.optim.CubicNewton])
def test_a_closure_that_made_the_backward_pass_is_told_so(kind):
    x = nn.Parameter(torch.ones(3))
    optimizer = kind([x])
    with pytest.raises(ValueError, match=r"take loss.backward\(\) out"):
        optimizer.step(with_gradients(optimizer, x))
    with pytest.raises(ValueError, match="needs a closure"):
        optimizer.step()


@pytest.mark.parametrize("number", [0.0, -1.0, math.nan, math.inf])
def test_wrong_numbers_are_refused(number):
    with pytest.raises(ValueError, match="must be positive"):
        sd.optim.PerturbedSGD([start()], lr=number)


# -- theory ---------------------------------------------------------------------------------


def test_the_constants_are_those_of_the_paper():
    """Algorithm 2 of Jin et al. 2017, computed by hand for one case."""
    found = jin_constants(ell=2.0, rho=4.0, eps=0.01, size=10, fall=0.5, delta=0.1, c=0.25)
    chi = 3 * math.log(10 * 2.0 * 0.5 / (0.25 * 1e-4 * 0.1))
    assert found["lr"] == 0.125
    assert found["radius"] == pytest.approx(0.5 / chi**2 * 0.01 / 2)
    assert found["gradient_threshold"] == pytest.approx(0.5 / chi**2 * 0.01)
    assert found["fall_threshold"] == pytest.approx(0.25 / chi**3 * math.sqrt(1e-6 / 4))
    assert found["interval"] == math.ceil(chi / 0.0625 * 2 / 0.2)


def test_with_the_theorems_constants_every_run_ends_at_a_minimum_with_its_certificate():
    for seed in range(20):
        x = start()
        optimizer = sd.optim.PerturbedSGD.theorem(
            [x], ell=1.0, rho=3.0, eps=0.05, fall=1 / 16, seed=seed
        )
        for _ in range(4000):
            optimizer.step(with_gradients(optimizer, x))
            if optimizer.finished:
                break
        assert optimizer.finished
        assert abs(float(x.detach()[0].abs()) - 0.5**0.5) < 1e-3


def steps_to_leave(radius, d=10, seed=0, lr=0.2):
    x = start(d)
    optimizer = sd.optim.PerturbedSGD([x], lr=lr, radius=radius, interval=10_000, seed=seed)
    for step in range(2000):
        optimizer.step(with_gradients(optimizer, x))
        if abs(float(x.detach()[0])) > 0.35:
            return step
    raise AssertionError("it did not leave")


def test_the_time_to_leave_grows_with_the_logarithm_of_the_radius_at_the_predicted_rate():
    radii = [1e-2, 1e-4, 1e-6, 1e-8]
    medians = [np.median([steps_to_leave(r, seed=s) for s in range(9)]) for r in radii]
    slope = np.polyfit(np.log(1 / np.array(radii)), medians, 1)[0]
    assert slope == pytest.approx(1 / math.log(1 + 0.2 * GAMMA), rel=0.05)


def test_the_time_to_leave_hardly_depends_on_the_dimension():
    """From d = 10 to 10,000 at one radius: a factor below 2."""
    few, many = (np.median([steps_to_leave(1e-3, d, s) for s in range(7)]) for d in (10, 10_000))
    assert few < many < 2 * few


def test_a_saddle_as_flat_as_two_to_the_minus_k_takes_descent_two_to_the_k_steps():
    """Strictness at every point gives no rate: steps double with k; Newton's cubic ones do not."""

    def bent(x, k):
        return 0.5 * x[1] ** 2 - 0.5 * 2.0**-k * x[0] ** 2 + x[0] ** 4 / 4

    def steps(make, k, closed):
        x = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        optimizer = make(x)

        def closure():
            optimizer.zero_grad()
            loss = bent(x, k)
            if closed:
                loss.backward()
            return loss

        for step in range(3_000):
            if abs(float(x.detach()[0])) > 0.5 * 2 ** (-k / 2):
                return step
            optimizer.step(closure)
        raise AssertionError("it did not leave")

    def perturbed(x):
        return sd.optim.PerturbedSGD([x], lr=0.5, radius=1e-6, interval=100_000)

    first = [steps(perturbed, k, True) for k in (3, 5, 7)]
    # log(2^(-k/2) / r) / log(1 + lr 2^-k): four times as many, less a little, with each k + 2
    assert 3.3 < first[1] / first[0] < 4.2
    assert 3.3 < first[2] / first[1] < 4.2

    def cubic(x):
        return sd.optim.CubicNewton([x], gradient_threshold=1e-9)

    newton = [steps(cubic, k, False) for k in (4, 8)]

    def curved(x):
        return sd.optim.NegativeCurvature([x], gradient_threshold=1e-6)

    newton += [steps(curved, k, False) for k in (4, 8)]
    assert max(newton) <= 12
