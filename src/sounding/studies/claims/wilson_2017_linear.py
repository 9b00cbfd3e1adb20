"""Wilson et al. 2017, section 3: data that full-batch adaptive methods fit and get wrong.

Every run draws its own data, `problems.SeparableData`, from its seed. The error on new samples is
the exact probability that follows from the weights, so it has no sampling error.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from sounding.objective import Batch, Objective
from sounding.problems import SeparableData
from sounding.studies.chart import Chart
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.studies.lines import measured, predicted
from sounding.train import Case, Recipe, Trial
from sounding.verdict import Verdict, agrees, every, overall


def decaying(step: int, steps: int) -> float:
    """A learning rate that falls geometrically, to 1e-6 of its first value."""
    return 1e-6 ** (step / steps)


EPS = {"eps": 1e-12}  # a larger one takes the steps off the ray
ADAPTIVE: dict[str, dict[str, Any]] = {
    "AdaGrad": {"optimiser": "adagrad", "lr": 0.05, "options": EPS},
    # a constant rate would leave it chattering around the solution
    "RMSProp": {"optimiser": "rmsprop", "lr": 0.01, "options": EPS, "schedule": decaying},
    "Adam": {"optimiser": "adam", "lr": 0.01, "options": EPS},
}
PLAIN: dict[str, dict[str, Any]] = {  # in units of 1 / (3n + 5), a bound on the curvature
    "gradient descent": {"lr": 1.0},
    "heavy ball": {"lr": 1.0, "momentum": 0.5},
}
FITTED, TOLERANCE, SPREAD = 1e-6, 0.015, 1e-6
SEEDS = (0, 1, 2, 3, 4)
SMALL, LARGE, BATCH_SAMPLES, BATCH_POSITIVE = (1, 10), (50, 100), 100, 0.6

STATEMENT = (
    "On separable data of Wilson et al., full-batch AdaGrad, RMSProp and Adam reach training loss "
    "zero and call every new sample positive, so they err on a share 1 - p of them; gradient "
    "descent and heavy ball reach training loss zero and err on none"
)
CRITERION = (
    f"p of {{}}, {{}} seeds: every training loss below {FITTED:g}; test error within ±{TOLERANCE} "
    "of 1 - p for the three adaptive methods (t-interval) and 0 for the two others on every seed; "
    f"the adaptive solutions lie on the ray of sign(X'y), relative spread below {SPREAD:g}"
)
SIZES = {0.55: 1000, 0.6: 200, 0.8: 200}  # samples by p; close to 1/2 more are needed
FULL_SIZES = {0.52: 4000, 0.55: 2000, 0.6: 1000, 0.7: 1000, 0.8: 1000, 0.9: 1000}
FULL_SEEDS = tuple(range(20))


# --- the two scales -------------------------------------------------------------------------------


def quick(
    lab: Lab,
    *,
    sizes: Mapping[float, int] = SIZES,
    seeds: Sequence[int] = SEEDS,
    steps: int = 400,
    batch_steps: int = 1200,
) -> Measured:
    """Five methods on three kinds of data, and Adam with mini-batches beside them."""
    settings = [
        point | {"samples": samples, "steps": steps}
        for positive, samples in sizes.items()
        for point in grid(seeds, method=[*ADAPTIVE, *PLAIN], positive=[positive])
    ]
    batches = grid(seeds, batch_size=[*SMALL, *LARGE], steps=[batch_steps])
    lab.plan(len(settings) + len(batches))
    runs = _table(settings, lab.train(full_batch_case, settings))
    parts = _parts(runs)
    criterion = CRITERION.format(", ".join(map(str, sizes)), len(seeds))
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=criterion)
    small = _errors(lab.train(mini_batch_case, batches)).reshape(len(SMALL + LARGE), len(seeds))
    charts = [_chart_of_data(runs, list(sizes)), _chart_of_batches(small)]
    return (verdict, *parts, *_batches_reported(small)), charts


CLAIM = Claim(
    name="wilson-2017-linear",
    topic="adaptive methods",
    claim=STATEMENT,
    source=(
        "Wilson, Roelofs, Stern, Srebro, Recht, 'The Marginal Value of Adaptive Gradient Methods "
        "in Machine Learning', NIPS 2017, section 3"
    ),
    link="https://arxiv.org/abs/1705.08292",
    criterion=CRITERION.format(", ".join(map(str, SIZES)), len(SEEDS)),
    full_criterion=CRITERION.format(", ".join(map(str, FULL_SIZES)), len(FULL_SEEDS)),
    quick=quick,
    full=functools.partial(quick, sizes=FULL_SIZES, seeds=FULL_SEEDS),
    how=(
        "Least squares from zero weights on the paper's construction: three features that all "
        "samples share, one more for each positive sample and five more for each negative one. "
        "The test error is the exact probability that the sign "
        "of a new sample is wrong, given the weights."
    ),
    depends=(
        "The proof is one of full batches. With mini-batches of 1 or 10 out of 100 samples the "
        "gradients leave the ray and Adam errs on no new sample; with 50 or more it fails as "
        "published. Those runs stand beside the verdict. The methods' epsilon must be small, and "
        "most labels positive."
    ),
)


# --- runs -----------------------------------------------------------------------------------------


def full_batch_case(method: str, positive: float, samples: int, steps: int) -> Case:
    """One method with full batches; the data are drawn from the run's seed."""
    settings = dict(ADAPTIVE.get(method) or PLAIN[method])
    if method in PLAIN:
        settings["lr"] /= 3 * samples + 5
    recipe = Recipe(**settings, batch_size=None, steps=steps)
    return _case(positive, samples, recipe, method)


