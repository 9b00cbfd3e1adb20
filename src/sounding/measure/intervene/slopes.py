"""Gradients on purpose: a step down, their noise, and how sharp the loss is."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from sounding.curvature.eigenpairs import eigenpairs, extremes, negative_curvature
from sounding.curvature.hessian import hessian
from sounding.curvature.operator import Operator
from sounding.curvature.setting import Subject
from sounding.curvature.sharpness import preconditioner, threshold
from sounding.measure.intervene.scene import Scene
from sounding.objective import Batch, Objective, as_objective
from sounding.result import NotApplicable

BATCHES = 8
LONGEST = 12  # times a move is made three times as far: from a hundredth to 5,000 norms


def _parameters(scene: Scene) -> list[torch.Tensor]:
    return [p for p in scene.model.parameters() if p.requires_grad]


def _gradient(scene: Scene, at: int) -> tuple[float, torch.Tensor]:
    parameters = _parameters(scene)
    with torch.enable_grad():
        loss = scene.loss(scene.steps[at])
        parts = torch.autograd.grad(loss, parameters, allow_unused=True)
    flat = [
        torch.zeros_like(p).flatten() if g is None else g.flatten()
        for p, g in zip(parameters, parts, strict=True)
    ]
    return float(loss.detach()), torch.cat(flat).double()


def noise(scene: Scene) -> dict[str, float]:
    """Mean and spread of the gradient over the stored batches (McCandlish et al. 2018)."""
    count = min(len(scene.steps), 2 * BATCHES)
    if count < 3:
        raise ValueError("fewer than three batches were kept")
    gradients = torch.stack([_gradient(scene, at)[1] for at in range(count)])
    mean = gradients.mean(0)
    variance = float((gradients - mean).pow(2).sum() / (count - 1))
    signal = float(mean @ mean) - variance / count  # without the noise's own part
    rows = float(np.mean([scene.steps[at].rows for at in range(count)]))
    scale = rows * variance / signal if signal > 0 else math.inf
    return {"signal": signal, "variance": variance, "noise_scale": scale, "batches": float(count)}


def _hessian(scene: Scene) -> Operator:
    """Of the mean loss of the first stored batches, at the model's present weights."""
    steps = scene.steps[:BATCHES]

    def mean(_: nn.Module, __: Batch) -> torch.Tensor:
        return torch.stack([scene.loss(step).reshape(()) for step in steps]).mean()

    nothing = torch.zeros(1, 1)  # the objective knows its batches itself
    return hessian(scene.model, Objective(mean), (nothing, nothing), check=False)


def saddle(scene: Scene) -> dict[str, float]:
    """Both ends of the Hessian at the end of the training, on stored batches."""
    largest, smallest = extremes(_hessian(scene), tol=1e-2, most=200)
    count = min(len(scene.steps), BATCHES)
    gradient = torch.stack([_gradient(scene, at)[1] for at in range(count)]).mean(0)
    return {
        "gradient_norm": float(gradient.norm()),
        "smallest": float(smallest.values[0]),
        "residual": float(smallest.residuals[0]),
        "largest": float(largest.values[0]),
    }


@contextlib.contextmanager
def escaped(scene: Scene) -> Iterator[None]:
    """The weights are moved along the direction of most negative curvature, down the loss.

    By a hundredth of their own norm, and by three times as far for as long as that is no higher (a
    short move's effect may be lost in rounding).

    Raises:
        ValueError: If no direction curves downwards.
    """
    found = negative_curvature(_hessian(scene), most=100)
    if not float(found.values[0]) < 0 or found.vectors is None:
        raise ValueError("no direction curves downwards")
    parameters, direction = _parameters(scene), found.vectors[0].flatten()
    size = 0.01 * float(torch.cat([p.detach().flatten() for p in parameters]).norm())

    def loss_at(length: float) -> float:
        _move(parameters, direction, length)
        loss = _mean(scene)
        _move(parameters, direction, -length)
        return loss

    length = min((size, -size), key=loss_at)
    lowest, best = loss_at(length), length
    for _ in range(LONGEST):
        length *= 3
        if not (loss := loss_at(length)) <= lowest:
            break
        lowest, best = loss, length
    _move(parameters, direction, best)
    yield


@torch.no_grad()
def _move(parameters: list[torch.Tensor], direction: torch.Tensor, length: float) -> None:
    at = 0
    for p in parameters:
        p += length * direction[at : at + p.numel()].view(p.shape).to(p.dtype)
        at += p.numel()


@torch.no_grad()
def _mean(scene: Scene) -> float:
    return float(np.mean([float(scene.loss(step)) for step in scene.steps[:BATCHES]]))


def stability(scene: Scene) -> dict[str, float]:
    """Learning rate x sharpness over its stable limit, at both ends of the training.

    Above 1 gradient descent overshoots along the sharpest direction (Cohen et al. 2021); for Adam
    and RMSprop the sharpness is that of the preconditioned Hessian (Cohen et al. 2022), which has
    no value before the first step.
    """
    if scene.optimizer is None:
        raise ValueError("no optimiser was seen")
    end, end_error = _ratio(scene)
    values = {"end": end, "end_error": end_error, "start": math.nan, "start_error": math.nan}
    if scene.begin is not None:
        with scene.begun_again():
            values["start"], values["start_error"] = _ratio(scene)
    return values


def _ratio(scene: Scene) -> tuple[float, float]:
    assert scene.optimizer is not None
    matrix = _hessian(scene)
    try:
        divisor = preconditioner(scene.optimizer, Subject(scene.model, as_objective(_none)))
    except NotApplicable:
        return math.nan, math.nan
    if divisor is not None:
        matrix = matrix.preconditioned(divisor)
    found, limit = eigenpairs(matrix, tol=2e-2, most=60), threshold(scene.optimizer)
    return float(found.values[0]) / limit, float(found.errors[0]) / limit


def _none(output: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return output.sum()
