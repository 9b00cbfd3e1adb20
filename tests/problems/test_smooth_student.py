"""Smooth and leaky students: the series in the angle against closed forms and quadrature.

No other test would see a series cut off too early, coefficients of another normalisation, or a leak
that is weighed wrongly.
"""

import itertools
import math

import pytest
import torch

from sounding.problems import SMOOTH, SmoothStudentTeacher, StudentTeacher, descend
from sounding.problems.gaussian_smooth import Series
from sounding.problems.problem import Problem
from sounding.theory.activations import activation
from sounding.theory.gaussian import cross_moment


def williams(a, b):
    """E erf(a'x) erf(b'x) of rows, in closed form (Williams, NIPS 1996)."""
    lengths = [(1 + 2 * m.square().sum(1)).sqrt() for m in (a, b)]
    return 2 / math.pi * torch.asin(2 * a @ b.T / torch.outer(*lengths))


def by_quadrature(phi, a, b):
    """E phi(a'x) phi(b'x) of rows, by the theory's own two-dimensional rule."""
    found = torch.zeros(len(a), len(b), dtype=torch.float64)
    for i, j in itertools.product(range(len(a)), range(len(b))):
        q1, q2 = float(a[i] @ a[i]), float(b[j] @ b[j])
        c = min(1.0, float(a[i] @ b[j]) / math.sqrt(q1 * q2))
        found[i, j] = cross_moment(phi, q1, q2, c)
    return found


def loss_of(products, w, v):
    return float(products(w, w).sum() / 2 - products(w, v).sum() + products(v, v).sum() / 2)


@pytest.mark.parametrize(("length", "error"), [(0.5, 1e-12), (1.0, 1e-9), (1.5, 1e-5)])
def test_the_series_of_the_error_function_is_its_closed_form(length, error):
    """Its own series, which nothing uses: the closed form is the witness of all others."""
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    w *= length / w.norm(dim=1, keepdim=True)
    apart = Series(torch.erf).products(w, w) - williams(w, w)
    assert float(apart.abs().max()) < error


@pytest.mark.parametrize("name", [*SMOOTH, "leaky"])
def test_the_loss_is_that_of_quadrature(name):
    if name == "leaky":
        problem, phi = StudentTeacher(2, leak=0.1), activation("leaky_relu", slope=0.1)
    else:
        problem, phi = SmoothStudentTeacher(name, 2), activation(name)
    point = 0.8 * problem.starts(1, seed=1)
    v = torch.eye(2, dtype=torch.float64)
    want = loss_of(lambda a, b: by_quadrature(phi, a, b), point.view(2, 2), v)
    assert float(problem.losses(point).detach()) == pytest.approx(want, abs=3e-8)


@pytest.mark.parametrize("name", ["softplus", "gelu", "leaky"])
def test_gradient_and_hessian_in_closed_form_are_those_of_autograd(name):
    leaky = name == "leaky"
    problem = StudentTeacher(2, 3, leak=0.3) if leaky else SmoothStudentTeacher(name, 2)
    points = problem.starts(2, seed=1)
    gradients, hessians = Problem.gradients(problem, points), Problem.hessians(problem, points)
    assert torch.allclose(problem.gradients(points), gradients, rtol=0, atol=1e-10)
    assert torch.allclose(problem.hessians(points), hessians, rtol=0, atol=1e-9)


def test_students_of_a_smooth_activation_descend_to_the_teacher():
    problem = SmoothStudentTeacher("erf", 3)
    runs = descend(problem, problem.starts(8, seed=0), lr=0.2, stationary=1e-6, low=1e-6)
    assert runs.ended.all()
    assert runs.losses.max() < 1e-6
    early = descend(problem, problem.starts(8, seed=0), lr=0.2, low=1e-3)
    assert (early.steps < runs.steps).all()
    assert ((early.losses < 1e-3) & (early.losses > 1e-6)).all()


def test_wrong_arguments_are_answered_with_the_right_ones():
    with pytest.raises(ValueError, match="'relu'; there are softplus, gelu, tanh, erf"):
        SmoothStudentTeacher("relu")
    with pytest.raises(ValueError, match="both need at least one"):
        SmoothStudentTeacher("tanh", 0)
    with pytest.raises(ValueError, match="leak is 1"):
        StudentTeacher(3, leak=1.0)
