"""How the user's loop treats the model and its optimiser: exact facts, no thresholds."""

from __future__ import annotations

import dataclasses

import numpy as np

from sounding.result import Result


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Group(Result):
    """One parameter group of the optimiser."""

    parameters: tuple[str, ...]  # by the model's names; '' for a tensor that it does not have
    settings: dict[str, float]  # 'lr', 'momentum', 'weight_decay', 'beta1', 'beta2', 'eps', ...


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Evaluations(Result):
    """Calls of the model without gradients. Letters: F features of the input (at most 4,096)."""

    count: int
    training: int  # of them in training mode
    low: np.ndarray | None  # (F,) smallest input seen in training, None for inputs of indices
    high: np.ndarray | None  # (F,)
    outside: float  # share of the evaluated inputs' entries outside of [low, high]
    expected: float  # the same share if both came from one distribution: 2 / (rows + 1)
    mean: tuple[float, float] = (np.nan, np.nan)  # of the inputs: training, evaluation
    std: tuple[float, float] = (np.nan, np.nan)
    turned: str = ""  # of images: the turn that brings evaluated ones nearest to those of training
    apart: tuple[float, float] = (np.nan, np.nan)  # of their means, as they are and so turned
    rows: int = 0  # evaluated samples that were looked at
    each: int = 0  # of them in a call, the median
    blocks: int = 0  # uninterrupted by a step of the optimiser
    again: int = 0  # of the calls, on inputs that their block has had already


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Loop(Result):
    """What is held, moved, forgotten, and how the model is called."""

    groups: tuple[Group, ...]
    decoupled: bool  # weight decay acts on the weights themselves (AdamW), not on the gradient
    foreign: int  # tensors in the optimiser that no examined model has
    missing: tuple[str, ...]  # trainable, with a gradient, in no optimiser
    cut: tuple[str, ...]  # trainable, held, used in the forward pass, and never given a gradient
    frozen: tuple[str, ...]  # of the model, that do not require a gradient
    unregistered: tuple[str, ...]  # calls with weights that want a gradient and are no parameters
    fresh: bool  # those weights are new ones in every forward pass
    cut_source: str  # line of the module whose parameters are cut, '' where there is none
    evaluations: Evaluations
    modes: tuple[str, ...]  # modules that act otherwise in training, 'drop (Dropout, p=0.5)'
    training: bool  # whether the model is in training mode as it is trained
    several: bool = False  # other optimisers step in between
    unstepped: int = 0  # calls of backward, of a run in which the optimiser never stepped
    clipped_late: int = 0  # calls of clipping behind the step, where no gradient is used any more
    remade: int = 0  # optimisers that took over from one of a single step
    stale: int = 0  # of the foreign ones, those that never get a gradient
    # batch norms that a later training of the script holds frozen and runs in training mode
    overwritten: tuple[str, ...] = ()
    # share of the entries of a half-precision weight that a step left alone, gradient and all
    rounded: dict[str, float] = dataclasses.field(default_factory=dict)
    # largest |scale| of each normalisation's weight, as the training ended
    scales: dict[str, float] = dataclasses.field(default_factory=dict)
