"""The weights themselves: their variance against what the next activation needs, rank, twins."""

from __future__ import annotations

import functools
import math
from collections import defaultdict

import numpy as np

from sounding.capture.matrices import Matrix
from sounding.capture.operations import SEQUENCES
from sounding.capture.passes import Recording
from sounding.measure.readings import Call, Weights
from sounding.theory.activations import activation
from sounding.theory.initialisation import closest_scheme, required_gain

LOOKUPS = ("embedding", "embedding_bag")


def weights(recording: Recording, calls: tuple[Call, ...]) -> Weights:
    """Statistics of every weight that a recorded call used, in the order of first use."""
    used: dict[str, Call] = {}
    for node, call in zip(recording.nodes, calls, strict=True):
        for name in (call.weight, *node.others):
            if name in recording.matrices:
                used.setdefault(name, call)
    found = [recording.matrices[name] for name in used]
    counts = np.array([max(math.prod(m.shape), 1) for m in found])
    moments = np.array([m.norm for m in found]) ** 2 / counts
    variances = _variances(np.array([m.mean for m in found]), moments)
    kurtoses = _kurtoses([m.sample for m in found])
    return Weights(
        parameters=tuple(used),
        variance=variances,
        variance_error=variances * np.sqrt((kurtoses - 1) / counts),
        second_moment=moments,
        fan_in=np.array([float(c.fan_in) for c in used.values()]),
        fan_out=np.array([float(c.fan_out) for c in used.values()]),
        needed=np.array([needed_variance(c) for c in used.values()]),
        scheme=tuple(
            _scheme(call, matrix, variance, kurtosis)
            for call, matrix, variance, kurtosis in zip(
                used.values(), found, variances, kurtoses, strict=True
            )
        ),
        units=np.array([float(c.units) for c in used.values()]),
        rank=ranks(found).astype(np.float64),
        duplicates=np.array([float(m.duplicates) for m in found]),
        symmetric=np.array([float(m.symmetric) for m in found]),
    )


def _variances(means: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Of the entries about their mean."""
    with np.errstate(invalid="ignore", over="ignore"):
        variance = np.where(np.isfinite(moments), np.maximum(moments - means**2, 0.0), moments)
        variance[variance < 1e-6 * moments] = 0.0  # what rounding leaves of a constant
    return variance


def _kurtoses(samples: list[np.ndarray]) -> np.ndarray:
    """E w^4 / (E w^2)^2 about the mean, of the samples; 3, the normal's, where all are equal."""
    found = np.full(len(samples), 3.0)
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for i, entries in enumerate(samples):
        if entries.size:
            groups[entries.shape].append(i)
    for indices in groups.values():
        values = np.stack([samples[i] for i in indices]).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            values -= values.mean(1, keepdims=True)
            values /= np.abs(values).max(1, keepdims=True)
            values *= values
            kurtosis = np.einsum("nk,nk->n", values, values) / values.shape[1]
            kurtosis /= values.mean(1) ** 2
        found[indices] = np.where(kurtosis >= 1, kurtosis, 3.0)
    return found


def _scheme(call: Call, matrix: Matrix, variance: float, kurtosis: float) -> str:
    """The known initialisation that gives this variance, '' for none.

    By torch's own count of the fans, which is what torch's initialisers went by; the recurrent
    layers of torch draw all their weights as if each fan were the number of hidden units.
    """
    if call.operation in LOOKUPS or not variance < math.inf:
        return ""
    field = math.prod(matrix.shape[2:])
    fan_in, fan_out = matrix.shape[1] * field, matrix.shape[0] * field
    count = math.prod(matrix.shape)
    found = closest_scheme(variance, fan_in, fan_out, count, kurtosis=kurtosis)
    if gates := SEQUENCES.get(call.operation.removesuffix("_cell"), 0):
        hidden = matrix.shape[0] // gates
        found = found or closest_scheme(variance, hidden, hidden, count, kurtosis=kurtosis)
    return found[0] if found else ""


def needed_variance(call: Call) -> float:
    """Variance x fan_in with which this call's weights keep the signal's second moment.

    The squared gain of the activation that follows in the executed graph (He et al. 2015, eq. 10
    for rectifiers; the others by quadrature); nan for embeddings, where nothing is summed, and for
    recurrent layers, where the gates decide.
    """
    if call.operation in LOOKUPS or not call.fan_in or "_cell" in call.operation:
        return math.nan
    if call.operation in SEQUENCES:
        return math.nan
    return _needed(call.activation or "identity", tuple(sorted(call.activation_arguments.items())))


@functools.lru_cache(maxsize=256)
def _needed(name: str, arguments: tuple[tuple[str, float], ...]) -> float:
    return required_gain(activation(name, **dict(arguments))) ** 2


# -- rank -------------------------------------------------------------------------------------


def ranks(found: list[Matrix]) -> np.ndarray:
    """(N,) numerical ranks, counted up to 16, from Gaussian sketches of the columns; 0 for NaN.

    Halko, Martinsson & Tropp, "Finding structure with randomness", SIAM Review 2011: W times a
    random matrix with k columns has rank min(rank W, k) with probability one, and what is left of
    the next column once the earlier ones are projected out shows whether the range is exhausted
    (section 4.3). Left over counts what exceeds max(shape) x eps of the largest column, and at
    least 1e-7 of it.
    """
    counted = np.zeros(len(found))
    groups: dict[int, list[int]] = defaultdict(list)
    for i, matrix in enumerate(found):
        groups[min(*matrix.sketch.shape, math.prod(matrix.shape[1:]))].append(i)
    for width, indices in groups.items():
        grams = []
        for i in indices:
            sketch = found[i].sketch[:, :width].astype(np.float64)
            with np.errstate(invalid="ignore", over="ignore"):
                grams.append(sketch.T @ sketch)
        tolerance = [max(found[i].epsilon * found[i].longest, 1e-7) for i in indices]
        if width:
            counted[indices] = _independent_columns(np.stack(grams), np.array(tolerance))
    return counted


def _independent_columns(grams: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """(N,) how many columns are left over, one after the other, from (N, k, k) Gram matrices."""
    grams = np.where(np.isfinite(grams).all((1, 2), keepdims=True), grams, 0.0)
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