def mini_batch_case(batch_size: int, steps: int) -> Case:
    """Adam on batches of that many out of 100 samples."""
    recipe = Recipe(optimiser="adam", lr=1e-3, options=EPS, batch_size=batch_size, steps=steps)
    return _case(BATCH_POSITIVE, BATCH_SAMPLES, recipe, f"Adam, batches of {batch_size}")


def _case(positive: float, samples: int, recipe: Recipe, name: str) -> Case:
    rows = torch.arange(samples)
    build = functools.partial(_drawn, samples, positive)
    return Case(build, Objective(_loss), (rows, rows), recipe, metric=_found, name=name)


def _drawn(samples: int, positive: float) -> SeparableData:
    """Data of the seed that is set: a run's own."""
    return SeparableData(samples, positive=positive, seed=int(torch.randint(2**31, ())))


def _loss(problem: nn.Module, batch: Batch) -> torch.Tensor:
    return problem(batch[0])


def _found(problem: nn.Module) -> dict[str, float]:
    """What a run found: losses, the error on new samples, and how far from the ray it lies."""
    assert isinstance(problem, SeparableData)
    w = problem.point()
    ray = np.sign(problem.adaptive())
    along = (w * ray)[ray != 0]
    off = np.abs(w[ray == 0]).max(initial=0.0)  # no sample uses these
    return {
        "test error": problem.test_error(w),
        "training loss": problem().item(),
        "spread": float(max(along.std(), off) / along.mean()),
    }


# --- verdicts -------------------------------------------------------------------------------------

Runs = list[tuple[dict[str, Any], Trial]]


def _table(settings: Sequence[dict[str, Any]], trials: Sequence[Trial]) -> Runs:
    return list(zip(settings, trials, strict=True))


def _metric(runs: Runs, name: str) -> np.ndarray:
    return np.array([trial.metrics.get(name, np.nan) for _, trial in runs])


def _errors(trials: Sequence[Trial]) -> np.ndarray:
    return np.array([trial.metrics.get("test error", np.nan) for trial in trials])


def _of(runs: Runs, *methods: str) -> Runs:
    return [(setting, trial) for setting, trial in runs if setting["method"] in methods]


def _parts(runs: Runs) -> list[Verdict]:
    parts = [_errs(_of(runs, method), method) for method in ADAPTIVE]
    for method in PLAIN:
        own = _of(runs, method)
        parts.append(
            every(
                _metric(own, "test error"),
                below=1e-12,
                statement=f"{method} errs on no new sample",
                seeds=_seeds(own),
            )
        )
    adaptive = _of(runs, *ADAPTIVE)
    return [
        *parts,
        every(
            _metric(runs, "training loss"),
            below=FITTED,
            statement="every method fits the data",
            seeds=_seeds(runs),
        ),
        every(
            _metric(adaptive, "spread"),
            below=SPREAD,
            statement="the adaptive methods' weights lie on the ray of sign(X'y)",
            seeds=_seeds(adaptive),
        ),
    ]


def _errs(runs: Runs, method: str) -> Verdict:
    return agrees(
        _metric(runs, "test error"),
        [1 - setting["positive"] for setting, _ in runs],
        tolerance=TOLERANCE,
        statement=f"{method} errs on a share 1 - p of new samples",
        unit="of new samples",
        seeds=_seeds(runs),
    )


def _seeds(runs: Runs) -> list[int]:
    return [setting["seed"] for setting, _ in runs]


def _batches_reported(errors: np.ndarray) -> list[Verdict]:
    """Beside the verdict: where the construction stops to hold; `errors` (batch sizes, seeds)."""
    seeds = list(range(errors.shape[1]))
    small = every(
        errors[: len(SMALL)].ravel(),
        below=1e-12,
        statement="reported: Adam with batches of 1 or 10 of 100 samples errs on no new sample",
        seeds=seeds * len(SMALL),
    )
    large = agrees(
        errors[len(SMALL) :].ravel(),
        np.full(len(seeds) * len(LARGE), 1 - BATCH_POSITIVE),
        tolerance=TOLERANCE,
        statement="reported: Adam with batches of 50 or 100 of 100 samples errs on 1 - p",
        unit="of new samples",
        seeds=seeds * len(LARGE),
    )
    return [small, large]


def _chart_of_data(runs: Runs, positives: Sequence[float]) -> Chart:
    lines = []
    for method in (*ADAPTIVE, *PLAIN):
        errors = _metric(_of(runs, method), "test error").reshape(len(positives), -1)
        lines.append(measured(method, positives, errors.T))
    shares = np.array(positives)
    return Chart(
        title="Five methods that fit the same data",
        x_label="share p of positive samples",
        y_label="error on new samples",
        lines=(*lines, predicted("1 - p", shares, 1 - shares)),
    )


def _chart_of_batches(errors: np.ndarray) -> Chart:
    batches = np.array([*SMALL, *LARGE])
    return Chart(
        title="Adam's failure is one of large batches",
        x_label=f"samples in a batch, of {BATCH_SAMPLES}",
        y_label="error on new samples",
        lines=(
            measured("Adam", batches, errors.T),
            predicted("1 - p", batches, np.full(len(batches), 1 - BATCH_POSITIVE)),
        ),
        log_x=True,
    )
