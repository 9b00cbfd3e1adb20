"""A rectifier network that learns a rectifier network, on Gaussian inputs, in closed form.

F(W) = 1/2 E (sum_i relu(w_i'x) - sum_j relu(v_j'x))^2 with x ~ N(0, I). Safran and Shamir,
"Spurious Local Minima are Common in Two-Layer ReLU Neural Networks", ICML 2018, found by descent
and proved that with orthonormal teachers and n = k >= 6 there are bad minima, more often reached
the larger k is.

Letters: n neurons of the student (rows of W), k of the teacher (rows of V), d inputs, B points.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import leaky_relu

from sounding.objective import Batch
from sounding.problems.gaussian_relu import (
    cross_unit_curvature,
    mean_products,
    same_unit_curvature,
)
from sounding.problems.known import DEGENERATE, Known, from_spectrum
from sounding.problems.problem import Problem

# (a, b, c, d, e) of the bad minimum at k = 6, to start Newton from; good to six digits
_FAMILY = (6, (0.986704, -0.050413, 0.308011, 0.224516, -0.601512))


class StudentTeacher(Problem):
    """F(W) for a teacher with `k` orthonormal rows, or any other, and a student with `n`.

    A batch is a tensor of inputs (N, d), on which the loss is the sample mean; without one it is
    the expectation. F is twice differentiable wherever no neuron is zero.

    With a `leak` a the rectifiers are leaky: max(z, 0) + a min(z, 0) = a z + (1 - a) relu(z), whose
    loss is (1 - a)^2 F(W) + a/2 |sum_i w_i - sum_j v_j|^2, since E (w'x) relu(v'x) = w'v / 2.
    """

    W: nn.Parameter
    teacher: torch.Tensor
    minimum = 0.0

    def __init__(
        self, k: int = 10, n: int | None = None, *, teacher: Any = None, leak: float = 0.0
    ) -> None:
        """`teacher` is (k, d), instead of the identity; the student starts at its first n rows."""
        rows = np.eye(k) if teacher is None else np.asarray(teacher, dtype=np.float64)
        n = len(rows) if n is None else n
        if n < 1 or not np.linalg.norm(rows, axis=1).all():
            raise ValueError("a student needs a neuron at least, and no teacher's row may be zero")
        if not 0 <= leak < 1:
            raise ValueError(f"leak is {leak}; it must be at least 0 and below 1")
        super().__init__({"W": np.resize(rows, (n, rows.shape[1]))})
        self.register_buffer("teacher", torch.tensor(rows))
        self.orthonormal = bool(np.allclose(rows @ rows.T, np.eye(len(rows)), atol=1e-14))
        self.spread, self.leak = 1 / math.sqrt(rows.shape[1]), leak

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The loss of W (..., n, d)."""
        (w,) = parameters
        if batch is not None:
            student = leaky_relu(torch.einsum("xd,...nd->...xn", batch, w), self.leak).sum(-1)
            taught = leaky_relu(batch @ self.teacher.mT, self.leak).sum(-1)
            return (student - taught).square().mean(-1) / 2
        own = mean_products(w, w).sum((-2, -1)) / 2
        target = mean_products(self.teacher, self.teacher).sum() / 2
        rectified = own - mean_products(w, self.teacher).sum((-2, -1)) + target
        if not self.leak:
            return rectified
        return (1 - self.leak) ** 2 * rectified + self.leak / 2 * self._apart(w).square().sum(-1)

    def _apart(self, w: torch.Tensor) -> torch.Tensor:
        """(..., n, d) -> (..., d): how far the sums of the two layers' rows are apart."""
        return w.sum(-2) - self.teacher.sum(0)

    def gradients(self, points: Any, batch: Batch = None) -> torch.Tensor:
        """(B, n d), in closed form without a batch; a tenth of autograd's time."""
        if batch is not None:
            return super().gradients(points, batch)
        (w,) = self.layout.split(self._rows(points).detach())
        found = fast_gradients(w, self.teacher)
        if self.leak:
            found = (1 - self.leak) ** 2 * found + self.leak * self._apart(w)[..., None, :]
        return found.flatten(1)

    def hessians(self, points: Any, batch: Batch = None) -> torch.Tensor:
        """(B, n d, n d), in closed form without a batch."""
        if batch is not None:
            return super().hessians(points, batch)
        (w,) = self.layout.split(self._rows(points).detach())
        n, d = w.shape[-2:]
        found = cross_unit_curvature(w)
        eye = torch.eye(d, dtype=w.dtype, device=w.device)
        diagonal = eye / 2 + same_unit_curvature(w, w) - same_unit_curvature(w, self.teacher)
        found[:, range(n), range(n)] = diagonal
        if self.leak:
            found = (1 - self.leak) ** 2 * found + self.leak * eye
        return found.transpose(2, 3).reshape(len(w), n * d, n * d)

    def sample(self, count: int, *, seed: int = 0) -> torch.Tensor:
        """(count, d) standard normal inputs."""
        generator = torch.Generator().manual_seed(seed)
        like = self.teacher
        shape = (count, like.shape[1])
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(like)

    def critical_points(self) -> tuple[Known, ...]:
        """The global minimum, and for orthonormal square ReLU problems the bad minimum's family."""
        k, n = len(self.teacher), len(self.W)
        if not self.orthonormal or n < k:
            return ()
        found = [self._global(k, n)]
        if n == k == self.teacher.shape[1] and k >= 4 and not self.leak:
            found.append(self._family(k))
        return tuple(found)

    def _global(self, k: int, n: int) -> Known:
        """The teacher; a student with more neurons splits its last row into equal parts."""
        w = self.teacher.cpu().numpy()
        w = np.concatenate([w[:-1], np.repeat(w[-1:], n - k + 1, axis=0) / (n - k + 1)])
        eigenvalues = torch.linalg.eigvalsh(self.hessians(w.reshape(1, -1))[0]).cpu()
        return from_spectrum("teacher", w, 0.0, eigenvalues, minimum=0.0, flat=DEGENERATE)

    def _family(self, k: int) -> Known:
        w = spurious_minimum(k) @ self.teacher.cpu().numpy()
        point = torch.as_tensor(w.reshape(1, -1))
        eigenvalues = torch.linalg.eigvalsh(self.hessians(point)[0]).cpu()
        value = float(self.losses(point).detach())
        return from_spectrum("one neuron astray", w, value, eigenvalues, minimum=0.0)

    def _moved(self, known: Known, rng: np.random.Generator) -> Known:
        """Neurons in another order; coordinates too where the teacher is the identity."""
        w = known.parameters.reshape(len(self.W), -1)[rng.permutation(len(self.W))]
        if torch.equal(self.teacher, torch.eye(len(self.teacher)).to(self.teacher)):
            w = w[:, rng.permutation(w.shape[1])]
        return known.moved(w.reshape(-1))


