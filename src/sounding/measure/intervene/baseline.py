"""What a simple predictor explains: whether there is something to be learnt from the inputs."""

from __future__ import annotations

import numpy as np
import torch

from sounding.capture.nested import tensors
from sounding.measure.intervene.predictions import target_of
from sounding.measure.intervene.scene import Scene

SAMPLES, LEAST = 512, 32  # at most, at least
COLUMNS = 2**14  # of inputs, and of targets, at most
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # times the kernel's mean diagonal


def baseline(scene: Scene) -> dict[str, float]:
    """The share of the targets' variance that kernel ridge regression explains, left out.

    On the first stored samples, each once; the kernel is a linear one plus a Gaussian one of median
    width on standardised inputs (indices count as categories). Predictions are leave-one-out ones,
    in closed form (Allen 1974), with the best of five ridges. The error is that of the mean over
    samples. The model takes no part in it.

    Raises:
        ValueError: If the targets or inputs are not seen as a table of samples.
    """
    gains = _explained(*_table(scene, slice(None)))
    return {
        "explained": float(gains.mean()),
        "error": float(gains.std(ddof=1) / np.sqrt(len(gains))),
        "samples": float(len(gains)),
    }


def explained_by(scene: Scene, places: torch.Tensor) -> float:
    """The same share for those places of the inputs alone, dimension 1, which are True."""
    return float(_explained(*_table(scene, places)).mean())


def _explained(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(N,) shares of the variance that the best of the ridges explains of each sample, left out."""
    if len(x) < LEAST:
        raise ValueError(f"{len(x)} stored samples are too few")
    kernel = _kernel(x)
    if not y.std(0).any():
        raise ValueError("all targets are the same")
    unit = np.trace(kernel) / len(x)
    values, vectors = np.linalg.eigh(kernel)
    gains = [explained_without(values, vectors, y, ridge * unit) for ridge in RIDGES]
    return max(gains, key=lambda gain: gain.mean())


def explained_without(
    values: np.ndarray, vectors: np.ndarray, y: np.ndarray, ridge: float
) -> np.ndarray:
    """(N,) shares of the variance that the fit without each sample explains of it.

    With the hat matrix H = K (K + ridge)^-1, K given by its eigenvalues and vectors, the error of
    the fit without sample i is that of the fit with it, divided by 1 - H_ii.
    """
    hat = (vectors * (values / (values + ridge))) @ vectors.T
    centred = y - y.mean(0)
    left = (centred - hat @ centred) / (1 - np.diag(hat))[:, None]
    spread = (centred**2).sum(1)
    return (spread - (left**2).sum(1)) / spread.mean()


def _table(scene: Scene, places: slice | torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(N, F) inputs and (N, D) targets of the stored samples, each input once."""
    call = scene.call
    if call is None or call.target is None:
        raise ValueError("no target was seen")
    inputs, targets = [], []
    for step in scene.steps:
        target = target_of(step, call.target.shape[1:], call.target.kind)
        first = next((t for t in tensors(step.given) if t.dim()), None)
        if target is None or first is None or len(first) != len(target):
            raise ValueError("inputs and targets are no table of samples")
        chosen = first if isinstance(places, slice) else first[:, places]
        inputs.append(chosen.detach().cpu().reshape(len(first), -1))
        targets.append(target.detach().cpu().reshape(len(target), -1))
        if sum(map(len, inputs)) >= 2 * SAMPLES:
            break
    x, rows = np.unique(torch.cat(inputs).numpy(), axis=0, return_index=True)
    y = torch.cat(targets)[torch.as_tensor(rows)]
    chosen = np.random.default_rng(0).permutation(len(x))[:SAMPLES]
    labels = not y.is_floating_point()
    return _columns(torch.from_numpy(x)[chosen]), _targets(y[chosen], labels=labels)


def _columns(x: torch.Tensor) -> np.ndarray:
    """Numbers standardised, categories as one column each."""
    if x.is_floating_point():
        flat = x.double().numpy()[:, :COLUMNS]
        std = flat.std(0)
        return ((flat - flat.mean(0)) / np.where(std > 0, std, 1.0))[:, std > 0]
    count = int(x.max()) + 1
    if x.min() < 0 or count * x.shape[1] > COLUMNS * 4:
        raise ValueError("the inputs have too many categories")
    return torch.nn.functional.one_hot(x.long(), count).reshape(len(x), -1).double().numpy()


def _targets(y: torch.Tensor, *, labels: bool) -> np.ndarray:
    if not labels:
        return y.double().numpy()[:, :COLUMNS]
    y = y.long().clamp_min(0)  # what a loss ignores is one class more
    count = int(y.max()) + 1
    if count * y.shape[1] > COLUMNS:
        raise ValueError("the targets have too many classes")
    return torch.nn.functional.one_hot(y, count).reshape(len(y), -1).double().numpy()


def _kernel(x: np.ndarray) -> np.ndarray:
    products = x @ x.T
    sizes = np.diag(products)
    distances = np.maximum(sizes[:, None] + sizes - 2 * products, 0.0)
    width = float(np.median(distances[np.triu_indices(len(x), 1)])) or 1.0
    return products / max(float(sizes.mean()), 1e-300) + np.exp(-distances / width)
