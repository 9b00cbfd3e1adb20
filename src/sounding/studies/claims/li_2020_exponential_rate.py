"""Li & Arora 2020: a growing learning rate without weight decay is a constant one with it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured, not_tested
from sounding.studies.lab import Lab, grid
from sounding.studies.residual_nets import residual_net
from sounding.studies.samples import accuracy, cifar, digit_images, needs
from sounding.theory.exponential_rate import equivalent_rates, first_velocity, shrinkage
from sounding.train import Case, Recipe, Trial, final_loss, seeded
from sounding.verdict import Verdict, agrees, every, overall

# learning rate, weight decay, momentum; with 0.9 an equivalent exists up to rate x decay = 0.00263
SETTINGS = ((0.1, 5e-4, 0.0), (0.1, 5e-4, 0.9), (0.1, 2e-2, 0.9))
NO_EPS, EPS = 1e-300, 1e-5
SAME, DIFFERENT, IDENTITY = 1e-9, 1e-4, 1e-10
POINTS = 0.003  # of test accuracy, at the full scale
SEEDS = (0, 1, 2)
DECAY, GROWING, LATE, EXACT = "decay", "growing", "no first velocity", "any schedule"
DROPS = {"constant": (), "drops": (1 / 2, 3 / 4)}  # where the rate falls to a tenth

STATEMENT = (
    "For weights whose size does not matter, as before a normalisation, SGD with momentum, weight "
    "decay and a constant learning rate makes the same functions as SGD with momentum, no decay "
    "and an exponentially growing rate"
)
QUICK = (
    "Two layers of 64 units with batch normalisation on digits, double precision, 400 steps, three "
    f"settings of rate, decay and momentum, 3 seeds: losses of both runs differ by less than "
    f"{SAME:g} of their size at every step; without the growing run's first velocity, or with the "
    f"usual eps of 1e-5 in the normalisation, by more than {DIFFERENT:g}"
)
FULL = (
    "ResNet-32 on CIFAR-10 in single precision, a rate that drops twice, 3 seeds: test accuracies "
    "equal within 0.3 points by the t-interval, final training losses within two deviations "
    "between seeds"
)


# --- the two scales -------------------------------------------------------------------------------


def quick(
    lab: Lab,
    *,
    steps: int = 400,
    width: int = 64,
    seeds: Sequence[int] = SEEDS,
    settings: Sequence[tuple[float, float, float]] = SETTINGS,
) -> Measured:
    """Runs in pairs, loss against loss; the sizes are arguments."""
    size = {"steps": steps, "width": width}
    ask = functools.partial(_runs, lab, size, seeds)
    lab.plan(len(seeds) * (2 * len(settings) + 9) + len(seeds))
    pairs = [(ask(s, DECAY), ask(s, GROWING)) for s in settings]
    strongest, moderate = settings[-1], settings[1]
    parts = [_same(_apart(*pair), s, seeds) for pair, s in zip(pairs, settings, strict=True)]
    late = _apart(pairs[-1][0], ask(strongest, LATE))
    coarse = _apart(ask(strongest, DECAY, eps=EPS), ask(strongest, GROWING, eps=EPS))
    parts += [
        _differs(late, "without the first velocity the runs are not the same", seeds),
        _differs(coarse, "with eps = 1e-5 in the normalisation the runs are not the same", seeds),
        *_invariance(lab.map(invariance, grid(seeds)), seeds),
    ]
    dropping = (ask(strongest, DECAY, drop="drops"), ask(strongest, EXACT, drop="drops"))
    layer = (ask(moderate, DECAY, norm="layer"), ask(moderate, GROWING, norm="layer"))
    reported = [
        _reported(_apart(*dropping), "a rate that drops twice, by the exact factors", seeds),
        _reported(_apart(*layer), "layer instead of batch normalisation", seeds),
        _growth(pairs[-1], strongest, steps, seeds),
    ]
    apart = {"as stated": _apart(*pairs[-1]), "no first velocity": late, "eps = 1e-5": coarse}
    charts = [_rates_chart(settings, steps), _apart_chart(apart)]
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=QUICK)
    return (verdict, *parts, *reported), charts


def full(
    lab: Lab,
    *,
    device: str = "cuda",
    images: int | None = None,
    steps: int = 80 * 390,
    depth: int = 32,
    seeds: Sequence[int] = SEEDS,
) -> Measured:
    """A residual net on CIFAR-10 in three phases; the sizes are arguments for smaller runs."""
    if reason := needs(device, cifar10=True):
        return not_tested(STATEMENT, FULL, reason, unit="test accuracy")
    size = {"device": device, "images": images, "steps": steps, "depth": depth}
    jobs = grid(seeds, way=[DECAY, EXACT], **{name: [value] for name, value in size.items()})
    runs = lab.train(image_case, jobs)
    decayed, grown = runs[: len(seeds)], runs[len(seeds) :]
    right = [np.array([t.metrics["test accuracy"] for t in arm]) for arm in (grown, decayed)]
    losses = [np.log10([final_loss(t) for t in arm]) for arm in (grown, decayed)]
    parts = [
        agrees(*right, tolerance=POINTS, statement="both reach the same test accuracy",
               unit="test accuracy", seeds=seeds),
        agrees(*losses, tolerance=2 * float(np.std(losses[1], ddof=1)),
               statement="the final training losses agree within two deviations between seeds",
               unit="decades of loss", seeds=seeds),
    ]  # fmt: skip
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=FULL)
    lines = [_loss_line(label, arm) for label, arm in ((DECAY, decayed), (EXACT, grown))]
    chart = Chart(title="ResNet with weight decay, and with a growing rate", x_label="step",
                  y_label="training loss", lines=tuple(lines), log_y=True)  # fmt: skip
    return (verdict, *parts), (chart,)


CLAIM = Claim(
    name="li-2020-exponential-rate",
    topic="normalisation",
    claim=STATEMENT,
    source="Li, Arora, 'An Exponential Learning Rate Schedule for Deep Learning', ICLR 2020",
    link="https://arxiv.org/abs/1910.07454",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    smoke={"images": 64, "steps": 8},
    how=(
        "Two runs from the same weights on the same batches. The first has a constant rate and "
        "weight decay; the second has no decay, a rate that grows by a constant factor a step "
        "(alpha^-2, alpha the larger root of x^2 - (1 + momentum - rate decay) x + momentum) and a "
        "first velocity. At every step the losses are compared. Only weights before a "
        "normalisation are trained, the normalisation has no eps; output layer, scale and shift "
        "stay fixed."
    ),
    depends=(
        "It is exact only if every trained weight is scale-invariant: the usual eps of batch "
        "normalisation already breaks it, since the weights grow. The first velocity is needed as "
        "well. Without it, and for a rate that drops, another schedule is exact: its growth "
        "starts at 1 / (1 - rate decay) and settles within some 1 / (1 - momentum) steps; this is "
        "reported beside the verdict. Above rate x decay = (1 - sqrt(momentum))^2 no constant "
        "growth exists. The statement is one of functions: the weights of the second run grow "
        "without bound."
    ),
)


# --- networks -------------------------------------------------------------------------------------


def invariant_net(norm: str, width: int, eps: float) -> nn.Sequential:
    """Two normalised layers whose weights may have any size, and a fixed head; double precision."""
    layers: list[nn.Module] = []
    for inputs in (64, width):
        normalise = (
            nn.BatchNorm1d(width, eps=eps, affine=False)
            if norm == "batch"
            else nn.LayerNorm(width, eps=eps, elementwise_affine=False)
        )
        layers += [nn.Linear(inputs, width, bias=False), normalise, nn.ReLU()]
    head = nn.Linear(width, 10).requires_grad_(False)
    return nn.Sequential(*layers, head).double()


def run_case(
    rate: float,
    decay: float,
    momentum: float,
    way: str,
    steps: int,
    width: int,
    eps: float = NO_EPS,
    norm: str = "batch",
    drop: str = "constant",
) -> Case:
    """One run on digits: with weight decay, or in a way that is to replace it."""
    x, y = digit_images().train
    build = functools.partial(invariant_net, norm, width, eps)
    recipe = _recipe(way, _rates(rate, drop, steps), decay, momentum).replace(batch_size=64)
    return Case(build, functional.cross_entropy, (x.double(), y), recipe, metric=weight_norm)


def image_case(
    way: str, device: str, images: int | None, steps: int, depth: int, batch_size: int = 128
) -> Case:
    """One run of a residual net on the first `images` of CIFAR-10; None: all of them."""
    train, test = cifar(device)
    build = functools.partial(_image_net, depth, train.x.device)
    recipe = _recipe(way, _rates(0.1, "drops", steps), 5e-4, 0.9).replace(batch_size=batch_size)
    batches = (train.x[:images], train.y[:images])
    metric = functools.partial(_test_accuracy, test.x[:images], test.y[:images])
    return Case(build, functional.cross_entropy, batches, recipe, metric=metric, name=way)


def _image_net(depth: int, device: torch.device) -> nn.Sequential:
    norm = functools.partial(nn.BatchNorm2d, eps=1e-30, affine=False)
    net = residual_net(depth, norm=norm, device=device)
    net[-1].requires_grad_(False)
    return net


def _test_accuracy(x: torch.Tensor, y: torch.Tensor, model: nn.Module) -> dict[str, float]:
    return {"test accuracy": accuracy(x, y, model)["accuracy"]}


def weight_norm(model: nn.Module) -> dict[str, float]:
    """The norm of all trained weights together."""
    weights = [p.detach().flatten() for p in model.parameters() if p.requires_grad]
    return {"weight norm": float(torch.cat(weights).norm())}


# --- recipes --------------------------------------------------------------------------------------


def _rates(rate: float, drop: str, steps: int) -> np.ndarray:
    """(T,) the learning rates of the run with decay."""
    drops = [round(share * steps) for share in DROPS[drop]]
    return rate * 0.1 ** np.searchsorted(drops, np.arange(steps), side="right")


def _recipe(way: str, rates: np.ndarray, decay: float, momentum: float) -> Recipe:
    first, steps = float(rates[0]), len(rates)
    recipe = Recipe(lr=first, momentum=momentum, steps=steps)
    if way == DECAY:
        factors = tuple((rates / first).tolist())
        return recipe.replace(weight_decay=decay, schedule=functools.partial(_factor, factors))
    if way == EXACT:
        factors = tuple((equivalent_rates(rates, decay, momentum).rates / first).tolist())
        return recipe.replace(schedule=functools.partial(_factor, factors))
    alpha = shrinkage(first, decay, momentum)
    growth = tuple((alpha ** (-2.0 * np.arange(steps) - 1)).tolist())
    recipe = recipe.replace(schedule=functools.partial(_factor, growth))
    if way == GROWING and momentum:
        start = first_velocity(first, alpha)
        moving = functools.partial(_moving_sgd, momentum, start)
        return recipe.replace(optimiser=moving, momentum=0.0)
    return recipe


def _factor(factors: Sequence[float], step: int, _: int) -> float:
    return factors[step]


def _moving_sgd(
    momentum: float, start: float, parameters: list[nn.Parameter]
) -> torch.optim.Optimizer:
    """SGD that has a velocity already: `start` times the weights."""
    sgd = torch.optim.SGD(parameters, lr=1.0, momentum=momentum)
    for p in parameters:
        sgd.state[p]["momentum_buffer"] = start * p.detach().clone()
    return sgd


# --- measurements ---------------------------------------------------------------------------------


def invariance(seed: int) -> dict[str, float]:
    """How far the gradient is from orthogonal to the weights, and from grad(w) / 3 at 3 w."""
    with seeded(seed):
        net = invariant_net("batch", 64, NO_EPS)
    batch = (digit_images().train.x[:64].double(), digit_images().train.y[:64])
    weights = [p for p in net.parameters() if p.requires_grad]
    one = _gradients(net, weights, batch)
    radial = max(
        abs(float(functional.cosine_similarity(w.detach().flatten(), g.flatten(), dim=0)))
        for w, g in zip(weights, one, strict=True)
    )
    with torch.no_grad():
        for w in weights:
            w *= 3.0
    three = _gradients(net, weights, batch)
    scaling = max(float((3 * b - a).norm() / a.norm()) for a, b in zip(one, three, strict=True))
    return {"radial": radial, "scaling": scaling}


def _gradients(
    net: nn.Module, weights: list[nn.Parameter], batch: tuple[torch.Tensor, torch.Tensor]
) -> Sequence[torch.Tensor]:
    return torch.autograd.grad(functional.cross_entropy(net(batch[0]), batch[1]), weights)


def _runs(
    lab: Lab,
    size: dict[str, Any],
    seeds: Sequence[int],
    setting: tuple[float, float, float],
    way: str,
    **other: Any,
) -> list[Trial]:
    rate, decay, momentum = setting
    run = {"rate": rate, "decay": decay, "momentum": momentum, "way": way, **size, **other}
    return lab.train(run_case, [{**run, "seed": seed} for seed in seeds])


def _apart(first: Sequence[Trial], second: Sequence[Trial]) -> np.ndarray:
    """(S, T) the relative difference of losses; NaN from where one of them has none."""
    steps = max(len(trial.loss.values) for trial in (*first, *second))
    rows = [[np.full(steps, np.nan) for _ in first] for _ in range(2)]
    for arm, trials in zip(rows, (first, second), strict=True):
        for row, trial in zip(arm, trials, strict=True):
            row[: len(trial.loss.values)] = trial.loss.values
    one, other = np.array(rows)
    return np.abs(other - one) / np.abs(one)


# --- verdicts and charts --------------------------------------------------------------------------


def _same(apart: np.ndarray, setting: tuple[float, float, float], seeds: Sequence[int]) -> Verdict:
    rate, decay, momentum = setting
    return every(
        apart.max(1),
        below=SAME,
        statement=(
            f"rate {rate:g}, decay {decay:g}, momentum {momentum:g}: largest relative difference "
            "of losses over all steps"
        ),
        seeds=seeds,
    )


def _differs(apart: np.ndarray, statement: str, seeds: Sequence[int]) -> Verdict:
    return every(np.nanmax(apart, axis=1), above=DIFFERENT, statement=statement, seeds=seeds)


def _reported(apart: np.ndarray, what: str, seeds: Sequence[int]) -> Verdict:
    statement = f"reported: {what}: the losses are the same as well"
    return every(apart.max(1), below=SAME, statement=statement, seeds=seeds)


def _invariance(runs: Sequence[dict[str, float]], seeds: Sequence[int]) -> list[Verdict]:
    statements = {
        "radial": "the gradient is orthogonal to the weights",
        "scaling": "weights three times as large have a third of the gradient",
    }
    return [
        every([run[key] for run in runs], below=IDENTITY, statement=statement, seeds=seeds)
        for key, statement in statements.items()
    ]


def _growth(
    pair: tuple[Sequence[Trial], Sequence[Trial]],
    setting: tuple[float, float, float],
    steps: int,
    seeds: Sequence[int],
) -> Verdict:
    decayed, grown = ([t.metrics.get("weight norm", np.nan) for t in arm] for arm in pair)
    expected = shrinkage(*setting) ** -float(steps)
    error = np.abs(np.divide(grown, decayed) / expected - 1)
    statement = (
        f"reported: after {steps} steps the weights are alpha^-{steps} = {expected:.6g} times as "
        "large"
    )
    return every(error, below=SAME, statement=statement, seeds=seeds)


def _rates_chart(settings: Sequence[tuple[float, float, float]], steps: int) -> Chart:
    lines = []
    for rate, decay, momentum in settings:
        alpha = shrinkage(rate, decay, momentum)
        lines.append(
            Line(
                label=f"decay {decay:g}, momentum {momentum:g}",
                x=np.arange(steps),
                y=rate * alpha ** (-2.0 * np.arange(steps) - 1),
                theory=True,
            )
        )
    return Chart(
        title="Rates that replace weight decay at the constant rate 0.1",
        x_label="step",
        y_label="learning rate",
        lines=tuple(lines),
        log_y=True,
    )


def _apart_chart(apart: dict[str, np.ndarray]) -> Chart:
    lines = [
        Line(label=label, x=np.arange(rows.shape[1]), y=np.maximum(np.nanmax(rows, axis=0), 1e-17))
        for label, rows in apart.items()
    ]
    return Chart(
        title="Difference of the two runs' losses, decay 0.02, largest of the seeds",
        x_label="step",
        y_label="relative difference",
        lines=tuple(lines),
        log_y=True,
    )


def _loss_line(label: str, trials: Sequence[Trial]) -> Line:
    losses = np.array([t.loss.values for t in trials if not t.diverged])
    return Line(label=label, x=np.arange(losses.shape[-1]), y=losses.mean(0))
