"""The weights themselves: their variance against what the next activation needs, rank, twins."""

from __future__ import annotations

import functools
import math
from collections import defaultdict

import numpy as np
import torch
from torch import nn

from sounding.capture.passes import Recording
from sounding.capture.sample import gathered, sample
from sounding.measure.readings import Call, Weights
from sounding.theory.activations import activation
from sounding.theory.initialisation import closest_scheme, required_gain

RANK = 32  # a rank is counted up to this: enough to tell a degenerate matrix from a full one
LOOKUPS = ("embedding", "embedding_bag")


def weights(recording: Recording, model: nn.Module, calls: tuple[Call, ...]) -> Weights:
    """Statistics of every weight that a recorded call used, in the order of first use."""
    parameters = dict(model.named_parameters())
    used: dict[str, Call] = {}
    for node, call in zip(recording.nodes, calls, strict=True):
        for name in (call.weight, *node.others):
            if name:
                used.setdefault(name, call)
    tensors = [parameters[name].detach() for name in used]
    counts = np.array([max(t.numel(), 1) for t in tensors])
    moments = np.array([recording.sizes[name] for name in used]) ** 2 / counts
    variances = _variances(tensors, moments)
    kurtoses = _kurtoses(tensors)
    return Weights(
        parameters=tuple(used),
        variance=variances,
        variance_error=variances * np.sqrt(2 / counts),  # of a normal sample; others less
        second_moment=moments,
        fan_in=np.array([float(c.fan_in) for c in used.values()]),
        fan_out=np.array([float(c.fan_out) for c in used.values()]),
        needed=np.array([needed_variance(c) for c in used.values()]),
        scheme=tuple(
            _scheme(call, tensor, variance, kurtosis)
            for call, tensor, variance, kurtosis in zip(
                used.values(), tensors, variances, kurtoses, strict=True
            )
        ),
        units=np.array([float(c.units) for c in used.values()]),
        rank=ranks(tensors).astype(np.float64),
        duplicates=np.array([float(recording.duplicates.get(n, 0)) for n in used]),
        symmetric=np.array([float(recording.symmetric.get(n, 0)) for n in used]),
    )


def _variances(tensors: list[torch.Tensor], moments: np.ndarray) -> np.ndarray:
    """Of the entries about their mean."""
    sums = gathered([t.sum(dtype=_summed_in(t)) for t in tensors])
    means = np.array([float(s) / max(t.numel(), 1) for s, t in zip(sums, tensors, strict=True)])
    with np.errstate(invalid="ignore", over="ignore"):
        variance = np.where(np.isfinite(moments), np.maximum(moments - means**2, 0.0), moments)
        variance[variance < 1e-6 * moments] = 0.0  # what rounding leaves of a constant
    return variance


