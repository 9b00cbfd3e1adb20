"""All that one examination measured: the typed record that rules read and the report draws.

Letters: C calls in the order they ran, L weighted calls on the main path from input to loss,
P parameters, W weight tensors (parameters with two or more dimensions).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from sounding.measure.course import Course
from sounding.measure.held_out import HeldOut
from sounding.measure.loop import Loop
from sounding.measure.loss_call import LossCall
from sounding.measure.ranks import Ranks
from sounding.measure.test import Test, Untested
from sounding.result import Result, Series


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Call(Result):
    """One executed operation: a module's call or a functional one inside it."""

    name: str  # 'layers.3', 'block#relu', 'fc@2' (second call of the same module)
    module: str  # qualified name of the innermost module, '' for the model itself
    operation: str  # 'linear', 'conv2d', 'relu', 'layer_norm', 'add', 'cross_entropy', ...
    # 'input', 'weight', 'activation', 'normalisation', 'skip', 'attention', 'other' or 'loss'
    role: str
    inputs: tuple[int, ...] = ()  # indices of the calls that made its inputs
    main: int = -1  # the input on the main path (the one behind most weighted calls), -1: none
    severed: int = -1  # the call that an input comes from through argmax and the like, -1: none
    arguments: dict[str, float] = dataclasses.field(default_factory=dict)  # {'slope': 0.1}
    weight: str = ""  # parameter names, '' where the tensor is no parameter itself
    bias: str = ""
    fan_in: float = 0  # inputs summed by one output unit; a mean, so strides may make fractions
    fan_out: float = 0  # outputs fed by one input unit
    units: int = 0  # width of the output
    dtype: str = ""  # of its output, 'float16'
    size: int = 0  # components of one sample's output: units x positions
    weight_second_moment: float = np.nan  # mean square of the weight's entries at the call
    bias_second_moment: float = np.nan
    activation: str = ""  # weighted calls: the activation that follows in the executed graph
    activation_arguments: dict[str, float] = dataclasses.field(default_factory=dict)
    source: str = ""  # 'train.py:18', where the module was constructed


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Signal(Result):
    """The forward pass, one number a call; the error fields are one standard error.

    `rms`, `dead` and `nonfinite` come from the whole tensor, the rest from a sample of at most
    32 rows x 128 features a call (all of it where it is no larger). Errors are over the rows, and
    over the features where these were sampled; `dead` is a count, exact for this batch. `nan`
    where a number has no meaning for that call, or an error cannot be told from one row.
    """

    rms: np.ndarray  # (C,) root of the mean square over batch and units
    rms_error: np.ndarray  # (C,)
    mean: np.ndarray  # (C,)
    std: np.ndarray  # (C,) over the units of one sample, averaged over samples
    spread: np.ndarray  # (C,) rms deviation of a unit from its batch mean: what tells inputs apart
    spread_error: np.ndarray  # (C,)
    correlation: np.ndarray  # (C,) cosine between two samples, averaged over pairs
    correlation_error: np.ndarray  # (C,)
    zeros: np.ndarray  # (C,) fraction of exact zeros, after rectifiers
    dead: np.ndarray  # (C,) units that are zero on the whole batch, after rectifiers
    saturated: np.ndarray  # (C,) fraction with |slope| < 0.01, for activations that saturate
    saturated_error: np.ndarray  # (C,)
    slope: np.ndarray  # (C,) mean squared slope of the activation at its inputs
    nonfinite: tuple[int, ...]  # calls whose output held NaN or Inf that does harm, in order
    mean_error: np.ndarray | None = None  # (C,)
    std_error: np.ndarray | None = None  # (C,)
    zeros_error: np.ndarray | None = None  # (C,)
    slope_error: np.ndarray | None = None  # (C,)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Gradients(Result):
    """The backward pass: the loss's gradient with respect to each call's output and parameter."""

    rms: np.ndarray  # (C,) per component; nan where no gradient arrives
    rms_error: np.ndarray  # (C,)
    parameters: tuple[str, ...]  # (P,) trainable ones
    norm: np.ndarray  # (P,) 2-norm of the batch's gradient, exact; nan where there is none
    weight_norm: np.ndarray  # (P,)
    ratio: np.ndarray  # (P,) norm / weight_norm; inf for a zero parameter that has a gradient
    nonfinite: tuple[int, ...]  # calls at which the gradient held NaN or Inf, last call first


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Weights(Result):
    """The weight tensors themselves."""

    parameters: tuple[str, ...]  # (W,)
    variance: np.ndarray  # (W,) of the entries
    variance_error: np.ndarray  # (W,) sampling error of the variance from its number of entries
    second_moment: np.ndarray  # (W,) mean square of the entries
    fan_in: np.ndarray  # (W,)
    fan_out: np.ndarray  # (W,)
    needed: np.ndarray  # (W,) variance x fan_in that the following activation needs; nan: unknown
    scheme: tuple[str, ...]  # (W,) the known scheme with this variance, '' for none
    units: np.ndarray  # (W,) output units
    rank: np.ndarray  # (W,) numerical rank, counted up to 16
    duplicates: np.ndarray  # (W,) units with an exact twin (same incoming weights and bias)
    symmetric: np.ndarray  # (W,) of those, twins with the same gradient: equal for ever


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Attribution(Result):
    """How the log-gain from each weighted call to the next splits into the parts between them.

    Natural logarithms of ratios: of the signal's rms forwards, of the 2-norm of one sample's
    gradient backwards (which, unlike its rms, a change of width leaves alone). The parts of a row
    add up to `total` exactly, because each is a difference of measured logarithms.
    """

    layers: tuple[str, ...]  # (L,) row k is the step from layers[k] to layers[k + 1]
    weight: np.ndarray  # (L-1,)
    activation: np.ndarray  # (L-1,)
    normalisation: np.ndarray  # (L-1,)
    skip: np.ndarray  # (L-1,)
    other: np.ndarray  # (L-1,) pooling, dropout, attention, scaling by hand
    total: np.ndarray  # (L-1,)

    def parts(self) -> dict[str, np.ndarray]:
        """The five parts by name, in drawing order."""
        names = ("weight", "activation", "normalisation", "skip", "other")
        return {name: getattr(self, name) for name in names}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Expectation(Result):
    """What mean-field theory predicts for random weights of the measured variances."""

    rms: np.ndarray  # (L,) of the weighted calls' outputs
    spread: np.ndarray  # (L,)
    gradient: np.ndarray  # (L,) rms, scaled to the measured one at the last layer
    chi: np.ndarray  # (L,) factor on the squared gradient across the layer's activation and weights
    source: str


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Optimiser(Result):
    """The optimiser as far as rules need it."""

    name: str  # 'SGD', 'AdamW', ...
    lr: float
    adaptive: bool  # divides by a running root mean square of the gradient
    eps: float  # nan for non-adaptive ones


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Readings(Result):
    """Everything measured, one typed field each; ``None`` where it could not be."""

    model: str  # the class's name
    step: int  # optimiser steps before this reading
    batch: int  # samples
    device: str
    dtype: str
    loss: float
    loss_name: str  # 'cross_entropy', 'mse_loss', ...; '' where it was not seen
    calls: tuple[Call, ...]  # (C,)
    path: tuple[int, ...]  # (L,) indices of the weighted calls on the main path, input first
    signal: Signal
    gradients: Gradients | None
    weights: Weights
    forward: Attribution | None
    backward: Attribution | None
    expectation: Expectation | None
    optimiser: Optimiser | None = None
    history: Series | None = None  # the training loss so far, where a run was watched
    notes: tuple[str, ...] = ()  # what was not seen, a sentence each
    loss_call: LossCall | None = None
    course: Course | None = None  # of a watched training, up to its end
    loop: Loop | None = None
    held_out: tuple[HeldOut, ...] = ()  # the script's own evaluations
    overflowed: tuple[str, ...] = ()  # made NaN or Inf by the last step, from finite gradients
    ranks: Ranks | None = None  # of several processes, as their records were put together
    tests: dict[str, Test] = dataclasses.field(default_factory=dict)  # interventions made

    def test(self, name: str) -> Test:
        """The result of an intervention.

        Raises:
            Untested: If it was not made, or could not be: the caller makes it and asks again.
        """
        if name not in self.tests:
            raise Untested(name)
        if self.tests[name].failed:
            raise Untested(name, self.tests[name].failed)
        return self.tests[name]

    def path_calls(self) -> list[Call]:
        """The weighted calls on the main path, input first."""
        return [self.calls[i] for i in self.path]
