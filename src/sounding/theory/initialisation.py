"""Initialisation schemes as data: which variance each gives a weight, and which one a net needs.

fan_in is the number of inputs that are summed into one output, fan_out the number of outputs that
one input feeds. A variance is that of one weight, Var(w); mean-field theory speaks of
sigma_w^2 = fan_in Var(w).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sounding.theory.activations import Activation
from sounding.theory.gaussian import forward_gain


class Fans(NamedTuple):
    """Connections of one unit: means, so a strided convolution may have fractions."""

    fan_in: float
    fan_out: float


def fans(
    shape: Sequence[int], *, transposed: bool = False, groups: int = 1, stride: int = 1
) -> Fans:
    """Inputs summed into one output, and outputs fed by one input, of a weight of this shape.

    A plain weight is (out, in / groups, *kernel), a transposed convolution's is
    (in, out / groups, *kernel). With one group and stride 1 a plain weight gives exactly what
    torch.nn.init counts. That function differs, and is wrong, in three cases: it does not divide
    fan_out by the groups; it exchanges the fans of a transposed convolution; and it does not see
    the stride, which divides the outputs an input feeds (plain) or the inputs an output sums
    (transposed) by stride^dimensions on average. Borders are not counted.

    Args:
        shape: Shape of the weight, two dimensions or more.
        transposed: Whether it belongs to a transposed convolution.
        groups: Groups of the convolution.
        stride: Stride of the convolution, the same in every dimension.

    Raises:
        ValueError: If the shape has fewer than two dimensions.

    Example:
        >>> fans((64, 3, 5, 5))
        Fans(fan_in=75, fan_out=1600)
        >>> fans((64, 1, 3, 3), groups=64)  # depthwise: nine weights an output
        Fans(fan_in=9, fan_out=9.0)
    """
    if len(shape) < 2:
        raise ValueError(
            f"a weight of shape {tuple(shape)} sums no inputs, so it has no fans; "
            "pass a weight of two dimensions or more (not a bias, not a norm layer's scale)"
        )
    field = math.prod(shape[2:])
    reached = field / stride ** len(shape[2:]) if stride > 1 else field
    leading = shape[0] / groups if groups > 1 else shape[0]
    if transposed:
        return Fans(leading * reached, shape[1] * field)
    return Fans(shape[1] * field, leading * reached)


# -- what each scheme gives -----------------------------------------------------------------------


def zero(fan_in: float, fan_out: float) -> float:
    """All weights 0. Units stay identical; with phi(0) = 0 and depth >= 2 no weight ever moves."""
    return 0.0


def constant(fan_in: float, fan_out: float) -> float:
    """All weights equal: variance 0 about their mean. Hidden units stay identical for ever."""
    return 0.0


def normal(fan_in: float, fan_out: float, gain: float = 1.0) -> float:
    """N(0, gain^2), whatever the width: signals grow like sqrt(fan_in) gain per layer."""
    return gain**2


def pytorch_default(fan_in: float, fan_out: float) -> float:
    """U[-1/sqrt(fan_in), 1/sqrt(fan_in)] of torch's linear and convolution layers: 1/(3 fan_in).

    In torch's source it is kaiming_uniform_(a=sqrt 5). A ReLU layer then loses a factor 6 in mean
    square. It is also the "standard" initialisation that Glorot & Bengio argued against.
    """
    return 1 / (3 * fan_in)


def xavier(fan_in: float, fan_out: float, gain: float = 1.0) -> float:
    """2 gain^2 / (fan_in + fan_out): a compromise between forward and backward, linear units.

    Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks",
    AISTATS 2010, eq. 12.
    """
    return 2 * gain**2 / (fan_in + fan_out)


def kaiming(fan_in: float, fan_out: float, gain: float = math.sqrt(2)) -> float:
    """gain^2 / fan_in: keeps the forward second moment; gain sqrt 2 is for ReLU.

    He, Zhang, Ren & Sun, "Delving Deep into Rectifiers", ICCV 2015, eq. 10.
    """
    return gain**2 / fan_in


def kaiming_fan_out(fan_in: float, fan_out: float, gain: float = math.sqrt(2)) -> float:
    """gain^2 / fan_out: keeps the gradient's second moment. He et al., ICCV 2015, eq. 14."""
    return gain**2 / fan_out


def lecun(fan_in: float, fan_out: float, gain: float = 1.0) -> float:
    """gain^2 / fan_in with gain 1: linear units, and SELU (LeCun et al., "Efficient BackProp")."""
    return gain**2 / fan_in


def orthogonal(fan_in: float, fan_out: float, gain: float = 1.0) -> float:
    """gain^2 / max(fan_in, fan_out): a random semi-orthogonal matrix (Saxe et al., ICLR 2014).

    torch.nn.init.orthogonal_ flattens a convolution to (out, in * kernel): then pass the number
    of output channels for fan_out.
    """
    return gain**2 / max(fan_in, fan_out)


SCHEMES: dict[str, Callable[..., float]] = {
    "zero": zero,
    "constant": constant,
    "normal": normal,
    "pytorch default": pytorch_default,
    "xavier": xavier,
    "kaiming": kaiming,
    "kaiming fan_out": kaiming_fan_out,
    "lecun": lecun,
    "orthogonal": orthogonal,
}
_SYNONYMS = {"glorot": "xavier", "he": "kaiming", "kaiming fan_in": "kaiming"}
_WITHOUT_GAIN = ("zero", "constant", "pytorch default")


