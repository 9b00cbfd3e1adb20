"""The weights themselves: their variance against what the next activation needs, rank, twins."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from sounding.capture.passes import Recording
from sounding.measure.readings import Call, Weights
from sounding.theory.activations import activation
from sounding.theory.initialisation import closest_scheme, required_gain

RANK = 32  # a rank is counted up to this: enough to tell a degenerate matrix from a full one


def weights(recording: Recording, model: nn.Module, calls: tuple[Call, ...]) -> Weights:
    """Statistics of every weight that a recorded call used, in the order of first use."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    used = {c.weight: c for c in reversed(calls) if c.weight}
    rows = [_row(name, parameters[name], used[name], recording) for name in reversed(used)]
    columns = list(zip(*rows, strict=True)) if rows else [()] * 12
    names, schemes = columns[0], columns[7]
    numbers = [np.array(c, dtype=np.float64) for i, c in enumerate(columns) if i not in (0, 7)]
    variance, error, moment, fan_in, fan_out, needed, units, rank, duplicates, symmetric = numbers
    return Weights(
        parameters=tuple(names),
        variance=variance,
        variance_error=error,
        second_moment=moment,
        fan_in=fan_in,
        fan_out=fan_out,
        needed=needed,
        scheme=tuple(schemes),
        units=units,
        rank=rank,
        duplicates=duplicates,
        symmetric=symmetric,
    )


@torch.no_grad()
def _row(name: str, weight: torch.Tensor, call: Call, recording: Recording) -> tuple:
    entries = weight.detach()
    entries = entries.float() if entries.dtype in (torch.float16, torch.bfloat16) else entries
    moment = call.weight_second_moment
    variance = max(moment - float(entries.mean()) ** 2, 0.0) if moment < float("inf") else moment
    if variance < 1e-6 * moment:  # what rounding leaves of a constant
        variance = 0.0
    count = max(entries.numel(), 1)
    scheme = ""
    if call.operation not in ("embedding", "embedding_bag") and variance < float("inf"):
        fourth = float(((entries - entries.mean()) ** 2).square().mean())
        kurtosis = max(fourth / variance**2, 1.0) if variance > 0 else 3.0
        found = closest_scheme(variance, call.fan_in, call.fan_out, count, kurtosis=kurtosis)
        scheme = found[0] if found else ""
    return (
        name,
        variance,
        variance * (2 / count) ** 0.5,  # of a normal sample; a uniform one has less
        moment,
        call.fan_in,
        call.fan_out,
        needed_variance(call),
        scheme,
        call.units,
        rank(entries),
        recording.duplicates.get(name, 0),
        recording.symmetric.get(name, 0),
    )


def needed_variance(call: Call) -> float:
    """Variance x fan_in with which this call's weights keep the signal's second moment.

    The squared gain of the activation that follows in the executed graph (He et al. 2015, eq. 10 for
    rectifiers; the others by quadrature); nan for embeddings, where nothing is summed.
    """
    if call.operation in ("embedding", "embedding_bag"):
        return float("nan")
    phi = activation(call.activation or "identity", **call.activation_arguments)
    return required_gain(phi) ** 2


@torch.no_grad()
def rank(weight: torch.Tensor) -> int:
    """Numerical rank, counted up to RANK, from a Gaussian sketch of the columns.

    Halko, Martinsson and Tropp 2011: W times a random matrix with k columns has rank min(rank W, k)
    with probability one. Costs one product of W with 32 vectors.
    """
    matrix = weight.flatten(1) if weight.dim() > 1 else weight[:, None]
    if not torch.isfinite(matrix).all():
        return 0
    generator = torch.Generator().manual_seed(0)
    columns = min(RANK, *matrix.shape)
    sketch = torch.randn(matrix.shape[1], columns, generator=generator).to(matrix)
    values = torch.linalg.svdvals((matrix @ sketch).double())
    if not len(values) or float(values[0]) == 0.0:
        return 0
    tolerance = max(matrix.shape) * torch.finfo(matrix.dtype).eps
    return int((values > float(values[0]) * tolerance).sum())
