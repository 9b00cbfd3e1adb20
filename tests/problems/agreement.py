"""Is what a problem says of a point true? Against its loss, its gradient, and a dense Hessian."""

import numpy as np
import pytest
import torch

from sounding.problems.known import KINDS

ROUNDING = 1e-9  # of the largest eigenvalue, as `from_spectrum` counts zeros


def check_known(problem, points):
    """Zero gradient, the stated value, and index, kernel and smallest eigenvalue as stated."""
    assert points
    for known in points:
        _check(problem, known)


def _check(problem, known):
    assert known.kind in KINDS
    assert float(problem.losses(known.parameters)) == pytest.approx(
        known.value, rel=1e-12, abs=1e-10
    )
    eigenvalues = torch.linalg.eigvalsh(problem.hessians(known.parameters)[0]).numpy()
    largest = max(1.0, np.abs(eigenvalues).max())
    gradient = float(problem.gradients(known.parameters).norm())
    if known.kind == "not stationary":
        assert gradient > 1e-3
        return
    assert gradient < 1e-9 * largest, known.name
    zero = ROUNDING * np.abs(eigenvalues).max()
    index, kernel = (eigenvalues < -zero).sum(), (np.abs(eigenvalues) <= zero).sum()
    assert (known.index, known.kernel) == (index, kernel), (known.name, eigenvalues)
    if known.smallest is not None:
        assert known.smallest == pytest.approx(eigenvalues[0], abs=1e-8 * largest), known.name
    assert known.best == pytest.approx(known.value <= problem.minimum + 1e-10)