def weight_variance(scheme: str, fan_in: float, fan_out: float, gain: float | None = None) -> float:
    """Variance of one weight under a named scheme.

    Args:
        scheme: A key of SCHEMES; "glorot", "he" and "kaiming fan_in" are understood, and
            underscores and hyphens are read as spaces, so "pytorch_default" is one too.
        fan_in: Inputs summed into one output.
        fan_out: Outputs fed by one input.
        gain: Factor on the standard deviation; the scheme's own where left out: sqrt 2 for
            kaiming, 1 for the others. For "normal" it is the standard deviation itself.

    Raises:
        ValueError: If the scheme is unknown, or has no gain and one is given.
    """
    name = _canonical(scheme)
    if gain is None:
        return SCHEMES[name](fan_in, fan_out)
    if name in _WITHOUT_GAIN:
        raise ValueError(f"the scheme {name!r} has no gain; leave it out")
    return SCHEMES[name](fan_in, fan_out, gain)


def bias_variance(scheme: str, fan_in: float) -> float:
    """Variance of one bias: 1/(3 fan_in) in PyTorch's default, 0 in all other schemes."""
    return 1 / (3 * fan_in) if _canonical(scheme) == "pytorch default" else 0.0


def _canonical(scheme: str) -> str:
    words = scheme.lower().replace("_", " ").replace("-", " ").replace("fan ", "fan_")
    name = _SYNONYMS.get(words, words)
    if name not in SCHEMES:
        raise ValueError(f"no scheme is called {scheme!r}; known are {', '.join(SCHEMES)}")
    return name


# Widths-blind standard deviations that are common in published code: torch.randn and
# nn.Embedding; DCGAN, BERT and GPT-2; AlexNet and many heads of detectors.
COMMON_STDS = (1.0, 0.02, 0.01)


def closest_scheme(
    variance: float,
    fan_in: float,
    fan_out: float,
    sample_size: int,
    *,
    kurtosis: float = 3.0,
    errors: float = 4.0,
) -> tuple[str, ...]:
    """Names of the schemes that a measured weight variance agrees with, the nearest first.

    The standard error of a variance from n independent values is sqrt((kurtosis - 1) / n) of the
    variance: sqrt(2 / n) for normal weights, sqrt(0.8 / n) for uniform ones. Several schemes may
    agree: in a square layer Xavier, LeCun and orthogonal are one and the same number.

    Args:
        variance: Mean square of the measured weights about their mean.
        fan_in: Inputs summed into one output.
        fan_out: Outputs fed by one input.
        sample_size: Number of weights that were measured.
        kurtosis: E w^4 / (E w^2)^2 of the weights: 3 normal, 1.8 uniform.
        errors: Standard errors of disagreement that are allowed; at 4 a scheme that is really
            there is missed once in 16,000 layers.

    Returns:
        Keys of SCHEMES, or "normal(0.02)" and its like; empty where none agrees.

    Raises:
        ValueError: If `variance` is negative or not finite, or there is no sample.
    """
    if not 0 <= variance < math.inf or sample_size < 1:
        raise ValueError(
            f"need a finite variance >= 0 of at least one weight, got {variance} of {sample_size}"
        )
    if variance == 0:
        return ("zero", "constant")
    allowed = errors * math.sqrt((kurtosis - 1) / sample_size)
    candidates = {f"normal({std:g})": std**2 for std in COMMON_STDS}
    for name, scheme in SCHEMES.items():
        if name not in ("zero", "constant", "normal"):
            candidates[name] = scheme(fan_in, fan_out)
    distance = {name: abs(variance / value - 1) for name, value in candidates.items()}
    near = [name for name in SCHEMES | candidates if distance.get(name, math.inf) <= allowed]
    return tuple(sorted(near, key=lambda name: distance[name]))


# -- what a net needs -----------------------------------------------------------------------------


def required_gain(phi: Activation) -> float:
    """The gain of weights N(0, gain^2 / fan_in) that keeps a unit second moment through phi.

    sqrt(2 / (1 + a^2)) for a rectifier of slope a below 0 (1 for no activation), exactly and for
    every scale of the signal; 1 / sqrt(E phi(z)^2) for the others, which holds at unit scale.

    For these, theory offers more than one answer. tanh: a signal of variance 1 is kept by 1.5925;
    PyTorch recommends 5/3, an empirical number; the edge of chaos without biases is at 1 (see
    `critical_variance`), where the signal shrinks slowly and gradients are kept.

    ============  ===================  =======  ========
    phi           torch's convention   forward  backward
    ============  ===================  =======  ========
    sigmoid       1                    1.8462   4.7226
    tanh          5/3                  1.5925   1.4674
    ReLU          sqrt 2               1.4142   1.4142
    leaky 0.1     1.4072               1.4072   1.4072
    ELU           --                   1.2452   1.2234
    SELU          3/4                  1.0000   0.9660
    GELU          --                   1.5335   1.4811
    SiLU          --                   1.6765   1.6233
    ============  ===================  =======  ========
    """
    return forward_gain(phi)
