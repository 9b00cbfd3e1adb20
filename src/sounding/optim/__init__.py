"""Optimisers that leave saddle points, for an ordinary training loop.

`PerturbedSGD` and `NoisySGD` need gradients alone and take the place of ``torch.optim.SGD``.
`NegativeCurvature` and `CubicNewton` need second derivatives: their ``step(closure)`` wants a
closure that returns the loss and leaves the backward pass to them.
"""

from sounding.optim.cubic import CubicNewton
from sounding.optim.curvature import NegativeCurvature
from sounding.optim.noisy import NoisySGD
from sounding.optim.perturbed import PerturbedSGD, jin_constants

__all__ = ["CubicNewton", "NegativeCurvature", "NoisySGD", "PerturbedSGD", "jin_constants"]
