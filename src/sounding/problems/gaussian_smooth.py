"""Two smooth units of the same Gaussian input: their mean product, E phi(w'x) phi(v'x).

With a = |w|^2, b = |v|^2 and c = w'v it has closed forms for the error function (Williams,
"Computing with Infinite Networks", NIPS 1996) and for GELU (by Gaussian integration by parts). For
any other phi it is a series in the cosine of the angle,

    sum_m h_m(|w|) h_m(|v|) cos^m t,    h_m(s) = E phi(s z) He_m(z) / sqrt(m!),

z standard normal and He_m Hermite's polynomials (Mehler 1866; Daniely, Frostig and Singer, "Toward
Deeper Understanding of Neural Networks", NIPS 2016), whose terms fall fast if phi is smooth.

Letters: n neurons (rows of W), k of the other layer (rows of V), d inputs, M terms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch

TERMS = 40  # of tanh, whose series is slow, 1e-8 is left at length 1 and 5e-5 at length 2
VANISHING = 1e-5  # a coefficient at length 1 that counts for nothing: it enters squared
REACH, STEP = 12.0, 1 / 8  # of the trapezoidal rule, which converges exponentially for smooth phi


def _squares(w: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The numbers a (..., n, 1), b (..., 1, k) and c (..., n, k)."""
    return w.square().sum(-1)[..., :, None], v.square().sum(-1)[..., None, :], w @ v.mT


def erf_products(w: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Of the error function: (..., n, d), (..., k, d) -> (..., n, k)."""
    a, b, c = _squares(w, v)
    return 2 / math.pi * torch.asin(2 * c / ((1 + 2 * a) * (1 + 2 * b)).sqrt())


def gelu_products(w: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Of GELU: (..., n, d), (..., k, d) -> (..., n, k)."""
    a, b, c = _squares(w, v)
    both = (1 + a) * (1 + b)
    angle = torch.asin(c / both.sqrt())
    rest = (a * b - c**2 + c**2 / (1 + a) + c**2 / (1 + b)) / (both - c**2).sqrt()
    return c / 4 + (c * angle + rest) / (2 * math.pi)


class Series:
    """The mean products of an activation by its series, and their slopes."""

    def __init__(self, phi: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.phi = phi
        self.nodes, self.basis = _rule()
        size = self.coefficients(torch.ones(1, dtype=torch.float64)).abs()
        # odd functions have odd terms alone, softplus is z/2 and an even function
        self.orders = tuple(int(m) for m in range(TERMS) if size[m, 0] > VANISHING)

    def coefficients(self, length: torch.Tensor) -> torch.Tensor:
        """h_m of neurons of these lengths: (..., n) -> (TERMS + 2, ..., n)."""
        nodes, basis = self.nodes.to(length), self.basis.to(length)
        return (self.phi(length[..., None] * nodes) @ basis).movedim(-1, 0).contiguous()

    def products(self, w: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """(..., n, d), (..., k, d) -> (..., n, k); no row may be zero."""
        a, b = w.norm(dim=-1), v.norm(dim=-1)
        h, g = self.coefficients(a), self.coefficients(b)
        cosine = (w / a[..., None]) @ (v / b[..., None]).mT
        total = torch.zeros_like(cosine)
        for m, _, power in self._powers(cosine):
            total = torch.addcmul(total, h[m, ..., :, None] * g[m, ..., None, :], power)
        return total

    def slopes(self, w: torch.Tensor, other: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
        """Slopes of sum_j signs_j E phi(w_i'x) phi(o_j'x) in w_i: (..., n, d) -> (..., n, d).

        `other` is (..., k, d). Of one pair the slope is K_s w/|w| + K_c (v/|v| - c w/|w|) / |w|,
        K_s and K_c being the slopes of the series in the length and in the cosine, where
        s h_m'(s) = sqrt((m + 1)(m + 2)) h_(m+2) + m h_m.
        """
        length, lengths = w.norm(dim=-1), other.norm(dim=-1)
        unit, units = w / length[..., None], other / lengths[..., None]
        own, signed = self.coefficients(length), self.coefficients(lengths) * signs
        cosine = unit @ units.mT  # (..., n, k)
        along = torch.zeros_like(length)  # |w| K_s, summed over j
        across = torch.zeros_like(cosine)  # K_c
        for m, before, power in self._powers(cosine):
            pull = before * signed[m, ..., None, :]
            across = torch.addcmul(across, m * own[m, ..., None], pull)
            rise = math.sqrt((m + 1) * (m + 2)) * own[m + 2] + m * own[m]
            along = along + rise * (power @ signed[m, ..., None])[..., 0]
        along = along - (across * cosine).sum(-1)
        return (along[..., None] * unit + across @ units) / length[..., None]

    def _powers(self, cosine: torch.Tensor) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """m, cos^(m - 1) and cos^m for every m of the series; at m = 0 both are 1."""
        before, power, at = torch.ones_like(cosine), torch.ones_like(cosine), 0
        for m in self.orders:
            while at < m:
                before, power, at = power, power * cosine, at + 1
            yield m, before, power


def _rule() -> tuple[torch.Tensor, torch.Tensor]:
    """(Q,) nodes, and (Q, TERMS + 2) what turns values of a function there into coefficients."""
    z = torch.arange(-REACH, REACH + STEP / 2, STEP, dtype=torch.float64)
    before, here = torch.zeros_like(z), STEP * torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    columns = [here]
    for m in range(TERMS + 1):  # He_(m+1) = z He_m - m He_(m-1), each divided by sqrt(m!)
        before, here = here, (z * here - math.sqrt(m) * before) / math.sqrt(m + 1)
        columns.append(here)
    return z, torch.stack(columns, dim=1)