def _summed_in(tensor: torch.Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _kurtoses(tensors: list[torch.Tensor]) -> np.ndarray:
    """E w^4 / (E w^2)^2 about the mean, of a sample; 3, the normal's, where all are equal."""
    found = np.full(len(tensors), 3.0)
    groups: dict[torch.Size, list[int]] = defaultdict(list)
    samples = gathered([sample(t) for t in tensors])
    for i, entries in enumerate(samples):
        if entries.numel():
            groups[entries.shape].append(i)
    for indices in groups.values():
        values = np.stack([samples[i].numpy().ravel() for i in indices]).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            values -= values.mean(1, keepdims=True)
            values /= np.abs(values).max(1, keepdims=True)
            values *= values
            kurtosis = np.einsum("nk,nk->n", values, values) / values.shape[1]
            kurtosis /= values.mean(1) ** 2
        found[indices] = np.where(kurtosis >= 1, kurtosis, 3.0)
    return found


def _scheme(call: Call, weight: torch.Tensor, variance: float, kurtosis: float) -> str:
    """The known initialisation that gives this variance, '' for none.

    By torch's own count of the fans, which is what torch's initialisers went by.
    """
    if call.operation in LOOKUPS or not variance < math.inf or weight.dim() < 2:
        return ""
    field = math.prod(weight.shape[2:])
    fan_in, fan_out = weight.shape[1] * field, weight.shape[0] * field
    found = closest_scheme(variance, fan_in, fan_out, weight.numel(), kurtosis=kurtosis)
    return found[0] if found else ""


def needed_variance(call: Call) -> float:
    """Variance x fan_in with which this call's weights keep the signal's second moment.

    The squared gain of the activation that follows in the executed graph (He et al. 2015, eq. 10 for
    rectifiers; the others by quadrature); nan for embeddings, where nothing is summed, and for
    recurrent layers, where the gates decide.
    """
    if call.operation in LOOKUPS or not call.fan_in or "_cell" in call.operation:
        return math.nan
    if call.operation in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        return math.nan
    return _needed(call.activation or "identity", tuple(sorted(call.activation_arguments.items())))


@functools.lru_cache(maxsize=256)
def _needed(name: str, arguments: tuple[tuple[str, float], ...]) -> float:
    return required_gain(activation(name, **dict(arguments))) ** 2


# -- rank -------------------------------------------------------------------------------------


@torch.no_grad()
def ranks(tensors: list[torch.Tensor]) -> np.ndarray:
    """Numerical ranks, counted up to RANK, from Gaussian sketches of the columns; 0 for NaN.

    Halko, Martinsson & Tropp, "Finding structure with randomness", SIAM Review 2011: W times a
    random matrix with k columns has rank min(rank W, k) with probability one, and what is left of
    the next column once the earlier ones are projected out shows whether the range is exhausted
    (section 4.3). Left over counts what exceeds max(shape) x eps of the largest column, and at least
    1e-7 of it. Costs one product of each W with 32 vectors.
    """
    matrices = [t.detach().flatten(1) if t.dim() > 1 else t.detach()[:, None] for t in tensors]
    found = np.zeros(len(matrices))
    groups: dict[int, list[int]] = defaultdict(list)
    grams: list[torch.Tensor] = []
    for index, matrix in enumerate(matrices):
        width = min(RANK, *matrix.shape)
        if width:
            groups[width].append(index)
    order = [index for indices in groups.values() for index in indices]
    grams = gathered([_gram(matrices[index]) for index in order])
    by_index = dict(zip(order, grams, strict=True))
    for indices in groups.values():
        stacked = np.stack([by_index[i].numpy() for i in indices])
        epsilon = [torch.finfo(matrices[i].dtype).eps * max(matrices[i].shape) for i in indices]
        found[indices] = _independent_columns(stacked, np.maximum(epsilon, 1e-7))
    return found


def _gram(matrix: torch.Tensor) -> torch.Tensor:
    """(k, k) inner products of the sketch's columns."""
    if matrix.dtype in (torch.float16, torch.bfloat16):
        matrix = matrix.float()
    random = _random(matrix.shape[1], matrix.dtype, matrix.device)
    sketch = (matrix @ random[:, : min(RANK, *matrix.shape)]).double()
    return sketch.T @ sketch


@functools.lru_cache(maxsize=16)
def _random(rows: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.randn(rows, RANK, generator=torch.Generator().manual_seed(0)).to(device, dtype)


def _independent_columns(grams: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """(N,) how many columns are left over, one after the other, from (N, k, k) Gram matrices."""
    finite = np.isfinite(grams).all((1, 2))
    grams = np.where(finite[:, None, None], grams, 0.0)
    least = tolerance**2 * np.einsum("nkk->nk", grams).max(1)
    full = _all_independent(grams, least)
    count = np.where(full, grams.shape[1], 0)
    grams, least = grams[~full], least[~full]
    left_over = np.zeros(len(grams))
    while len(grams) and grams.shape[1]:
        left = grams[:, 0, 0]
        counts = (left > least) & (left > 0)
        left_over += counts
        column = grams[:, 0, 1:] / np.sqrt(np.where(counts, left, np.inf))[:, None]
        grams = grams[:, 1:, 1:] - column[:, :, None] * column[:, None, :]
    count[~full] = left_over
    return count


def _all_independent(grams: np.ndarray, least: np.ndarray) -> np.ndarray:
    """(N,) whether every column is left over: the quick way, for matrices of full rank."""
    try:
        factors = np.linalg.cholesky(grams)
    except np.linalg.LinAlgError:
        return np.zeros(len(grams), dtype=bool)
    return (np.einsum("nkk->nk", factors) ** 2 > least[:, None]).all(1)
