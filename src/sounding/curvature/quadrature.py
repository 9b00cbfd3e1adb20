"""The distribution of eigenvalues behind a tridiagonal matrix: better than its Gauss quadrature.

m Lanczos steps fix 2 m moments of a distribution. The Gauss quadrature is the one with these
moments that has m points, a staircase; what a matrix with many eigenvalues has is smooth, with a
few isolated points far out and often a heap at zero. Three steps lead there:

1. *What lies beyond is averaged over.* The chain's next links shift T's last diagonal entry; spread
   as a Cauchy variable of scale beta_m, that shift gives the smooth density with the same moments
   1 / (pi beta_m (p_m^2 + p_{m-1}^2)), p_k the orthonormal polynomials. Eigenvalues that have
   converged stay points, since they hardly feel T's end. B. Simon (2011), Szego's Theorem and Its
   Descendants, section 2.
2. *Several orders are averaged*, from m/2 to m, the later with more weight: what ripples are left
   have another phase in each.
3. *A heap that is much narrower than the resolution is taken out first*, and put back as a point:
   at a point of mass M the Christoffel function 1 / sum_{k<m} p_k^2 tends to M, elsewhere to zero
   as 1/m. P. Nevai (1986), "Geza Freud, orthogonal polynomials and Christoffel functions".

Letters: m steps, N points of a distribution.
"""

from __future__ import annotations

import dataclasses

import numpy as np

SHIFTS = 9  # quantiles of the Cauchy variable; more change the distances below by a tenth
HEAP = 0.05  # of the whole: smaller heaps are not looked for
# Times what a heap lost between m/2 and m steps is taken off it. Over ten spectra 1 makes heaps of
# narrow smooth peaks (three times the distance), 6 overlooks true ones (twice); 3 is between.
DECLINE = 3.0


@dataclasses.dataclass(frozen=True)
class Points:
    """A distribution: sorted places and their weights, which sum to one."""

    places: np.ndarray  # (N,)
    weights: np.ndarray  # (N,)

    @classmethod
    def mixed(cls, parts: list[tuple[np.ndarray, np.ndarray]]) -> Points:
        """From several (places, weights), normalised together."""
        places = np.concatenate([p for p, _ in parts])
        weights = np.concatenate([w for _, w in parts])
        order = np.argsort(places, kind="stable")
        return cls(places[order], weights[order] / weights.sum())

    @property
    def spread(self) -> float:
        """Standard deviation."""
        mean = self.weights @ self.places
        return float(self.weights @ (self.places - mean) ** 2) ** 0.5


