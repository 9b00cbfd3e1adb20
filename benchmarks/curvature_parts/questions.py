"""What is asked, how wrong an answer is, and the settings that each library may choose from.

A ladder goes from the cheapest setting up; a library gets the first rung of each of its ladders
with which it reaches the wanted error, and of these the one with the fewest products. "Sounding"
has none for eigenvalues and the trace: it is asked for the error and has to stop by itself;
"Sounding, tuned" is what it costs with the ladder, and the carelessness, that the peers have.
Finer ladders have the rungs that only an oracle would choose, such as ten steps of Lanczos.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from curvature_parts.sides import Answer
from curvature_parts.truth import Truth, distance, spread

Setting = dict[str, Any]
Ladders = list[list[Setting]]
WANTED = "the error that is wanted"  # stands for it in a setting
STEPS = (20, 40, 80, 160)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """One question, in the words of every library."""

    title: str
    wanted: float | None  # error that is to be reached; None: that of PyHessian's defaults
    ask: Callable[[Any, int, Setting], Answer]  # side, seed, setting
    error: Callable[[Answer, Truth], float]
    typical: str  # how the errors of several seeds become one: 'median' or 'rms'
    defaults: dict[str, Setting]
    ladders: dict[str, Ladders]
    finer: dict[str, Ladders] = dataclasses.field(default_factory=dict)  # rungs between and below
    fixed: bool = False  # the cost does not depend on the seed: timed once

    def summary(self, errors: list[float]) -> float:
        """One error for several seeds."""
        found = np.array(errors, dtype=float)
        if self.typical == "rms":
            return float(np.sqrt(np.mean(found**2)))
        return float(np.median(found)) if not np.isnan(found).any() else float("inf")


# -- eigenvalues ------------------------------------------------------------------------------


def _worst(answer: Answer, right: np.ndarray) -> float:
    """Largest relative error; the order in which they were found does not matter."""
    found = np.sort(answer.values)[::-1][: len(right)]
    return float(np.max(np.abs(found - right) / np.abs(right)))


def _power() -> Ladders:
    return [[{"maxIter": 400, "tol": tol} for tol in (1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 1e-6)]]


def _lanczos(steps: tuple[int, ...] = STEPS) -> Ladders:
    return [[{"max_iter": m, "tol": 1e-3} for m in steps]]


def _tuned() -> Ladders:
    """Without the guard against missed eigenvalues, as no peer has one."""
    return [[{"tol": tol, "miss": 1.0} for tol in (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)]]


def _arpack(widths: tuple[int, ...]) -> Ladders:
    """Widths of the basis and tolerances; at most about 300 products."""
    return [
        [{"ncv": ncv, "tol": tol, "maxiter": 300 // ncv} for tol in (3e-2, 1e-2, 1e-3)]
        for ncv in widths
    ]


def _extreme(title: str, k: int, which: str) -> Question:
    def ask(side: Any, seed: int, setting: Setting) -> Answer:
        return side.extreme(k, which, seed, **setting)

    def error(answer: Answer, truth: Truth) -> float:
        return _worst(answer, (truth.largest if which == "largest" else truth.smallest)[:k])

    largest = which == "largest"
    return Question(
        title=title,
        wanted=1e-3,
        ask=ask,
        error=error,
        typical="median",
        defaults={"hessian-eigenthings": {}, "curvlinops + eigsh": {"dtype": "float64"}}
        | ({"PyHessian": {}} if largest else {}),
        ladders={
            "Sounding": [[{"tol": 1e-3}]],
            "Sounding, tuned": _tuned(),
            "hessian-eigenthings": _lanczos(),
            "curvlinops + eigsh": _arpack((20, 40, 80)),  # 20 is its default
        }
        | ({"PyHessian": _power()} if largest else {}),
        finer={
            "hessian-eigenthings": _lanczos((5, 10, 15, 30, 60)),
            "curvlinops + eigsh": _arpack((k + 3, k + 5, k + 9) if largest else (30, 60)),
        },
    )


# -- trace and density ------------------------------------------------------------------------


def _trace() -> Question:
    def ask(side: Any, seed: int, setting: Setting) -> Answer:
        return side.trace(seed, **setting)

    def error(answer: Answer, truth: Truth) -> float:
        return abs(float(answer.values[0]) - truth.trace) / abs(truth.trace)

    sizes = (6, 12, 24, 48, 96)  # Hutch++ takes multiples of three, XTrace even numbers
    plain = (2, 4, *sizes)
    return Question(
        title="trace to 5 % (rms)",
        wanted=0.05,
        ask=ask,
        error=error,
        typical="rms",
        fixed=True,
        defaults={
            "PyHessian": {},
            "hessian-eigenthings": {},
        },
        ladders={
            "Sounding": [[{"tol": 0.05}]],
            "PyHessian": [[{"maxIter": m, "tol": 0} for m in plain]],
            "hessian-eigenthings": [
                [{"method": method, "num_matvecs": m} for m in rungs]
                for method, rungs in (("hutch++", sizes), ("hutchinson", plain))
            ],
            "curvlinops + eigsh": [
                [{"method": method, "num_matvecs": m} for m in rungs]
                for method, rungs in (
                    ("xtrace", plain),
                    ("hutchpp_trace", sizes),
                    ("hutchinson_trace", plain),
                )
            ],
        },
    )


def _density() -> Question:
    def ask(side: Any, seed: int, setting: Setting) -> Answer:
        return side.density(seed, **setting)

    def error(answer: Answer, truth: Truth) -> float:
        assert answer.measure is not None
        assert truth.measure is not None
        return distance(answer.measure, truth.measure) / spread(truth.measure)

    steps = (5, 10, 15, 20, 30, 40, 60, 80, 100)

    def ladders(starts: str, length: str) -> Ladders:
        return [[{starts: s, length: m} for m in steps] for s in (1, 2)]

    return Question(
        title="density, as near as PyHessian's defaults",
        wanted=None,
        ask=ask,
        error=error,
        typical="median",
        fixed=True,
        defaults={"PyHessian": {}, "Sounding": {}},
        ladders={
            "Sounding": [[{"tol": WANTED}]],
            "Sounding, tuned": ladders("starts", "degree"),
            "PyHessian": ladders("n_v", "iter"),
            "hessian-eigenthings": ladders("num_runs", "lanczos_steps"),
            "curvlinops + eigsh": ladders("starts", "steps"),
        },
    )


def warm(top: Any) -> Question:
    """The largest eigenvalue again after a step of SGD, from the eigenvector `top` of before.

    The Hessian is another one, so making it is part of the price (see `curvature.py`).
    """

    def ask(side: Any, seed: int, setting: Setting) -> Answer:
        if setting.get("cold"):
            plain = {name: value for name, value in setting.items() if name != "cold"}
            return side.extreme(1, "largest", seed, **plain)
        return side.followed(top, seed, **setting)

    def error(answer: Answer, truth: Truth) -> float:
        return _worst(answer, truth.largest[:1])

    cold = {"cold": True}
    return Question(
        title="top eigenvalue again after an SGD step, Hessian made anew",
        wanted=1e-3,
        ask=ask,
        error=error,
        typical="median",
        defaults={},
        ladders={
            "Sounding": [[{"tol": 1e-3}]],
            "Sounding, tuned": _tuned(),
            "PyHessian": [[cold | rung for rung in _power()[0]]],
            "hessian-eigenthings": [
                [{"max_iter": 400, "tol": tol} for tol in (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)],
                [cold | rung for rung in _lanczos()[0]],
            ],
            "curvlinops + eigsh": _arpack((3, 4, 6, 10, 20)),
        },
    )


QUESTIONS = {
    "top": _extreme("top eigenvalue to 1e-3", 1, "largest"),
    "five": _extreme("top five eigenvalues to 1e-3", 5, "largest"),
    "smallest": _extreme("most negative eigenvalue to 1e-3", 1, "smallest"),
    "trace": _trace(),
    "density": _density(),
}
