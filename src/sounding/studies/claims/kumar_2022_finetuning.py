"""Fine-tuning from a random head distorts good features outside the training data's subspace.

The *linear* scale is the paper's own model: y = v.Bx, with inputs in a subspace; everything is
computed, nothing sampled but the problem. The *transfer* scale pre-trains a convolutional net on
rotations of CIFAR-10 and transfers it to few labelled images.

Letters: d inputs, k features, m dimensions of the training data, n samples, S seeds.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.remedies import prescribe
from sounding.remedies.apply import apply
from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured, not_tested
from sounding.studies.lab import Lab, grid
from sounding.studies.samples import accuracy, cifar, needs
from sounding.train import Case, Recipe, seeded, train
from sounding.verdict import Verdict, every, judge, overall, proportion, within

ERRORS = (0.05, 0.5, 2.0)  # of the pre-trained features; at the last one they are bad
GOOD, BAD = ERRORS[0], ERRORS[-1]
FACTOR, SHARE = 10, 7 / 8
SEEDS = tuple(range(8))
PER_CLASS, MARGIN = 10, 0.05
FULL_SEEDS, TUNING_SEED = (0, 1, 2, 3, 4), 100
LRS = (0.003, 0.01, 0.03, 0.1)

STATEMENT = (
    "With good pre-trained features fine-tuning all layers from a random head fits the training "
    "distribution better than a linear probe and does worse outside of it; a probe that is then "
    "fine-tuned does well on both"
)
QUICK = (
    "Two-layer linear nets (d = 20, k = 4, data in 10 dimensions, 8 seeds), features with error "
    "0.05: the loss outside of the data's subspace is more than 10 times the probe's with "
    "fine-tuning, and at most the probe's with probe-then-fine-tune, each on at least 7 of 8 "
    "seeds; inside, fine-tuning is below the probe on 8 of 8; and with features of error 2 "
    "fine-tuning is worse than the probe outside on fewer than 7 of 8"
)
FULL = (
    "A residual net of 18 layers, pre-trained on the rotations of CIFAR-10 without labels, then "
    "10 labelled images a class, 5 seeds: frozen or fine-tuned it beats the same net from scratch "
    "by more than 5 points of test accuracy, and on corrupted images probe-then-fine-tune is at "
    "least as accurate as fine-tuning (paired t-intervals)"
)


# --- the two scales -------------------------------------------------------------------------------


def quick(
    lab: Lab,
    *,
    errors: Sequence[float] = ERRORS,
    seeds: Sequence[int] = SEEDS,
    inputs: int = 20,
    features: int = 4,
) -> Measured:
    """The linear model; the sizes are arguments for other runs."""
    lab.plan(len(errors) * len(seeds))
    settings = grid(seeds, error=list(errors), inputs=[inputs], features=[features])
    runs = lab.map(linear_transfer, settings)
    each = len(seeds)
    of = {error: runs[at * each : (at + 1) * each] for at, error in enumerate(errors)}
    parts = _linear_parts(of, seeds)
    headline = judge(
        [run["outside"]["FT"] for run in of[errors[0]]],
        [run["outside"]["LP"] for run in of[errors[0]]],
        statement="outside of the data's subspace the probe has a lower loss than fine-tuning",
        unit="of loss",
        seeds=seeds,
        names=("fine-tuning", "probe"),
    )
    verdict = overall(headline, parts, statement=STATEMENT, criterion=QUICK)
    return (verdict, *parts), [_chart(of, "outside"), _chart(of, "inside")]


def full(
    lab: Lab,
    *,
    device: str = "cuda",
    images: int | None = None,
    channels: int = 64,
    pretraining: int = 60 * 390,
    steps: int = 500,
    per_class: int = PER_CLASS,
    lrs: Sequence[float] = LRS,
) -> Measured:
    """The transfer on CIFAR-10; the sizes are arguments for smaller runs."""
    if reason := needs(device, cifar10=True):
        return not_tested(STATEMENT, FULL, reason, unit="test accuracy")
    size = {
        "device": device,
        "images": images,
        "channels": channels,
        "pretraining": pretraining,
        "steps": steps,
        "per_class": per_class,
    }
    lab.plan(len(ARMS) * (len(lrs) + len(FULL_SEEDS)))
    found: dict[str, list[dict[str, float]]] = {}
    for arm in ARMS:
        jobs = [{"arm": arm, **size, "lr": lr, "seed": TUNING_SEED} for lr in lrs]
        search = lab.map(transfer, jobs)
        best = lrs[int(np.argmin([run["validation loss"] for run in search]))]
        jobs = [{"arm": arm, **size, "lr": best, "seed": seed} for seed in FULL_SEEDS]
        found[arm] = lab.map(transfer, jobs)
    parts = _transfer_parts(found)
    verdict = overall(parts[0], parts[:2], statement=STATEMENT, criterion=FULL)
    return (verdict, *parts), ()


CLAIM = Claim(
    name="kumar-2022-finetuning",
    topic="pre-training",
    claim=STATEMENT,
    source=(
        "Kumar, Raghunathan, Jones, Ma, Liang, 'Fine-tuning can distort pretrained features and "
        "underperform out-of-distribution', ICLR 2022, section 3"
    ),
    link="https://arxiv.org/abs/2202.10054",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    smoke={"images": 16, "pretraining": 2, "steps": 2, "per_class": 1, "lrs": LRS[:2]},
    how=(
        "The target is v.Bx with orthonormal features B. The net begins with features at a given "
        "distance from B, and sees inputs from a subspace of half the dimensions. Probing fits "
        "the head alone; fine-tuning starts from a random head and trains both layers to the end; "
        "probe-then-fine-tune starts from the probe's. Losses are expectations over Gaussian "
        "inputs inside the subspace and over all of space."
    ),
    depends=(
        "The paper's conditions are good features and a large shift: the third level of error "
        "shows that the order is lost with bad features, and the losses inside and outside are "
        "reported at every level. The averages of the paper over ten data sets with large nets "
        "are not tried here; the full scale is one smaller transfer."
    ),
)


# --- the linear model -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Linear:
    """The target's weights, the inputs, the pre-trained features and a random head."""

    target: torch.Tensor  # (d,) y = target.x
    x: torch.Tensor  # (n, d), in the subspace
    subspace: torch.Tensor  # (d, m) orthonormal columns
    features: torch.Tensor  # (k, d) orthonormal rows
    head: torch.Tensor  # (k,)


