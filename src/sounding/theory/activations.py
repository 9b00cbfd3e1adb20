"""Activation functions as data: value, slope, kinks; numpy only, and without a net.

The slope at a kink is the one PyTorch uses there (0 for ReLU at 0), so that a comparison with
autograd is exact.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Elementwise = Callable[[Array], Array]


@dataclass(frozen=True, kw_only=True, eq=False)
class Activation:
    """An elementwise nonlinearity with the facts that signal propagation needs."""

    name: str  # with the parameters, as in "leaky_relu(0.1)"
    function: Elementwise = field(repr=False)
    derivative: Elementwise = field(repr=False)  # PyTorch's choice at a kink
    max_slope: float  # the largest |derivative| on the whole line
    homogeneous: bool = False  # phi(a z) = a phi(z) for every a > 0
    saturates: bool = False  # bounded on both sides, so the slope dies out for large |z|
    kinks: tuple[float, ...] = ()  # where a derivative of some order jumps


def activation(name: str, **parameters: float) -> Activation:
    """The activation function called `name`, for example ``activation("leaky_relu", slope=0.1)``.

    Args:
        name: A key of ACTIVATIONS.
        parameters: The maker's own parameters; PyTorch's defaults where left out.

    Raises:
        ValueError: If there is no such activation, or it has no such parameter.

    Example:
        >>> activation("elu").derivative(np.array([-1.0, 2.0])).round(4)
        array([0.3679, 1.    ])
    """
    if name not in ACTIVATIONS:
        near = difflib.get_close_matches(name, ACTIVATIONS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(ACTIVATIONS)}"
        raise ValueError(f"no activation is called {name!r}; {hint}")
    make = ACTIVATIONS[name]
    known = tuple(inspect.signature(make).parameters)
    for parameter in parameters:
        if parameter not in known:
            takes = ", ".join(known) or "none"
            raise ValueError(f"{name} has no parameter {parameter!r}; its parameters: {takes}")
    return make(**parameters)


def saturated(phi: Activation, z: ArrayLike, threshold: float = 0.01) -> NDArray[np.bool_]:
    """Whether the slope at each pre-activation is too small to pass a gradient.

    Formula: |phi'(z)| < threshold.

    Args:
        phi: The activation function.
        z: Pre-activations, any shape.
        threshold: A pure number. The default follows the textbook sketch of saturation: below it
            lie |z| > 2.99 for tanh (2 % of a standard normal z would be 2.3) and |z| > 4.60 for
            the sigmoid, whose largest slope is 0.25 already. It describes; it is no alarm: a ReLU
            has half of its units below it in perfect health.
    """
    return np.abs(phi.derivative(np.asarray(z, dtype=np.float64))) < threshold


# -- piecewise linear -----------------------------------------------------------------------------


def identity() -> Activation:
    """No nonlinearity: phi(z) = z."""
    return Activation(
        name="identity",
        function=lambda z: np.asarray(z, dtype=np.float64),
        derivative=np.ones_like,
        max_slope=1.0,
        homogeneous=True,
    )


def relu() -> Activation:
    """Rectifier: max(z, 0)."""
    return Activation(
        name="relu",
        function=lambda z: np.maximum(z, 0.0),
        derivative=lambda z: np.where(z > 0, 1.0, 0.0),
        max_slope=1.0,
        homogeneous=True,
        kinks=(0.0,),
    )


def leaky_relu(slope: float = 0.01) -> Activation:
    """Leaky rectifier: z for z > 0, slope z otherwise."""
    return Activation(
        name=f"leaky_relu({slope:g})",
        function=lambda z: np.where(z > 0, z, slope * z),
        derivative=lambda z: np.where(z > 0, 1.0, slope),
        max_slope=max(1.0, abs(slope)),
        homogeneous=True,
        kinks=(0.0,),
    )


def prelu(slope: float = 0.25) -> Activation:
    """Leaky rectifier with a learned slope, at the value that PyTorch starts from."""
    return leaky_relu(slope)


def hardtanh(low: float = -1.0, high: float = 1.0) -> Activation:
    """Clipped identity: min(max(z, low), high)."""
    name = "hardtanh" if (low, high) == (-1.0, 1.0) else f"hardtanh({low:g}, {high:g})"
    return Activation(
        name=name,
        function=lambda z: np.clip(z, low, high),
        derivative=lambda z: np.where((z > low) & (z < high), 1.0, 0.0),
        max_slope=1.0,
        saturates=True,
        kinks=(low, high),
    )


def relu6() -> Activation:
    """Rectifier clipped at 6: min(max(z, 0), 6)."""
    return Activation(
        name="relu6",
        function=lambda z: np.clip(z, 0.0, 6.0),
        derivative=lambda z: np.where((z > 0) & (z < 6), 1.0, 0.0),
        max_slope=1.0,
        saturates=True,
        kinks=(0.0, 6.0),
    )


def hardsigmoid() -> Activation:
    """Piecewise linear sigmoid: min(max(z + 3, 0), 6) / 6."""
    return Activation(
        name="hardsigmoid",
        function=lambda z: np.clip(z + 3.0, 0.0, 6.0) / 6.0,
        derivative=lambda z: np.where((z > -3) & (z < 3), 1 / 6, 0.0),
        max_slope=1 / 6,
        saturates=True,
        kinks=(-3.0, 3.0),
    )


def hardswish() -> Activation:
    """Piecewise quadratic SiLU: z min(max(z + 3, 0), 6) / 6."""
    return Activation(
        name="hardswish",
        function=lambda z: z * np.clip(z + 3.0, 0.0, 6.0) / 6.0,
        derivative=lambda z: np.where(z <= -3, 0.0, np.where(z < 3, z / 3 + 0.5, 1.0)),
        max_slope=1.5,  # just below z = 3
        kinks=(-3.0, 3.0),
    )


# -- the exponential family -----------------------------------------------------------------------

# Klambauer et al., "Self-Normalizing Neural Networks", NIPS 2017: mean 0, variance 1 is fixed.
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def elu(alpha: float = 1.0) -> Activation:
    """Exponential linear unit: z for z > 0, alpha (e^z - 1) otherwise."""
    return Activation(
        name="elu" if alpha == 1 else f"elu({alpha:g})",
        function=lambda z: np.where(z > 0, z, alpha * _expm1_below(z)),
        derivative=lambda z: np.where(z > 0, 1.0, alpha * _exp_below(z)),
        max_slope=max(1.0, abs(alpha)),
        kinks=(0.0,),
    )


def selu() -> Activation:
    """Self-normalising unit: SELU_SCALE times an ELU with SELU_ALPHA."""
    inner = elu(SELU_ALPHA)
    return Activation(
        name="selu",
        function=lambda z: SELU_SCALE * inner.function(z),
        derivative=lambda z: SELU_SCALE * inner.derivative(z),
        max_slope=SELU_SCALE * SELU_ALPHA,  # just below z = 0
        kinks=(0.0,),
    )


def celu(alpha: float = 1.0) -> Activation:
    """Continuously differentiable ELU: z for z > 0, alpha (e^(z / alpha) - 1) otherwise."""
    return Activation(
        name="celu" if alpha == 1 else f"celu({alpha:g})",
        function=lambda z: np.where(z > 0, z, alpha * _expm1_below(z / alpha)),
        derivative=lambda z: np.where(z > 0, 1.0, _exp_below(z / alpha)),
        max_slope=1.0,
        kinks=(0.0,),
    )


def softplus() -> Activation:
    """Smooth rectifier: log(1 + e^z)."""
    return Activation(name="softplus", function=_softplus, derivative=_sigmoid, max_slope=1.0)


def sigmoid() -> Activation:
    """Logistic function: 1 / (1 + e^-z)."""
    return Activation(
        name="sigmoid",
        function=_sigmoid,
        derivative=_sigmoid_slope,
        max_slope=0.25,
        saturates=True,
    )


def logsigmoid() -> Activation:
    """Log of the logistic function: -log(1 + e^-z)."""
    return Activation(
        name="logsigmoid",
        function=lambda z: -_softplus(-z),
        derivative=lambda z: _sigmoid(-z),
        max_slope=1.0,
    )


def tanh() -> Activation:
    """Hyperbolic tangent."""
    return Activation(
        name="tanh",
        function=np.tanh,
        derivative=lambda z: 4 * _sigmoid_slope(2 * z),  # 1 - tanh^2 without its cancellation
        max_slope=1.0,
        saturates=True,
    )


def softsign() -> Activation:
    """Algebraic sigmoid: z / (1 + |z|)."""
    return Activation(
        name="softsign",
        function=lambda z: z / (1 + np.abs(z)),
        derivative=lambda z: (1 + np.abs(z)) ** -2.0,
        max_slope=1.0,
        saturates=True,
        kinks=(0.0,),
    )


# -- self-gated -----------------------------------------------------------------------------------


def gelu() -> Activation:
    """Gaussian error linear unit: z Phi(z), with Phi the normal distribution function."""
    return Activation(
        name="gelu",
        function=lambda z: z * normal_cdf(z),
        derivative=lambda z: normal_cdf(z) + z * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi),
        max_slope=1.128904145185155,  # at z = sqrt 2
    )


def gelu_tanh() -> Activation:
    """The tanh approximation of GELU: z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))) / 2."""
    return Activation(
        name="gelu_tanh",
        function=lambda z: z * _sigmoid(_gelu_gate(z)),
        derivative=_gelu_tanh_slope,
        max_slope=1.1289930686587717,  # at z = 1.4185
    )


def silu() -> Activation:
    """Sigmoid linear unit, or Swish: z / (1 + e^-z)."""
    return Activation(
        name="silu",
        function=lambda z: z * _sigmoid(z),
        derivative=lambda z: _sigmoid(z) + z * _sigmoid_slope(z),
        max_slope=1.0998393201288668,  # at z = 2.3994
    )


def mish() -> Activation:
    """Self-gated softplus: z tanh(softplus(z))."""
    return Activation(
        name="mish",
        function=lambda z: z * np.tanh(_softplus(z)),
        derivative=_mish_slope,
        max_slope=1.088498161251728,  # at z = 1.4906
    )


def erf() -> Activation:
    """Error function, the sigmoid for which mean-field theory has closed forms."""
    return Activation(
        name="erf",
        function=_erf,
        derivative=lambda z: 2 / math.sqrt(math.pi) * np.exp(-(z**2)),
        max_slope=2 / math.sqrt(math.pi),
        saturates=True,
    )


# -- parts that several of them share, safe for every finite z ------------------------------------


def _sigmoid(z: Array) -> Array:
    return np.exp(-np.logaddexp(0.0, -z))


def _sigmoid_slope(z: Array) -> Array:
    return np.exp(-np.logaddexp(0.0, -z) - np.logaddexp(0.0, z))


def _softplus(z: Array) -> Array:
    return np.logaddexp(0.0, z)


def _exp_below(z: Array) -> Array:
    return np.exp(np.minimum(z, 0.0))


def _expm1_below(z: Array) -> Array:
    return np.expm1(np.minimum(z, 0.0))


def normal_cdf(z: Array) -> Array:
    """P(Z <= z) of a standard normal, in double precision."""
    # numpy has no error function, and scipy's costs 0.2 s to import; torch is there anyway.
    return torch.special.ndtr(torch.tensor(z, dtype=torch.float64)).numpy()


def _erf(z: Array) -> Array:
    return torch.erf(torch.tensor(z, dtype=torch.float64)).numpy()


def _gelu_gate(z: Array) -> Array:
    # (1 + tanh(a)) / 2 = sigmoid(2 a)
    return 2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)


def _gelu_tanh_slope(z: Array) -> Array:
    gate = _gelu_gate(z)
    gate_slope = 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * z**2)
    return _sigmoid(gate) + z * gate_slope * _sigmoid_slope(gate)


def _mish_slope(z: Array) -> Array:
    gate = np.tanh(_softplus(z))
    return gate + z * (4 * _sigmoid_slope(2 * _softplus(z))) * _sigmoid(z)


ACTIVATIONS: dict[str, Callable[..., Activation]] = {
    "identity": identity,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "prelu": prelu,
    "elu": elu,
    "selu": selu,
    "celu": celu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": silu,
    "mish": mish,
    "softplus": softplus,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "hardtanh": hardtanh,
    "relu6": relu6,
    "hardsigmoid": hardsigmoid,
    "hardswish": hardswish,
    "softsign": softsign,
    "logsigmoid": logsigmoid,
    "erf": erf,
}
