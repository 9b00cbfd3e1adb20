"""Wilson's separable data: adaptive steps find a solution that is wrong about every rare class.

Wilson, Roelofs, Stern, Srebro and Recht, "The Marginal Value of Adaptive Gradient Methods in
Machine Learning", NIPS 2017, section 3. Sample i has the label y_i = +-1 and the features: y_i; 1;
1; and one of its own for y = +1, five of its own for y = -1. On 1/2 |Xw - y|^2 from w = 0 AdaGrad,
RMSProp and Adam with full batches stay on the ray of sign(X'y) and predict +1 for every new sample;
gradient descent finds the solution of smallest norm, which errs on none.
"""

from __future__ import annotations

import numpy as np
import torch

from sounding.objective import Batch
from sounding.problems.known import Known, from_spectrum
from sounding.problems.problem import Problem

OWN = 5  # features of a negative sample's own; the published proof needs more than 4


class SeparableData(Problem):
    """1/2 |Xw - y|^2 with w (3 + 5n,); a batch is a tensor of sample numbers."""

    y: torch.Tensor
    own: torch.Tensor
    used: torch.Tensor
    minimum = 0.0
    spread = 0.1

    def __init__(self, samples: int = 200, *, positive: float = 0.6, seed: int = 0) -> None:
        """Labels are +1 with probability `positive`, drawn until most of them are.

        Raises:
            ValueError: If `positive` is not between 1/2 and 1.
        """
        if not 0.5 < positive < 1:
            raise ValueError(f"positive is {positive}; the construction needs 1/2 < p < 1")
        rng = np.random.default_rng(seed)
        y = np.zeros(samples)
        while y.sum() <= 0 or np.ptp(y) == 0:
            y = np.where(rng.random(samples) < positive, 1.0, -1.0)
        super().__init__({"w": np.zeros(3 + OWN * samples)})
        own = 3 + OWN * np.arange(samples)[:, None] + np.arange(OWN)
        used = np.where(y[:, None] > 0, np.arange(OWN) < 1, True)
        self.register_buffer("y", torch.tensor(y))
        self.register_buffer("own", torch.tensor(own))  # (n, 5) where each sample's own lie
        self.register_buffer("used", torch.tensor(used).double())
        self.positive = positive

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The loss of w (..., 3 + 5n)."""
        (w,) = parameters
        residuals = self._outputs(w) - self.y
        chosen = residuals if batch is None else residuals[..., batch]
        return chosen.square().sum(-1) / 2

    def _outputs(self, w: torch.Tensor) -> torch.Tensor:
        """Xw, by the eight features at most that a sample has: (..., n)."""
        shared = w[..., :1] * self.y + w[..., 1:3].sum(-1, keepdim=True)
        own = w[..., 3:].unflatten(-1, self.used.shape)  # a view: no index to send back through
        return shared + (own * self.used).sum(-1)

    def matrix(self) -> np.ndarray:
        """X (n, 3 + 5n), dense."""
        x = np.zeros((len(self.y), self.size))
        np.put_along_axis(x, self.own.cpu().numpy(), self.used.cpu().numpy(), axis=1)
        x[:, 0], x[:, 1:3] = self.y.cpu().numpy(), 1.0
        return x

    def sample(self, count: int, *, seed: int = 0) -> torch.Tensor:
        """`count` of the samples, with replacement; multiply its loss by n / count."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(len(self.y), (count,), generator=generator)

    def test_error(self, w: np.ndarray | torch.Tensor) -> float:
        """The probability that the sign is wrong for a new sample, whose own features w misses."""
        tilt, bias = float(w[0]), float(w[1] + w[2])
        return self.positive * (tilt + bias <= 0) + (1 - self.positive) * (bias - tilt >= 0)

    def smallest_norm(self) -> np.ndarray:
        """The solution of smallest 2-norm, X'a with one a for each label.

        a_+ = (4 n_- + 5) / D, a_- = -(4 n_+ + 1) / D, D = 8 n_+ n_- + 15 n_+ + 3 n_- + 5.
        """
        y = self.y.cpu().numpy()
        plus, minus = int((y > 0).sum()), int((y < 0).sum())
        below = 8 * plus * minus + 15 * plus + 3 * minus + OWN
        return self._combined(np.where(y > 0, 4 * minus + OWN, -(4 * plus + 1)) / below)

    def adaptive(self) -> np.ndarray:
        """Where adaptive methods end: sign(X'y) / 4, which fits the data as well."""
        return np.sign(self._combined(self.y.cpu().numpy())) / 4

    def _combined(self, a: np.ndarray) -> np.ndarray:
        """X'a without the dense X."""
        y, w = self.y.cpu().numpy(), np.zeros(self.size)
        w[0], w[1:3] = y @ a, a.sum()
        w[self.own.cpu().numpy()] = self.used.cpu().numpy() * a[:, None]
        return w

    def critical_points(self) -> tuple[Known, ...]:
        """The two solutions; the loss is a convex quadratic, flat in all but n directions."""
        y = self.y.cpu().numpy()
        own = np.where(y > 0, 1.0, OWN)  # XX' = 2 + y y' + diag(own)
        spectrum = np.zeros(self.size)
        spectrum[: len(y)] = np.linalg.eigvalsh(2 + np.outer(y, y) + np.diag(own))
        found = {"smallest norm": self.smallest_norm(), "adaptive": self.adaptive()}
        return tuple(
            from_spectrum(name, w, 0.0, spectrum, minimum=0.0) for name, w in found.items()
        )