def linear_problem(inputs: int, features: int, error: float, seed: int) -> Linear:
    """Here d = inputs, k = features, m = d / 2 dimensions of data, 2 d samples.

    The pre-trained features are the true ones plus Gaussian noise of deviation error / sqrt(d)
    an entry, so that a row is off by `error`, made orthonormal again.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def orthonormal(matrix: torch.Tensor) -> torch.Tensor:
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)  # the nearest one
        return left @ right

    true = orthonormal(normal(features, inputs))
    v = normal(features)
    subspace = orthonormal(normal(inputs, inputs // 2))
    x = normal(2 * inputs, inputs // 2) @ subspace.T
    noise = normal(features, inputs) * (error / inputs**0.5)
    return Linear(v / v.norm() @ true, x, subspace, orthonormal(true + noise), normal(features))


def linear_transfer(inputs: int, features: int, error: float, seed: int) -> dict[str, Any]:
    """Expected losses 'inside' the data's subspace and 'outside', over all of space, of each way.

    LP: probe; FT: fine-tuning from a random head; LP-FT: fine-tuning from the probe's.
    """
    problem = linear_problem(inputs, features, error, seed)
    y = problem.x @ problem.target
    projected = problem.x @ problem.features.T
    probe = torch.linalg.lstsq(projected, y[:, None], driver="gelsd").solution[:, 0]
    weights = {
        "LP": probe @ problem.features,
        "FT": fine_tuned(problem, problem.head),
        "LP-FT": fine_tuned(problem, probe),
    }
    away = {name: w - problem.target for name, w in weights.items()}
    inside = {name: float((a @ problem.subspace).square().sum()) for name, a in away.items()}
    outside = {name: float(a.square().sum()) for name, a in away.items()}
    return {"inside": inside, "outside": outside}


def fine_tuned(
    problem: Linear, head: torch.Tensor, *, steps: int = 50_000, until: float = 1e-22
) -> torch.Tensor:
    """(d,) v.B after gradient descent on both from the pre-trained features and `head`."""
    v, b = head.clone(), problem.features.clone()
    second = problem.x.T @ problem.x / len(problem.x)
    top = float(torch.linalg.eigvalsh(second)[-1])
    rate = 0.2 / (top * max(1.0, float(head.square().sum()), 4.0))
    for step in range(steps):
        slope = (v @ b - problem.target) @ second  # half the gradient over v.B
        v, b = v - 2 * rate * (b @ slope), b - 2 * rate * torch.outer(v, slope)
        if step % 200 == 0 and float(slope.square().sum()) < until:
            break
    return v @ b


def _linear_parts(of: dict[float, list[dict]], seeds: Sequence[int]) -> list[Verdict]:
    good, bad = of[min(of)], of[max(of)]

    def ratio(runs: list[dict], where: str, one: str, other: str) -> np.ndarray:
        return np.array([run[where][one] / run[where][other] for run in runs])

    distorted = ratio(good, "outside", "FT", "LP")
    kept = ratio(good, "outside", "LP-FT", "LP")
    lost = ratio(bad, "outside", "FT", "LP")
    return [
        _mostly(
            distorted > FACTOR,
            "good features: outside, fine-tuning has over 10 times the probe's loss",
        ),
        _mostly(
            kept <= 1, "good features: outside, probe-then-fine-tune is at most at the probe's loss"
        ),
        every(
            ratio(good, "inside", "FT", "LP"),
            below=1.0,
            statement="good features: inside, fine-tuning is below the probe",
            seeds=seeds,
        ),
        _mostly(
            lost > 1,
            "bad features: outside, fine-tuning is not reliably worse than the probe",
            wanted=False,
        ),
    ]


def _mostly(passed: np.ndarray, statement: str, *, wanted: bool = True) -> Verdict:
    """Whether at least seven eighths of the seeds pass, or, if not `wanted`, fewer."""
    count, n = int(passed.sum()), len(passed)
    rate = proportion(count, n)
    counted = dataclasses.replace(rate, interval=(rate.value, rate.value))
    low, high = (SHARE, 1.0) if wanted else (0.0, SHARE - 0.5 / n)
    return within(
        counted,
        low,
        high,
        statement=statement,
        unit="of the seeds",
        note=f"{count} of {n}, counted; Wilson's interval {rate}",
    )


def _chart(of: dict[float, list[dict]], where: str) -> Chart:
    lines = []
    for name in ("LP", "FT", "LP-FT"):
        decades = np.log10([[max(run[where][name], 1e-30) for run in runs] for runs in of.values()])
        error = decades.std(1, ddof=1) / decades.shape[1] ** 0.5
        lines.append(Line(label=name, x=np.array(list(of)), y=decades.mean(1), error=error))
    place = "outside of the data's subspace" if where == "outside" else "inside of it"
    return Chart(
        title=f"Loss {place}, by the error of the pre-trained features",
        x_label="error of the features",
        y_label="log10 of the loss",
        lines=tuple(lines),
        log_x=True,
    )


# --- the transfer ---------------------------------------------------------------------------------

ARMS = ("scratch", "LP", "FT", "LP-FT")


class Block(nn.Module):
    """Two convolutions with batch normalisation and a way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        same = stride == 1 and inputs == outputs
        around = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.around = nn.Identity() if same else nn.Sequential(around, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        inner = self.norm2(self.second(functional.relu(self.norm1(self.first(x)))))
        return functional.relu(inner + self.around(x))


def residual_net(channels: int, classes: int) -> nn.Sequential:
    """18 layers: a convolution, eight blocks in four stages, a head."""
    trunk: list[nn.Module] = [
        nn.Conv2d(3, channels, 3, 1, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    ]
    inputs = channels
    for stage in range(4):
        outputs = channels * 2**stage
        trunk += [Block(inputs, outputs, 2 if stage else 1), Block(outputs, outputs, 1)]
        inputs = outputs
    trunk += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(nn.Sequential(*trunk), nn.Linear(inputs, classes))


def rotated(x: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Every image turned by a random number of right angles, and that number."""
    turns = torch.randint(0, 4, (len(x),), generator=torch.Generator().manual_seed(seed))
    turns = turns.to(x.device)
    turned = torch.stack([torch.rot90(x, k, (2, 3)) for k in range(4)])
    return turned[turns, torch.arange(len(x), device=x.device)], turns


@functools.cache
def pretrained(
    device: str, images: int | None, channels: int, steps: int
) -> dict[str, torch.Tensor]:
    """The trunk's weights after learning to tell by how much an image was turned."""
    x = cifar(device).train.x[:images]
    nets: list[nn.Sequential] = []

    def build() -> nn.Module:
        nets.append(residual_net(channels, 4).to(x.device))
        return nets[0]

    recipe = Recipe(
        lr=0.05, momentum=0.9, weight_decay=5e-4, schedule="cosine", batch_size=128, steps=steps
    )
    train(Case(build, functional.cross_entropy, rotated(x, 0), recipe), TUNING_SEED)
    return {name: value.detach().clone() for name, value in nets[0][0].state_dict().items()}


def corrupted(x: torch.Tensor, seed: int) -> torch.Tensor:
    """Images with Gaussian noise of half their deviation and half their contrast."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(x.shape, generator=generator).to(x.device)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + 0.5 * (x - mean) + 0.5 * noise


def few(y: torch.Tensor, per_class: int, seed: int) -> torch.Tensor:
    """Rows of `per_class` random samples of every class."""
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed)).to(y.device)
    shuffled = y[order]
    return torch.cat([order[shuffled == label][:per_class] for label in range(10)])


def transfer(
    arm: str,
    device: str,
    images: int | None,
    channels: int,
    pretraining: int,
    steps: int,
    per_class: int,
    lr: float,
    seed: int,
) -> dict[str, float]:
    """Accuracy on the test images and on corrupted ones, and loss on images kept for choosing.

    The first half of the test part chooses the learning rate, the second half is measured.
    """
    data = cifar(device)
    x, y = data.train.x[:images], data.train.y[:images]
    rows = few(y, per_class, seed)
    half = len(data.test.x) // 2
    chosen = [part[:half][:images] for part in data.test]
    kept = [part[half:][:images] for part in data.test]
    hard = corrupted(kept[0], seed)

    def build() -> nn.Module:
        net = residual_net(channels, 10).to(x.device)
        if arm != "scratch":
            net[0].load_state_dict(pretrained(device, images, channels, pretraining))
        return net

    def metric(net: nn.Module) -> dict[str, float]:
        outputs = torch.cat([net(part) for part in chosen[0].split(1024)])
        return {
            "inside": accuracy(kept[0], kept[1], net)["accuracy"],
            "outside": accuracy(hard, kept[1], net)["accuracy"],
            "validation loss": float(functional.cross_entropy(outputs, chosen[1])),
        }

    recipe = Recipe(
        lr=lr, momentum=0.9, weight_decay=5e-4, schedule="cosine", batch_size=50, steps=steps
    )
    case = Case(build, functional.cross_entropy, (x[rows], y[rows]), recipe, metric=metric)
    if arm == "LP":
        case = apply(prescribe("freeze"), case)
    elif arm == "LP-FT":
        case = apply(prescribe("linear_probe_then_finetune", steps=steps // 2), case)
    with seeded(seed):
        return train(case, seed).metrics


def _transfer_parts(found: dict[str, list[dict[str, float]]]) -> list[Verdict]:
    def column(arm: str, what: str) -> list[float]:
        return [run[what] for run in found[arm]]

    better = max(("LP", "FT"), key=lambda arm: float(np.mean(column(arm, "inside"))))
    gain = judge(
        column("scratch", "inside"),
        column(better, "inside"),
        statement=f"pre-trained ({better}) beats the net from scratch by more than 5 points",
        unit="test accuracy",
        better="higher",
        band=MARGIN,
        seeds=FULL_SEEDS,
        names=("scratch", better),
    )
    shifted = judge(
        column("FT", "outside"),
        column("LP-FT", "outside"),
        statement="on corrupted images probe-then-fine-tune is more accurate than fine-tuning",
        unit="accuracy on corrupted images",
        better="higher",
        seeds=FULL_SEEDS,
        names=("FT", "LP-FT"),
    )
    probed = judge(
        column("FT", "outside"),
        column("LP", "outside"),
        statement="reported: on corrupted images the probe is more accurate than fine-tuning",
        unit="accuracy on corrupted images",
        better="higher",
        seeds=FULL_SEEDS,
        names=("FT", "LP"),
    )
    return [gain, shifted, probed]
