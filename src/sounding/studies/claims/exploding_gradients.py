"""Products of many Jacobians explode or vanish, and alignment decides beside singular values.

Two arms. *Product*: log |J v|^2 through linear and ReLU chains of weight scale s, against theory's
change a layer. *Alignment*: weights of mean squared singular value 1 and masks that keep a share q
of the units; the masks fit the directions that the weights send, or not.

Letters: L layers, n units, S seeds; s = n Var(w).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sounding.studies.chart import Chart
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.studies.lines import measured, predicted
from sounding.theory import activation, log_gain_per_layer
from sounding.verdict import Verdict, agrees, overall, slope

SCALES, DEPTH, WIDTH = (0.5, 1.0, 2.0, 4.0), 64, 256
KEPT, MASKED_WIDTH = (0.25, 0.5), 256  # shares of the units that a mask keeps
TOLERANCE = 0.05
SEEDS = tuple(range(10))

STATEMENT = (
    "A gradient's size changes exponentially with depth: by log(s) a layer in linear and log(s/2) "
    "in ReLU chains, s being width times weight variance; and by log(q) where each layer's mask "
    "keeps a share q of the units in no relation to the weights, but not at all where the two are "
    "aligned"
)
CRITERION = (
    f"chains of {{depth}} layers, width {{width}}, s of {', '.join(f'{s:g}' for s in SCALES)}: the "
    f"slope of log |J v|^2 over depth within {TOLERANCE:.0%} of theory, or of log 2 where theory "
    f"is smaller, t-interval over {{seeds}} seeds; masks that keep "
    f"{' or '.join(f'{q:g}' for q in KEPT)}: the slope within {TOLERANCE:.0%} of log q where they "
    "are random, and of that much around 0 where they are aligned"
)


def quick(
    lab: Lab,
    *,
    width: int = WIDTH,
    masked_width: int = MASKED_WIDTH,
    depth: int = DEPTH,
    seeds: Sequence[int] = SEEDS,
) -> Measured:
    """Both arms."""
    chains = grid(seeds, phi=["identity", "relu"], scale=list(SCALES), width=[width],
                  depth=[depth])  # fmt: skip
    masked = grid(seeds, kept=list(KEPT), aligned=[False, True], width=[masked_width],
                  depth=[depth])  # fmt: skip
    lab.plan(len(chains) + len(masked))
    products = _by_arm(chains, lab.map(chain, chains), "phi", "scale")
    masks = _by_arm(masked, lab.map(masked_chain, masked), "kept", "aligned")
    parts = [
        _agreement(
            f"{'ReLU' if phi == 'relu' else 'linear'} chain, s = {s:g}",
            runs,
            log_gain_per_layer(s, activation(phi)),
            math.log(2),
            seeds,
        )
        for (phi, s), runs in products.items()
    ]
    parts += [
        _agreement(
            f"{'aligned' if aligned else 'random'} masks that keep {q:g}",
            runs,
            0.0 if aligned else math.log(q),
            -math.log(q),
            seeds,
        )
        for (q, aligned), runs in masks.items()
    ]
    criterion = CRITERION.format(depth=depth, width=width, seeds=len(seeds))
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=criterion)
    return (verdict, *parts), [_chart_of_chains(products), _chart_of_masks(masks)]


CLAIM = Claim(
    name="exploding-gradients",
    topic="gradients through depth",
    claim=STATEMENT,
    source=(
        "Bengio, Simard, Frasconi, 'Learning long-term dependencies with gradient descent is "
        "difficult', IEEE Transactions on Neural Networks 1994; Glorot, Bengio, AISTATS 2010"
    ),
    criterion=CRITERION.format(depth=DEPTH, width=WIDTH, seeds=len(SEEDS)),
    full_criterion=CRITERION.format(depth=256, width=1024, seeds=20),
    quick=quick,
    full=functools.partial(quick, width=1024, masked_width=512, depth=256, seeds=tuple(range(20))),
    how=(
        "A random direction is sent through the Jacobians of random chains, and the logarithm of "
        "its squared length is noted after every layer; the slope is a least-squares line. In the "
        "arm of masks each layer's weights are a random orthogonal matrix times a diagonal of mean "
        "square 1; aligned weights send the units that are kept to units that are kept."
    ),
    depends=(
        "At finite width the mean of the logarithm lies below the logarithm of the mean, by 1/n a "
        "layer in linear and 2.5/n in ReLU chains. In the arm of masks all factors have the same "
        "singular values with and without alignment: these alone do not decide whether a product "
        "vanishes."
    ),
)


# --- chains ---------------------------------------------------------------------------------------


def chain(phi: str, scale: float, width: int, depth: int, seed: int) -> dict[str, Any]:
    """(L,) log |J v|^2 after every layer, for a random direction at a random input."""
    rng, known = np.random.default_rng(seed), activation(phi)
    z, direction = rng.standard_normal((2, width))
    direction, log, logs = direction / np.linalg.norm(direction), 0.0, []
    for _ in range(depth):
        weight = rng.standard_normal((width, width)) * math.sqrt(scale / width)
        direction = weight @ (known.derivative(z) * direction)
        z = weight @ known.function(z)
        z /= math.sqrt(z @ z / width)  # slopes do not depend on the size of z
        direction, log = _unit(direction, log)
        logs.append(log)
    return {"logs": np.array(logs)}


def masked_chain(kept: float, aligned: bool, width: int, depth: int, seed: int) -> dict[str, Any]:
    """(L,) log |J v|^2 through masks and orthogonal weights times a diagonal of mean square 1."""
    rng, count = np.random.default_rng(seed), round(kept * width)
    open_units = rng.permutation(width)[:count]
    direction, log, logs = np.zeros(width), 0.0, []
    direction[open_units] = rng.standard_normal(count)
    direction /= np.linalg.norm(direction)
    for _ in range(depth):
        diagonal = rng.uniform(0.5, 1.5, width)
        next_units = rng.permutation(width)[:count]
        if aligned:  # an orthogonal matrix that sends the open units to the next open ones
            send = _orthogonal(rng, count)
            part = diagonal[open_units] / math.sqrt((diagonal[open_units] ** 2).mean())
            inside, direction = send @ (part * direction[open_units]), np.zeros(width)
            direction[next_units] = inside
        else:
            diagonal /= math.sqrt((diagonal**2).mean())
            sent, direction = _orthogonal(rng, width) @ (diagonal * direction), np.zeros(width)
            direction[next_units] = sent[next_units]
        open_units = next_units
        direction, log = _unit(direction, log)
        logs.append(log)
    return {"logs": np.array(logs)}


def _unit(direction: np.ndarray, log: float) -> tuple[np.ndarray, float]:
    """The direction at length 1, and the log of the squared length so far."""
    square = float(direction @ direction)
    return direction / math.sqrt(square), log + math.log(square)


def _orthogonal(rng: np.random.Generator, size: int) -> np.ndarray:
    """Evenly distributed over the orthogonal matrices: Q of a QR with the signs of R's diagonal."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return q * np.sign(np.diagonal(r))


