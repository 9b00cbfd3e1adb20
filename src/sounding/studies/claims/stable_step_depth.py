"""How large a step stays stable at the start of training, over the depth of a ReLU net.

The largest stable step of gradient descent on the local quadratic is 2 / lambda_max, here of the
Gauss-Newton matrix of a squared loss at random weights. Its largest eigenvalue is that of J J' / N
for one output, a small dense matrix, so it is exact.

Letters: L layers, n units, N samples, S seeds; s = n Var(w).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch

from sounding.studies.chart import Chart
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.studies.lines import measured, predicted
from sounding.verdict import every, overall

SCALES, DEPTHS, WIDTH, SAMPLES = (1.0, 2.0, 4.0), (4, 8, 16, 32), 256, 32
LITTLE, MUCH = 4.0, 100.0  # factors between the first and the last depth
SEEDS = (0, 1, 2, 3, 4)

STATEMENT = (
    "In a deep ReLU net the largest stable learning rate depends on depth by orders of magnitude "
    "unless the weights have the critical variance, s = 2"
)
CRITERION = (
    f"ReLU nets of width {{width}} at random weights, squared loss: from depth {DEPTHS[0]} to "
    f"{DEPTHS[-1]} the largest stable step, 2 over the largest eigenvalue of the Gauss-Newton "
    f"matrix, changes by less than a factor {LITTLE:g} at s = 2 and by more than {MUCH:g} at "
    "s = 4, on each of {seeds} seeds"
)


def quick(lab: Lab, *, width: int = WIDTH, seeds: Sequence[int] = SEEDS) -> Measured:
    """Every scale and depth on every seed."""
    settings = grid(seeds, scale=list(SCALES), depth=list(DEPTHS), width=[width])
    runs = lab.map(stable_step, settings)
    steps = np.log10([run["step"] for run in runs]).reshape(len(SCALES), len(DEPTHS), len(seeds))
    change = np.abs(steps[:, -1] - steps[:, 0])  # (scales, S)
    at = {scale: change[i] for i, scale in enumerate(SCALES)}
    little = every(
        10 ** at[2.0],
        below=LITTLE,
        statement=f"at s = 2 the stable step changes by less than a factor {LITTLE:g}",
        seeds=seeds,
    )
    much = every(
        at[4.0],
        above=math.log10(MUCH),
        statement=f"at s = 4 the stable step changes by more than {math.log10(MUCH):g} decades",
        seeds=seeds,
    )
    far = every(
        at[1.0],
        above=math.log10(MUCH),
        statement=f"reported: at s = 1 it changes by more than {math.log10(MUCH):g} decades, too",
        seeds=seeds,
    )
    criterion = CRITERION.format(width=width, seeds=len(seeds))
    verdict = overall(much, [little, much], statement=STATEMENT, criterion=criterion)
    return (verdict, little, much, far), [_chart(steps)]


CLAIM = Claim(
    name="stable-step-depth",
    topic="gradients through depth",
    claim=STATEMENT,
    source=(
        "folklore about deep nets; the bound 2 / lambda_max is that of gradient descent on a "
        "quadratic"
    ),
    criterion=CRITERION.format(width=WIDTH, seeds=len(SEEDS)),
    full_criterion=CRITERION.format(width=1024, seeds=20),
    quick=quick,
    full=functools.partial(quick, width=1024, seeds=tuple(range(20))),
    how=(
        f"Gaussian inputs, one output, {SAMPLES} samples; the Gauss-Newton matrix has the "
        "non-zero eigenvalues of the samples' matrix of gradient products, which is small. No net "
        "is trained."
    ),
    depends=(
        "At s = 2 every layer adds the same share to the largest eigenvalue, so in a wide net the "
        "stable step falls as one over the number of layers, from 4 to 32 hidden ones by 6.6 "
        "(measured at width 1024: by 7, on 19 of 20 seeds by more than 4); at width 256 "
        "the signal also loses a little, and it falls by about 4. That is little beside the nine "
        "decades at s = 4, and right at the factor that was written down beforehand. "
        "Momentum and adaptive steps move the bound."
    ),
)


def stable_step(scale: float, depth: int, width: int, seed: int) -> dict[str, float]:
    """2 / lambda_max of the mean squared loss of a net with `depth` ReLU layers and one output."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    inputs, gates, weights = [normal(SAMPLES, width)], [], []
    for _ in range(depth):
        weights.append(normal(width, width) * math.sqrt(scale / width))
        z = inputs[-1] @ weights[-1].T
        gates.append(z > 0)
        inputs.append(z.relu())
    weights.append(normal(1, width) * math.sqrt(scale / width))
    return {"step": 2 / float(torch.linalg.eigvalsh(_tangent_kernel(inputs, gates, weights))[-1])}


def _tangent_kernel(
    inputs: Sequence[torch.Tensor], gates: Sequence[torch.Tensor], weights: Sequence[torch.Tensor]
) -> torch.Tensor:
    """(N, N) 2/N sum over layers of (h h') (delta delta'): the matrix of gradient products."""
    delta = torch.ones(SAMPLES, 1, dtype=torch.float64)
    kernel = inputs[-1] @ inputs[-1].T
    for layer in reversed(range(len(gates))):
        delta = (delta @ weights[layer + 1]) * gates[layer]
        kernel = kernel + (inputs[layer] @ inputs[layer].T) * (delta @ delta.T)
    return 2 / SAMPLES * kernel


def _chart(steps: np.ndarray) -> Chart:
    """`steps` (scales, depths, S) in decades."""
    lines = [
        measured(f"s = {scale:g}", DEPTHS, of_scale.T)
        for scale, of_scale in zip(SCALES, steps, strict=True)
    ]
    depths = np.array(DEPTHS)
    first = steps[1, 0].mean()
    lines.append(predicted("one over depth", depths, first - np.log10(depths / depths[0])))
    return Chart(
        title="The largest stable step of a ReLU net at random weights",
        x_label="layers",
        y_label="decades of the step",
        lines=tuple(lines),
        log_x=True,
    )