def fast_gradients(w: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The gradient of F at many students at once: (B, n, d) -> (B, n, d).

    From the cosines by one product of matrices and one arc cosine a pair. Rounding of the angle is
    1e-16 / t: where a student is within 1e-6 of a row of the teacher the gradient is off by 1e-10.
    """
    n = w.shape[-2]
    other = torch.cat([w, teacher.expand(len(w), -1, -1)], dim=1)  # (B, n + k, d)
    lengths = other.norm(dim=-1)
    lengths[:, n:].neg_()  # the teacher's terms are subtracted
    signed = torch.cat([w, -other[:, n:]], dim=1)
    cosines = (w / lengths[:, :n, None]) @ (other / lengths.abs()[..., None]).mT
    own = torch.arange(n, device=w.device)
    cosines[:, own, own] = 1.0
    cosines.clamp_(-1, 1)
    weights = math.pi - torch.acos(cosines)
    sines = (1 - cosines.square_()).sqrt_()  # overwrites: cosines are not needed again
    pull = (sines @ lengths[..., None]) / lengths[:, :n, None]
    return (pull * w + weights @ signed) / (2 * math.pi)


@functools.cache
def spurious_minimum(k: int) -> np.ndarray:
    """(k, k) the most frequent bad minimum: rows (b, .., a, .., b, c), the last (d, .., d, e).

    Solved by Newton in these five numbers, from the solution at the neighbouring k. A stationary
    point for every k from 4; a minimum from 6 on (Arjevani and Field, "Analytic Study of Families
    of Spurious Minima in Two-Layer ReLU Neural Networks", NeurIPS 2021).

    Raises:
        ValueError: If k is below 4, or Newton does not converge.
    """
    if k < 4:
        raise ValueError(f"the family of bad minima begins at k = 4, not at {k}")
    reference, start = _FAMILY
    if k == reference:
        five = np.array(start)
    else:
        near = spurious_minimum(k - 1 if k > reference else k + 1)
        five = np.array([near[0, 0], near[0, 1], near[0, -1], near[-1, 0], near[-1, -1]])
    embed, problem = _embedding(k), StudentTeacher(k)
    slope = np.full(5, math.inf)
    for _ in range(50):
        point = torch.from_numpy(embed @ five)
        slope = embed.T @ problem.gradients(point)[0].numpy()
        step = np.linalg.solve(embed.T @ problem.hessians(point)[0].numpy() @ embed, slope)
        five = five - step
        if np.abs(step).max() < 1e-14:
            break
    if np.abs(slope).max() > 1e-12:
        raise ValueError(f"Newton did not find the bad minimum of k = {k}: {slope}")
    return (embed @ five).reshape(k, k)


def _embedding(k: int) -> np.ndarray:
    """(k^2, 5) the linear map of (a, b, c, d, e) to W."""
    maps = np.zeros((5, k, k))
    inner = slice(0, k - 1)
    maps[0, inner, inner] = np.eye(k - 1)
    maps[1, inner, inner] = 1 - np.eye(k - 1)
    maps[2, inner, -1] = maps[3, -1, inner] = maps[4, -1, -1] = 1
    return maps.reshape(5, -1).T
