"""Which activations saturate, in numbers, and what it does to training.

Two arms. *Identities* about the derivatives, against torch's autograd on a grid. *Training* of a
plain deep net on digits with sigmoid, tanh and ReLU, each with the weight variance that keeps its
signal, and of sigmoid with batch normalisation as the control.

Letters: S seeds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab
from sounding.studies.reaching import steps_until
from sounding.studies.samples import digit_images
from sounding.theory import activation, forward_gain, second_moment
from sounding.theory import mean as gaussian_mean
from sounding.train import Case, Recipe
from sounding.verdict import Verdict, every, overall

EXACT, READ = 1e-10, 1.0  # errors of identities; of published digits, in units of their last one
KINDS: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
}
CONTROL = "sigmoid with batch norm"
FLAT, ACCURACY, FACTOR = 0.01, 0.95, 3.0
LRS, TUNING_SEED, SEEDS = (0.003, 0.01, 0.03, 0.1), 100, (0, 1, 2, 3, 4)
LAYERS, WIDTH, STEPS = 12, 64, 400

STATEMENT = (
    "The slopes of sigmoid and tanh vanish for large inputs and those of sigmoid shrink any signal "
    "fourfold, while ReLU's is 0 or 1: so a deep plain net trains far more slowly with sigmoid"
)
CRITERION = (
    f"identities on a grid, errors below {EXACT:g}, published numbers to their last digit; and "
    f"digits, {LAYERS} layers without normalisation, weights that keep the signal's second moment, "
    "SGD at the best of the learning rates "
    f"{LRS}: the median of 5 seeds' steps to {ACCURACY:.0%} training accuracy is with sigmoid at "
    f"least {FACTOR:g} times that with ReLU, or no run with sigmoid gets there; with batch "
    "normalisation every run with sigmoid does"
)


# --- the two scales -------------------------------------------------------------------------------


def quick(
    lab: Lab,
    *,
    width: int = WIDTH,
    layers: int = LAYERS,
    steps: int = STEPS,
    lrs: Sequence[float] = LRS,
    seeds: Sequence[int] = SEEDS,
) -> Measured:
    """Both arms."""
    identities = [
        every(list(errors.values()), below=bound, statement=statement, note=", ".join(errors))
        for statement, (errors, bound) in facts().items()
    ]
    arms = [*KINDS, CONTROL]
    lab.plan(len(arms) * (len(lrs) + len(seeds)))
    size = {"width": width, "layers": layers, "steps": steps}
    runs = {arm: _tuned(lab, {"kind": arm, **size}, lrs, seeds) for arm in arms}
    needed = {arm: np.array([run["steps"] for run in own]) for arm, own in runs.items()}
    parts = [*identities, _slower(needed, steps, seeds), _control(needed, steps, seeds)]
    verdict = overall(parts[-2], parts, statement=STATEMENT, criterion=CRITERION)
    ordered = every(
        np.diff([np.median(needed[kind]) for kind in ("relu", "tanh", "sigmoid")]),
        above=0.0,
        statement="reported: the median steps grow from ReLU to tanh to sigmoid",
        note=", ".join(f"{kind} {np.median(own):g}" for kind, own in needed.items()),
    )
    flat = {arm: np.array([run["flat"] for run in own]) for arm, own in runs.items()}
    return (verdict, *parts, ordered), [_chart_of_slopes(), _chart_of_steps(needed, flat)]


CLAIM = Claim(
    name="saturation",
    topic="activations",
    claim=STATEMENT,
    source=(
        "Glorot, Bengio, AISTATS 2010; Glorot, Bordes, Bengio, 'Deep Sparse Rectifier Neural "
        "Networks', AISTATS 2011"
    ),
    criterion=CRITERION,
    quick=quick,
    full=functools.partial(
        quick, width=256, steps=6000, lrs=(0.001, *LRS, 0.3, 1.0), seeds=tuple(range(20))
    ),
    full_criterion=CRITERION.replace("5 seeds", "20 seeds").replace(
        str(LRS), str((0.001, *LRS, 0.3, 1.0))
    ),
    how=(
        "Derivatives come from autograd in float64. The learning rate of each net is the one that "
        "needs the fewest steps on another seed. Training accuracy is averaged over 20 batches of "
        f"64. The share of units with a slope below {FLAT} is read on the training data after "
        "training."
    ),
    depends=(
        "A sigmoid's second moment is mostly its mean of 1/2, so weights that keep the moment do "
        "not keep differences between inputs; that, and slopes of at most 1/4, is what stops the "
        "deep net. With batch normalisation the same net trains. Shallow nets train with any of "
        "the three."
    ),
)


# --- identities -----------------------------------------------------------------------------------


def slope_of(function: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor) -> torch.Tensor:
    """The derivative by autograd."""
    z = z.detach().requires_grad_()
    return torch.autograd.grad(function(z).sum(), z)[0]


def facts() -> dict[str, tuple[dict[str, float], float]]:
    """Statements, with the error of each fact by name and the bound that it must keep."""
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    return {
        "slopes of sigmoid and tanh are s (1 - s) and 1 - tanh^2; tanh is a sigmoid": (
            _saturating(z), EXACT,
        ),
        "slopes of ReLU, leaky ReLU, ELU and maxout are what they are said to be": (
            _modern(z), EXACT,
        ),
        "published minima, slopes and thresholds of GELU, SiLU, sigmoid and tanh": (
            _published(z), READ,
        ),
    }  # fmt: skip


def _saturating(z: torch.Tensor) -> dict[str, float]:
    sigmoid, tanh = torch.sigmoid(z), torch.tanh(z)
    slopes = slope_of(torch.sigmoid, z)
    chain = functools.reduce(lambda h, _: torch.sigmoid(h), range(10), z)
    product = slope_of(lambda x: functools.reduce(lambda h, _: torch.sigmoid(h), range(10), x), z)
    assert chain.shape == product.shape
    return {
        "sigmoid": _worst(slopes - sigmoid * (1 - sigmoid)),
        "tanh": _worst(slope_of(torch.tanh, z) - (1 - tanh**2)),
        "at most 1/4": _worst(slopes.max() - 0.25),
        "at most 1": _worst(slope_of(torch.tanh, z).max() - 1),
        "tanh z = 2 sigmoid(2z) - 1": _worst(tanh - (2 * torch.sigmoid(2 * z) - 1)),
        "ten sigmoids: at most 4^-10": max(0.0, float(product.max()) - 4.0**-10),
    }


def _modern(z: torch.Tensor) -> dict[str, float]:
    step = (z > 0).double()  # torch's ReLU has the slope 0 at 0
    leaky = functools.partial(functional.leaky_relu, negative_slope=0.1)
    selu = activation("selu")
    pieces = torch.stack([z, 0.5 - z, 0.3 * z + 1])  # maxout of three
    by_piece = torch.autograd.grad((owned := pieces.requires_grad_()).amax(0).sum(), owned)[0]
    chosen = functional.one_hot(pieces.detach().argmax(0), 3).T.double()
    return {
        "ReLU": _worst(slope_of(torch.relu, z) - step),
        "leaky ReLU": _worst(slope_of(leaky, z) - (step + 0.1 * (1 - step))),
        "ELU": _worst(slope_of(functional.elu, z) - torch.where(z > 0, 1.0, z.exp())),
        "maxout": _worst(by_piece - chosen),
        "SELU keeps mean 0": abs(gaussian_mean(selu, 1.0)),
        "SELU keeps second moment 1": abs(second_moment(selu, 1.0) - 1),
    }


def _published(z: torch.Tensor) -> dict[str, float]:
    """Differences from four published digits, in units of the last one."""
    found = {}
    for name, function, least, at, low, high in (
        ("GELU", functional.gelu, -0.1700, -0.7518, -0.1289, 1.1289),
        ("SiLU", functional.silu, -0.2785, -1.2785, -0.0998, 1.0998),
    ):
        fine = torch.linspace(-4, 4, 800_001, dtype=torch.float64)
        values, slopes = function(fine), slope_of(function, fine)
        read = (values.min(), fine[values.argmin()], slopes.min(), slopes.max())
        for what, value, printed in zip(
            ("minimum", "where", "lowest slope", "highest slope"), read, (least, at, low, high),
            strict=True,
        ):  # fmt: skip
            found[f"{name} {what}"] = abs(float(value) - printed) / 1e-4
    for name, function, threshold in (("tanh", torch.tanh, 2.99), ("sigmoid", torch.sigmoid, 4.6)):
        flat = z[(slope_of(function, z) >= FLAT)].abs().max()
        found[f"{name} flat beyond {threshold}"] = abs(float(flat) - threshold) / 0.05
    return found


def _worst(error: torch.Tensor) -> float:
    return float(error.abs().max())


# --- training -------------------------------------------------------------------------------------


def _tuned(
    lab: Lab, settings: Mapping[str, Any], lrs: Sequence[float], seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """The runs of every seed, at the learning rate that needs the fewest steps on another seed."""
    search = lab.map(learning, [{**settings, "lr": lr, "seed": TUNING_SEED} for lr in lrs])
    best = min(zip(search, lrs, strict=True), key=lambda one: (one[0]["steps"], one[0]["loss"]))[1]
    return lab.map(learning, [{**settings, "lr": best, "seed": seed} for seed in seeds])


def learning(
    kind: str, width: int, layers: int, steps: int, lr: float, seed: int
) -> dict[str, float]:
    """Steps to 95 % training accuracy, the final loss, and the share of flat units in the end."""
    x, y = digit_images().train
    build = functools.partial(plain_net, kind, width, layers)
    recipe = Recipe(lr=lr, momentum=0.9, batch_size=64, steps=steps)
    ends: dict[str, float] = {}

    def metric(model: nn.Module) -> dict[str, float]:
        ends["loss"] = functional.cross_entropy(model(x), y).item()
        ends["flat"] = _share_flat(model, x)
        return {}

    case = Case(build, functional.cross_entropy, (x, y), recipe, metric=metric)
    needed = steps_until(case, seed, ACCURACY)
    return {"steps": needed, "loss": math.inf, "flat": math.nan, **ends}


def plain_net(kind: str, width: int, layers: int) -> nn.Sequential:
    """`layers` weighted layers from 64 pixels to 10 classes, without skips."""
    make = KINDS[kind.split(" ")[0]]
    gain = forward_gain(activation(kind.split(" ")[0]))
    modules: list[nn.Module] = []
    for inputs in (64, *[width] * (layers - 2)):
        layer = nn.Linear(inputs, width)
        scale = gain if modules else 1.0  # the pixels have second moment 1
        nn.init.normal_(layer.weight, std=scale / math.sqrt(inputs))
        nn.init.zeros_(layer.bias)
        norms = [nn.BatchNorm1d(width)] if kind == CONTROL else []
        modules += [layer, *norms, make()]
    head = nn.Linear(width, 10)
    nn.init.normal_(head.weight, std=1 / math.sqrt(width))
    nn.init.zeros_(head.bias)
    return nn.Sequential(*modules, head)


def _share_flat(model: nn.Module, x: torch.Tensor) -> float:
    assert isinstance(model, nn.Sequential)
    flat = []
    for module in model:
        if isinstance(module, tuple(KINDS.values())):
            with torch.enable_grad():
                flat.append(slope_of(module, x).abs() < FLAT)
        x = module(x)
    return torch.cat([part.flatten() for part in flat]).double().mean().item()


# --- verdicts -------------------------------------------------------------------------------------


def _slower(needed: Mapping[str, np.ndarray], steps: int, seeds: Sequence[int]) -> Verdict:
    ratio = float(np.median(needed["sigmoid"]) / np.median(needed["relu"]))
    never = bool((needed["sigmoid"] >= steps).all() and (needed["relu"] < steps).all())
    return every(
        [math.inf if never else ratio],
        above=FACTOR * (1 - 1e-9),
        statement=f"sigmoid needs at least {FACTOR:g} times ReLU's steps to {ACCURACY:.0%}",
        seeds=seeds,
        note=f"median steps: sigmoid {np.median(needed['sigmoid']):g}, ReLU "
        f"{np.median(needed['relu']):g}" + ", of all: it never got there" * never,
    )


def _control(needed: Mapping[str, np.ndarray], steps: int, seeds: Sequence[int]) -> Verdict:
    return every(
        needed[CONTROL],
        below=steps,
        statement=f"with batch normalisation sigmoid reaches {ACCURACY:.0%} on every seed",
        seeds=seeds,
    )


def _chart_of_slopes() -> Chart:
    z = torch.linspace(-6, 6, 121, dtype=torch.float64)
    functions = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "ReLU": torch.relu,
                 "GELU": functional.gelu}  # fmt: skip
    lines = tuple(
        Line(label=name, x=z.numpy(), y=slope_of(function, z).numpy(), theory=True)
        for name, function in functions.items()
    )
    return Chart(title="Slopes of activations", x_label="input", y_label="slope", lines=lines)


def _chart_of_steps(needed: Mapping[str, np.ndarray], flat: Mapping[str, np.ndarray]) -> Chart:
    """Steps of each seed in order, so that runs that never got there show at the top."""
    lines = tuple(
        Line(
            label=f"{arm} ({np.nanmean(flat[arm]):.0%} of slopes below {FLAT})",
            x=np.arange(1, len(own) + 1),
            y=np.sort(own),
        )
        for arm, own in needed.items()
    )
    return Chart(
        title=f"Steps to {ACCURACY:.0%} training accuracy",
        x_label="seed, in order of its steps",
        y_label="steps; runs that never got there count as all",
        lines=lines,
        log_y=True,
    )
