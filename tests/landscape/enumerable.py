"""Problems all of whose critical points are known, with random ones of them.

Symmetric and asymmetric matrix factorisation, and linear nets of depth 2 and 3 (Baldi & Hornik
1989; Achour, Malgouyres & Gerchinovitz 2024, for which saddles of depth 3 are strict).
"""

import itertools

import numpy as np
import torch
from torch import nn


class Factors(nn.Module):
    """1/2 ||W_N ... W_1 X - Y||^2; at depth 2 with X = 1 asymmetric factorisation."""

    def __init__(self, factors, x, y):
        super().__init__()
        self.factors = nn.ParameterList([torch.tensor(w) for w in factors])
        self.x, self.y = torch.tensor(x), torch.tensor(y)

    def forward(self):
        product = self.x
        for w in self.factors:
            product = w @ product
        return 0.5 * (product - self.y).square().sum()


class Symmetric(nn.Module):
    """1/4 ||U U' - M||^2."""

    def __init__(self, u, m):
        super().__init__()
        self.u, self.m = nn.Parameter(torch.tensor(u)), torch.tensor(m)

    def forward(self):
        return 0.25 * (self.u @ self.u.T - self.m).square().sum()


def orthogonal(rng, n):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def spaced(rng, n):
    """n decreasing positive numbers, each well apart from the next."""
    return np.cumsum(rng.uniform(0.4, 1.5, n))[::-1].copy()


def symmetric_point(rng):
    n = int(rng.integers(2, 5))
    r = int(rng.integers(1, n + 1))
    s, q = spaced(rng, n), orthogonal(rng, n)
    kept = np.sort(rng.permutation(n)[: rng.integers(0, r + 1)])
    u = np.zeros((n, r))
    u[:, : len(kept)] = q[:, kept] * np.sqrt(s[kept])
    unused = np.setdiff1d(np.arange(n), kept)
    best = len(kept) == r and list(kept) == list(range(r))
    least = 0.0
    if len(unused) and len(kept) < r:
        least = -s[unused[0]]
    if len(unused) and len(kept):
        least = min(least, s[kept[-1]] - s[unused[0]])
    kind = "strict saddle" if not best else ("strict minimum" if r == 1 else "degenerate")
    kind = kind if len(kept) else "maximum"  # at 0 the Hessian is -M
    least = None if best else least
    return Symmetric(u @ orthogonal(rng, r), q @ np.diag(s) @ q.T), kind, least


def linear_point(rng):
    depth = int(rng.integers(2, 4))
    d_x, d_y = int(rng.integers(2, 5)), int(rng.integers(2, 4))
    d_x = max(d_x, d_y)
    widths = rng.integers(1, d_y + 1, size=depth - 1)
    x = rng.standard_normal((d_x, 12))
    s_xx = x @ x.T
    left, right = orthogonal(rng, d_y), orthogonal(rng, d_x)[:d_y]
    root = np.linalg.cholesky(s_xx)
    y = left @ np.diag(np.sqrt(spaced(rng, d_y))) @ right @ np.linalg.solve(root, x)
    s_yx = y @ x.T
    most = int(min(*widths, d_y))
    chosen = np.sort(rng.permutation(d_y)[: rng.integers(0, most + 1)])
    r = len(chosen)
    factors = [np.zeros((widths[0], d_x))]
    factors += [np.zeros((b, a)) for a, b in itertools.pairwise(widths)]
    factors += [np.zeros((d_y, widths[-1]))]
    factors[0][:r] = left[:, chosen].T @ s_yx @ np.linalg.inv(s_xx)
    factors[-1][:, :r] = left[:, chosen]
    tight = True
    if depth == 3:
        factors[1][:r, :r] = np.eye(r)
        rest = factors[1][r:, r:]
        if rest.size and rng.random() < 0.5:
            rest[:] = rng.standard_normal(rest.shape)
            tight = False
    for i in range(depth - 1):  # the same product, other factors
        turn = orthogonal(rng, widths[i])
        factors[i], factors[i + 1] = turn @ factors[i], factors[i + 1] @ turn.T
    return Factors(factors, x, y), _linear_kind(depth, r, most, chosen, tight), None


def _linear_kind(depth, r, most, chosen, tight):
    top = list(chosen) == list(range(r))
    if r == most and top:
        return "degenerate"  # a global minimum; products of factors have flat directions
    return "non-strict saddle" if depth == 3 and top and tight else "strict saddle"


def points(count, seed):
    """`count` critical points: (model, kind, smallest eigenvalue or None)."""
    rng = np.random.default_rng(seed)
    for at in range(count):
        yield symmetric_point(rng) if at % 3 == 0 else linear_point(rng)
