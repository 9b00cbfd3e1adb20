"""Find the setting with which each library answers a question, then time it against the others."""

from __future__ import annotations

import dataclasses
import statistics
import time
from typing import Any

import torch

from curvature_parts.questions import WANTED, Ladders, Question, Setting
from curvature_parts.sides import Answer, differentiable
from curvature_parts.truth import Product, Truth, unit


@dataclasses.dataclass(kw_only=True)
class Row:
    """How one library did on one question about one net."""

    net: str
    question: str
    library: str
    setting: str
    kind: str  # 'defaults'; 'tuned': the cheapest that reaches the error; 'sure': and says so;
    # 'finer': the cheapest of the finer ladders
    products: float  # median over seeds
    error: float
    wanted: float
    claimed: str  # how often it said that it had converged, '2/3'; '' where it never says
    seconds: float | None = None  # CPU, median
    units: float | None = None  # the same in products on a kept graph, measured around each run

    @property
    def reached(self) -> bool:
        """Whether the error is as small as was wanted."""
        return self.error <= self.wanted

    @property
    def sure(self) -> bool:
        """Whether it said on every seed that it had converged."""
        said, _, asked = self.claimed.partition("/")
        return said != "" and said == asked


@dataclasses.dataclass(kw_only=True)
class Attempt:
    """One setting on several seeds."""

    setting: Setting
    error: float
    answers: list[Answer]

    @property
    def products(self) -> float:
        """Median over the seeds."""
        return statistics.median(a.products for a in self.answers)

    @property
    def claimed(self) -> str:
        """How often it said that it had converged."""
        said = [a.claimed for a in self.answers if a.claimed is not None]
        return f"{sum(said)}/{len(said)}" if said else ""

    @property
    def sure(self) -> bool | None:
        """Whether it always said so; None where it never says anything."""
        said = [a.claimed for a in self.answers]
        return None if None in said else all(said)

    def row(self, **known: Any) -> Row:
        """With what else there is to say."""
        setting = self.setting.items()
        words = [f"{n} {v:.3g}" if isinstance(v, float) else f"{n} {v}" for n, v in setting]
        return Row(
            setting=", ".join(words) or "defaults", products=self.products, error=self.error,
            claimed=self.claimed, **known,
        )  # fmt: skip


def attempt(
    question: Question,
    side: Any,
    setting: Setting,
    truth: Truth,
    seeds: int,
    wanted: float,
    limit: float = float("inf"),
) -> Attempt:
    """Ask on every seed; on fewer where the median will not do, or is no cheaper than `limit`."""
    setting = {name: wanted if value == WANTED else value for name, value in setting.items()}
    answers: list[Answer] = []
    errors: list[float] = []
    for seed in range(seeds):
        answers.append(question.ask(side, seed, setting))
        errors.append(question.error(answers[-1], truth))
        bad = sum(not error <= wanted for error in errors)
        if question.typical == "median" and 2 * bad > seeds:
            break
        if statistics.median(a.products for a in answers) >= limit:
            return Attempt(setting=setting, error=float("inf"), answers=answers)
    return Attempt(setting=setting, error=question.summary(errors), answers=answers)


def search(
    question: Question, ladders: Ladders, side: Any, truth: Truth, seeds: int, wanted: float
) -> tuple[Attempt, Attempt | None]:
    """The cheapest setting that reaches the wanted error, else the one that came nearest.

    Second the cheapest with which the library also says on every seed that it has converged, as a
    user without an oracle would want; None where that is the first, or where there is none.
    """
    tried: list[Attempt] = []
    limit = float("inf")  # what the last ladder took to answer, and to be sure of it
    for ladder in ladders:
        for setting in ladder:
            tried.append(attempt(question, side, setting, truth, seeds, wanted, limit))
            if tried[-1].error <= wanted and tried[-1].sure is not False:
                limit = min(limit, tried[-1].products)
                break
    good = [one for one in tried if one.error <= wanted]
    if not good:
        return min(tried, key=lambda one: one.error), None
    best = min(good, key=lambda one: one.products)
    sure = min((one for one in good if one.sure), key=lambda one: one.products, default=None)
    return best, None if sure is best else sure


def time_them(
    question: Question,
    sides: dict[str, Any],
    pairs: list[tuple[Row, Setting]],
    product: Product,
    size: int,
    seeds: int,
) -> None:
    """Fill in seconds and units: the rows take turns, in an order that moves on."""
    spent: list[list[tuple[float, float]]] = [[] for _ in pairs]
    turns = list(range(len(pairs)))
    for seed in range(1 if question.fixed else seeds):
        first = seed % len(turns)
        for turn in turns[first:] + turns[:first]:
            row, setting = pairs[turn]
            before = measured_unit(product, size)
            start = time.process_time()
            side = sides[row.library.partition(",")[0]]
            question.ask(side() if callable(side) else side, seed, setting)
            taken = time.process_time() - start
            spent[turn].append((taken, 2 * taken / (before + measured_unit(product, size))))
    for (row, _), found in zip(pairs, spent, strict=True):
        row.seconds = statistics.median(taken for taken, _ in found)
        row.units = statistics.median(units for _, units in found)


def measured_unit(product: Product, size: int) -> float:
    """CPU seconds of one product on the kept graph, right now."""
    with differentiable(), torch.random.fork_rng():
        return unit(product, size, 0.2)
