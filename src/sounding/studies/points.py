"""What the studies of known landscapes ask of a problem: is each of its points as it is said to be?

Letters: P points.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sounding.problems import Problem


def agreement(problem: Problem) -> dict[str, Any]:
    """At every stationary point that the problem lists: gradient and lowest curvature, and stated.

    Returns:
        By name, each (P,): `gradient`, its norm; `lowest`, the smallest eigenvalue of the dense
        Hessian; `stated`, what the closed form says; `error`, their distance relative to the
        largest eigenvalue, or absolute where that is below 1; `best`, whether the point is a
        global minimum.
    """
    known = problem.critical_points()
    points = np.array([point.parameters for point in known])
    eigenvalues = torch.linalg.eigvalsh(problem.hessians(points)).cpu().numpy()
    stated = np.array([point.smallest for point in known], dtype=float)
    scale = np.maximum(np.abs(eigenvalues).max(axis=1), 1.0)
    return {
        "gradient": problem.gradients(points).norm(dim=1).cpu().numpy(),
        "lowest": eigenvalues[:, 0],
        "stated": stated,
        "error": np.abs(eigenvalues[:, 0] - stated) / scale,
        "best": np.array([point.best for point in known]),
    }