# --- verdicts -------------------------------------------------------------------------------------

Arms = dict[tuple[Any, Any], np.ndarray]  # (S, L) logs of each arm


def _by_arm(settings: Sequence[dict], runs: Sequence[dict], *axes: str) -> Arms:
    arms: dict[tuple[Any, Any], list[np.ndarray]] = {}
    for setting, run in zip(settings, runs, strict=True):
        arms.setdefault((setting[axes[0]], setting[axes[1]]), []).append(run["logs"])
    return {key: np.array(logs) for key, logs in arms.items()}


def _agreement(
    what: str, logs: np.ndarray, theory: float, least: float, seeds: Sequence[int]
) -> Verdict:
    """The slopes of `logs` (S, L) against theory, to 5 % of it or of `least`."""
    layers = np.arange(1, logs.shape[1] + 1)
    return agrees(
        [slope(layers, one).value for one in logs],
        np.full(len(logs), theory),
        tolerance=TOLERANCE * max(abs(theory), least),
        statement=f"{what}: log |J v|^2 changes by {theory:.3f} a layer",
        unit="a layer",
        seeds=seeds,
    )


def _chart_of_chains(products: Arms) -> Chart:
    lines = []
    for (phi, s), logs in products.items():
        if phi == "relu":
            layers = np.arange(1, logs.shape[1] + 1)
            theory = layers * log_gain_per_layer(s, activation(phi)) / math.log(10)
            lines.append(measured(f"s = {s:g}", layers, logs / math.log(10)))
            lines.append(predicted(f"s = {s:g}, theory", layers, theory))
    return Chart(
        title="A direction through the Jacobians of ReLU chains",
        x_label="layer",
        y_label="decades of |J v|²",
        lines=tuple(lines),
    )


def _chart_of_masks(masks: Arms) -> Chart:
    lines = []
    for (q, aligned), logs in masks.items():
        layers = np.arange(1, logs.shape[1] + 1)
        label = f"{'aligned' if aligned else 'random'}, {q:.0%} kept"
        lines.append(measured(label, layers, logs / math.log(10)))
        if not aligned:
            lines.append(predicted(f"{label}, theory", layers, layers * math.log10(q)))
    return Chart(
        title="The same singular values, aligned with the masks or not",
        x_label="layer",
        y_label="decades of |J v|²",
        lines=tuple(lines),
    )
