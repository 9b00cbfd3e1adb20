"""One search for the best settings: ask for settings, train with them, tell how it went."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

from sounding.train.space import TOWARDS_ONE, Settings, Space, readable

EDGE = 1 / 3  # decades: there a best learning rate is at the edge of its space
CANDIDATES = 100  # of which the most promising is tried; Optuna's 24 leave more to chance


class Search:
    """Settings out of `space`, one trial after the other; the lower a score the better.

    The first trial is `first`. About a third of them are `first` with learning rates spread evenly
    over the logarithmic space, because that setting matters most; the others are drawn where good
    ones were (tree-structured Parzen estimator, Bergstra et al. 2011). :meth:`focus` then looks
    closer at the best learning rate, or beyond the edge that it lies at. A function of the seed and
    of what it is told; it runs nothing itself.

    Raises:
        ImportError: If Optuna is missing; names the extra.
    """

    def __init__(self, space: Space, first: Settings, *, trials: int, seed: int = 0) -> None:
        self.space = dict(space)
        self._now = dict(space)  # where settings are drawn from
        self.tried: list[Settings] = []
        self.scores: list[float] = []
        self.widened = False
        self._settled: int | None = None
        begin = 2 * (trials // 6) + 1  # odd: the middle of the grid is where `first` mostly is
        with _quiet() as optuna:
            sampler = optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=begin, n_ei_candidates=CANDIDATES
            )
            self._study = optuna.create_study(sampler=sampler)
        self._asked: Any = None
        self._suggest(first)
        for lr in _others(first.get("lr"), self.space, begin):
            self._suggest({**first, "lr": lr})

    @property
    def best(self) -> int:
        """The number of the best trial so far, or of the one that was settled on."""
        return self.leading(1)[0] if self._settled is None else self._settled

    def leading(self, most: int) -> list[int]:
        """The numbers of the best trials so far, the earliest one of equals first."""
        return sorted(range(len(self.scores)), key=self.scores.__getitem__)[:most]

    def settle(self, trial: int) -> None:
        """From now on this trial is the best: more is known of it than its score."""
        self._settled = trial

    def ask(self) -> Settings:
        """The settings of the next trial, in at most three digits."""
        with _quiet():
            self._asked = self._study.ask()
            drawn = {
                name: self._asked.suggest_float(name, *_drawn_from(name, bounds), log=True)
                for name, bounds in self._now.items()
            }
        self.tried.append(readable({name: _turned(name, value) for name, value in drawn.items()}))
        return self.tried[-1]

    def tell(self, score: float) -> None:
        """The score of the trial asked for last; NaN and infinity are the worst."""
        self.scores.append(math.inf if math.isnan(score) else score)
        with _quiet():
            self._study.tell(self._asked, self.scores[-1])

    def at_edge(self) -> int:
        """-1 or 1 if the best learning rate lies at the lower or upper edge of its space, else 0.

        At the edge is what would be the last value of a grid of three a decade, or of seven where
        the space is narrow. Where no trial ended well, it is the lower edge: a smaller learning
        rate is what is left to try. A single value has no edge.
        """
        low, high = (math.log10(bound) for bound in self.space.get("lr", (1.0, 1.0)))
        if low == high:
            return 0
        if not math.isfinite(self.scores[self.best]):
            return -1
        edge = min(EDGE, (high - low) / 6)
        at = math.log10(self.tried[self.best]["lr"])
        return -1 if at < low + edge else 1 if at > high - edge else 0

    def focus(self) -> None:
        """Look closer: at learning rates within half a decade of the best one so far.

        Where that lies at an edge, the space is widened by a decade beyond it, which is looked at
        too; the next trial is the best one with a learning rate from the middle of that decade.
        Without any trial that ended well, only the decade below the space is left to look at.
        """
        low, high = self.space.get("lr", (1.0, 1.0))
        if low == high:
            return
        side, half = self.at_edge(), 10**0.5
        lost = not math.isfinite(self.scores[self.best])
        best = low / half if lost else self.tried[self.best]["lr"]
        beyond = low / 10 if side < 0 else low, high * 10 if side > 0 else high
        self.space["lr"] = beyond
        self.widened = bool(side)
        self._now["lr"] = (
            beyond[0] if side < 0 else max(low, best / half),
            beyond[1] if side > 0 else min(high, best * half),
        )
        if side:
            middle = low / half if side < 0 else high * half
            self._suggest({**self.tried[self.best], "lr": middle})

    def edge_note(self) -> str:
        """What there is to say of the edges of the learning rate's space; '' if nothing."""
        if not math.isfinite(self.scores[self.best]):
            return "every trial diverged, at every learning rate"
        at_edge = self.at_edge()
        if not (self.widened or at_edge):
            return ""
        low, high = self.space["lr"]
        if not self.widened:
            return f"the best learning rate lies at the edge of its space, {low:.3g} to {high:.3g}"
        said = f"the best learning rate was at the edge: widened once, to {low:.3g} to {high:.3g}"
        return said + ", and it is at the edge again" * bool(at_edge)

    def _suggest(self, settings: Settings) -> None:
        with _quiet():
            self._study.enqueue_trial(
                {name: _clipped(name, _turned(name, v), self._now) for name, v in settings.items()}
            )


def _others(first: float | None, space: Space, count: int) -> list[float]:
    """The middles of `count` equal parts of the learning rates, without the nearest to `first`."""
    if first is None:
        return []
    low, high = (math.log10(bound) for bound in space["lr"])
    middles = [low + (high - low) * (part + 0.5) / count for part in range(count)]
    nearest = min(middles, key=lambda middle: abs(middle - math.log10(first)))
    return [10**middle for middle in middles if middle != nearest]


def _drawn_from(setting: str, bounds: tuple[float, float]) -> tuple[float, float]:
    """The bounds between which the logarithm is even: of 1 - value for momentum."""
    low, high = bounds
    return (1 - high, 1 - low) if setting in TOWARDS_ONE else (low, high)


def _turned(setting: str, value: float) -> float:
    return 1 - value if setting in TOWARDS_ONE else value


def _clipped(setting: str, drawn: float, space: Space) -> float:
    """Within the bounds also in the last digit, which rounding may have moved."""
    low, high = _drawn_from(setting, space[setting])
    return min(max(drawn, low), high)


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """Optuna, which says nothing meanwhile; the caller's own wish is given back."""
    try:
        import optuna
    except ImportError as error:
        raise ImportError(
            f'tuning needs Optuna, and {error.name} is missing: pip install "sounding[search]"'
        ) from error
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield optuna
    finally:
        optuna.logging.set_verbosity(before)
