"""Made-up data whose difficulty is known."""

from __future__ import annotations

import torch

from sounding.data.labelled import Labelled


def clusters(
    samples: int = 512,
    *,
    features: int = 20,
    classes: int = 4,
    distance: float = 4.0,
    seed: int = 0,
) -> Labelled:
    """Gaussian clusters, one a class, scaled so that a feature has second moment 1 on average.

    Before the scaling each class is a standard normal cloud around its own centre, and the centres
    lie on random orthonormal directions, every two of them `distance` apart. The best possible
    classifier of two classes errs with probability Phi(-distance / 2): 2.3 % at 4.

    Args:
        samples: Number of rows; the classes differ by one row at most.
        features: Dimension, at least `classes`.
        classes: Number of clusters.
        distance: Between any two centres, in standard deviations of a cloud.
        seed: Seed of centres and noise; the global generator is left alone.

    Returns:
        x of shape (samples, features), float32, and y; rows shuffled.

    Raises:
        ValueError: If there are fewer features than classes, or fewer samples.

    Example:
        >>> x, y = clusters(100, classes=2)
        >>> x.shape, y.bincount()
        (torch.Size([100, 20]), tensor([50, 50]))
    """
    if not 1 <= classes <= min(features, samples):
        raise ValueError(
            f"{classes} classes need at least as many features (got {features}) and samples "
            f"(got {samples})"
        )
    generator = torch.Generator().manual_seed(seed)
    directions, _ = torch.linalg.qr(
        torch.randn(features, classes, generator=generator, dtype=torch.float64)
    )
    centres = distance / 2**0.5 * directions.T  # (classes, features)
    y = torch.arange(samples)[torch.randperm(samples, generator=generator)] % classes
    noise = torch.randn(samples, features, generator=generator, dtype=torch.float64)
    second_moment = 1 + distance**2 / 2 / features
    return Labelled(((centres[y] + noise) / second_moment**0.5).float(), y)