def gauss(diagonal: np.ndarray, beside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(m,) nodes and (m,) weights of T; only the first m - 1 of `beside` count."""
    values, first, _ = _solved(diagonal, beside)
    return values, first**2


def distribution(diagonal: np.ndarray, beside: np.ndarray) -> Points:
    """The smooth distribution with isolated points that has the moments of T.

    Args:
        diagonal: (m,) of T.
        beside: (m,) off the diagonal; the last one couples to what lies beyond, 0 if nothing does.
    """
    if beside[-1] == 0.0:
        return Points.mixed([gauss(diagonal, beside)])
    place, mass = heap(diagonal, beside)
    if mass > 0:
        rest = _without(diagonal, beside, place, mass)
        if rest is not None:
            points = [(p, w * (1 - mass)) for p, w in _averaged(*rest)]
            return Points.mixed([*points, (np.array([place]), np.array([mass]))])
    return Points.mixed(_averaged(diagonal, beside))


def heap(diagonal: np.ndarray, beside: np.ndarray) -> tuple[float, float]:
    """Place and mass of the largest heap that the steps cannot resolve; mass 0 if there is none.

    The Christoffel function at the place is mass + c/m beside a heap; two orders give the mass.
    What the mass so found still lost between m/2 and m steps is taken off DECLINE times: where a
    narrow but smooth peak begins to be resolved, nothing is left.
    """
    m = len(diagonal)
    if m < 8:
        return 0.0, 0.0
    place, share = _heaviest(diagonal, beside, m)
    late = 2 * share[m - 1] - share[m // 2 - 1]
    _, half = _heaviest(diagonal, beside, m // 2)
    early = 2 * half[m // 2 - 1] - half[m // 4 - 1]
    mass = min(late - DECLINE * max(0.0, early - late), share[m - 1])
    return place, float(mass) if mass >= HEAP else 0.0


def distance(one: Points, other: Points) -> float:
    """Wasserstein-1 distance: the area between the two cumulative distributions."""
    places = np.concatenate([one.places, other.places])
    order = np.argsort(places, kind="stable")
    between = np.cumsum(np.concatenate([one.weights, -other.weights])[order])
    return float(np.abs(between[:-1]) @ np.diff(places[order]))


def sampling_distance(nodes: np.ndarray, weights: np.ndarray, size: int) -> float:
    """The Wasserstein-1 distance to expect because the starts are random.

    The spectral measure of a random direction gives the eigenvalues below x a share with variance
    2 F (1 - F) / (n + 2), exactly. For this a node weighs an eigenvalue's 1/n at least: it stands
    for one, and the start may happen to be almost orthogonal to it.

    Args:
        nodes: (S, m) Gauss nodes of each start; nan where one ended early.
        weights: (S, m) their weights.
        size: n.
    """
    there = ~np.isnan(nodes)
    order = np.argsort(nodes[there], kind="stable")
    places, shares = nodes[there][order], weights[there][order]
    shares = np.maximum(shares, 1 / size) / np.maximum(shares, 1 / size).sum()
    below = np.clip(np.cumsum(shares)[:-1], 0.0, 1.0)
    error = np.sqrt(2 / (size + 2) / len(nodes) * below * (1 - below))
    return float((2 / np.pi) ** 0.5 * error @ np.diff(places))


# -- the three steps ----------------------------------------------------------------------------


def _averaged(diagonal: np.ndarray, beside: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Steps 1 and 2: (places, weights) of each order from m/2 to m."""
    orders = range(len(diagonal), len(diagonal) - max(1, len(diagonal) // 2), -1)
    importance = np.arange(len(orders), 0.0, -1.0)
    importance /= importance.sum() * SHIFTS
    quantiles = (np.arange(SHIFTS) + 0.5) / SHIFTS
    shifts = np.tan(np.pi * (quantiles - 0.5))
    parts = []
    for k, share in zip(orders, importance, strict=True):
        for shift in shifts:
            values, first, _ = _solved(diagonal[:k], beside[:k], shift * beside[k - 1])
            parts.append((values, share * first**2))
    return parts


def _heaviest(diagonal: np.ndarray, beside: np.ndarray, m: int) -> tuple[float, np.ndarray]:
    """Where the Christoffel function of m steps peaks near the heaviest node; its (m,) values."""
    nodes, weights = gauss(diagonal[:m], beside[:m])
    middle = int(weights.argmax())
    width = nodes[-1] - nodes[0]
    low = nodes[middle - 1] if middle > 0 else nodes[0] - width
    high = nodes[middle + 1] if middle < m - 1 else nodes[-1] + width
    places, best = nodes, middle
    for _ in range(6):  # each round narrows the place twentyfold
        places = np.linspace(low, high, 41)
        best = int(_christoffel(diagonal, beside, places, m)[-1].argmax())
        low, high = places[max(best - 1, 0)], places[min(best + 1, 40)]
    return float(places[best]), _christoffel(diagonal, beside, places[best : best + 1], m)[:, 0]


def _christoffel(
    diagonal: np.ndarray, beside: np.ndarray, places: np.ndarray, m: int
) -> np.ndarray:
    """(m, N) 1 / (p_0^2 + ... + p_{k-1}^2) at the places for k = 1 ... m."""
    before, now = np.zeros_like(places), np.ones_like(places)
    sums = [np.ones_like(places)]
    with np.errstate(over="ignore", invalid="ignore"):  # far outside the polynomials overflow
        for k in range(m - 1):
            below = beside[k - 1] if k else 0.0
            before, now = now, ((places - diagonal[k]) * now - below * before) / beside[k]
            sums.append(sums[-1] + now**2)
    return np.nan_to_num(1 / np.array(sums), nan=0.0)


def _without(
    diagonal: np.ndarray, beside: np.ndarray, place: float, mass: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Step 3: T of the distribution without a point of this mass, normalised; one step shorter.

    T's end is shifted so that `place` becomes a node (a Gauss-Radau rule), whose weight is then
    lowered; None where rounding forbids it.
    """
    values, _, last = _solved(diagonal, beside)
    with np.errstate(divide="ignore", over="ignore"):
        shift = -1 / np.sum(last**2 / (values - place))
    if not np.isfinite(shift):
        return None
    nodes, first, _ = _solved(diagonal, beside, float(shift))
    weights = first**2
    weights[np.abs(nodes - place).argmin()] -= mass
    kept = weights > 1e-14
    if kept.sum() < 4:
        return None
    diagonal, beside = _tridiagonal(nodes[kept], weights[kept])
    steps = min(len(diagonal), len(nodes)) - 1
    return diagonal[:steps], beside[:steps]


def _tridiagonal(nodes: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """T of a discrete distribution: Lanczos on the diagonal matrix of its nodes."""
    m = len(nodes)
    basis, diagonal, beside = np.zeros((m, m)), np.zeros(m), np.zeros(m)
    basis[0] = np.sqrt(weights / weights.sum())
    for j in range(m):
        row = nodes * basis[j]
        diagonal[j] = row @ basis[j]
        for _ in range(2):
            row = row - basis[: j + 1].T @ (basis[: j + 1] @ row)
        beside[j] = np.linalg.norm(row)
        if j < m - 1:
            basis[j + 1] = row / beside[j]
    return diagonal, beside


def _solved(
    diagonal: np.ndarray, beside: np.ndarray, shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(m,) eigenvalues of T, and the first and last entries of their eigenvectors.

    Args:
        diagonal: (m,) of T.
        beside: Off the diagonal; what is beyond m - 1 entries does not count.
        shift: Added to the last entry of the diagonal.
    """
    from scipy.linalg import eigh_tridiagonal  # alone in starting no threads for so small matrices

    shifted = diagonal.copy()
    shifted[-1] += shift
    values, vectors = eigh_tridiagonal(shifted, beside[: len(diagonal) - 1])
    return values, vectors[0], vectors[-1]
