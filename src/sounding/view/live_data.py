"""What the live page is told: a run as far as it has come, thinned to what a screen can show."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import numpy as np

from sounding.view.numbers import printable
from sounding.watch.reader import Reader
from sounding.watch.thin import COLUMNS, EDGES
from sounding.watch.watched import Gathered, GatheredTraining, Training, Watched

POINTS = 1200  # of a curve; a bin keeps mean and extremes
EXAMINATIONS = 240  # columns of the map that a page begins with
FINDINGS = 200  # that are shown
QUANTITIES = ("signal", "gradient", "ratio", "effective_lr")
DECADES = 20.0  # a packed number lies between 10^-20 and 10^20
STEPS = 65533  # into which these 40 decades are divided: 0.14 % each


@dataclasses.dataclass
class Cursor:
    """How much of a run a page has been told."""

    generation: int = -1
    shape: tuple[Any, ...] = ()  # of the trainings: who has joined, and which layers
    taken: int = 0  # entries
    rank: int = 0  # the process that is looked at
    heard: tuple[Any, ...] = ()  # of every process: its generation, and entries
    columns: list[int] = dataclasses.field(default_factory=list)


def whole(result: Watched) -> dict[str, Any]:
    """All that a page shows of a run that was read."""
    gathered = Gathered()
    gathered.run = {"subject": result.subject, "started": result.started}
    gathered.end = {"reason": result.end or "not said", "overhead": result.overhead}
    gathered.checkup, gathered.damaged = result.checkup, result.damaged
    gathered.metrics = {
        m.quantity: list(zip(m.steps.tolist(), m.values.tolist(), strict=True))
        for m in result.metrics
    }
    gathered.trainings = {i: _again(t) for i, t in enumerate(result.trainings)}
    told = _told(gathered, [0] * len(result.trainings), whole=True)
    if result.others:
        told["ranks"] = {
            "of": result.processes,
            "pick": 0,
            "others": [],
            "losses": [[lean(s.steps, s.values) for s in t.beside] for t in result.trainings],
        }
    return told


def _again(training: Training) -> GatheredTraining:
    found = GatheredTraining()
    found.about = {"model": training.model, "optimiser": training.optimiser, "eps": training.eps}
    found.about["size"] = training.size
    found.layers = {name: i for i, name in enumerate(training.layers)}
    found.parameters = {name: i for i, name in enumerate(training.parameters)}
    columns = {name: getattr(training, name) for name in (*COLUMNS, *EDGES)}
    if len(columns["waited"]) != len(training.steps):  # saved by an older version
        columns["waited"] = np.full(len(training.steps), np.nan)
    found.blocks = [{"step": training.steps, **columns}]
    found.ordered = training.held_out
    found.depths = [
        {"step": int(step), **{name: getattr(training, name)[i] for name in QUANTITIES}}
        for i, step in enumerate(training.examined)
    ]
    return found


class Story:
    """The file of a run, followed for any number of pages."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._gathered = Gathered()
        self._taken = 0
        self.refresh()

    @property
    def gathered(self) -> Gathered:
        """All that has been read."""
        return self._gathered

    @property
    def heard(self) -> tuple[int, int]:
        """What changes whenever something new was read."""
        return self._reader.generation, self._taken

    @property
    def damaged(self) -> int:
        """Lines that could not be read."""
        return self._gathered.damaged + self._reader.damaged

    def refresh(self) -> None:
        """Read what was written since."""
        before, entries = self._reader.generation, []
        for entry in self._reader.new():
            if self._reader.generation != before:  # a thinned file is told from its start
                before, entries, self._gathered = self._reader.generation, [], Gathered()
            entries.append(entry)
        self._gathered.take(entries)
        self._taken += len(entries)

    def since(self, cursor: Cursor, *, anyway: bool = False) -> dict[str, Any] | None:
        """What a page that is at `cursor` must be told, which it is at then; None for nothing.

        `whole` is set where it must forget what it was told before. With `anyway` it is told the
        state of the run even if nothing is new.
        """
        trainings = [t for _, t in sorted(self._gathered.trainings.items())]
        shape = tuple((len(t.layers), len(t.parameters)) for t in trainings)
        whole = (cursor.generation, cursor.shape) != (self._reader.generation, shape)
        if not whole and not anyway and cursor.taken == self._taken:
            return None
        starts = [0] * len(trainings) if whole else cursor.columns
        told = _told(self._gathered, starts, whole=whole)
        told["run"]["damaged"] = self.damaged
        cursor.generation, cursor.shape = self._reader.generation, shape
        cursor.taken, cursor.columns = self._taken, [len(t.depths) for t in trainings]
        return told


def _told(gathered: Gathered, starts: list[int], *, whole: bool) -> dict[str, Any]:
    trainings = [t for _, t in sorted(gathered.trainings.items())]
    return {
        "whole": whole,
        "run": _run(gathered),
        "trainings": [
            _training(t, start, whole=whole) for t, start in zip(trainings, starts, strict=True)
        ],
        "metrics": [_metric(*item) for item in gathered.metrics.items()],
        "findings": said({0: gathered}),
        "judged": int(gathered.checkup is not None),
    }


def said(processes: dict[int, Gathered]) -> list[dict[str, Any]]:
    """What the rules say by now, every finding once: at the end, or else so far.

    Each has the step since which it is said, and the processes that say it.
    """
    found: dict[str, dict[str, Any]] = {}
    for number, gathered in processes.items():
        for one in _latest(gathered):
            code = printable(str(one.get("code", "")))
            known = found.setdefault(
                code,
                {
                    "code": code,
                    "name": printable(str(one.get("name", ""))),
                    "severity": "caution",
                    "message": printable(str(one.get("message", ""))),
                    "since": _since(gathered, code),
                    "ranks": [],
                },
            )
            known["ranks"].append(number)
            if one.get("severity") == "problem":
                known["severity"] = "problem"
    return sorted(found.values(), key=lambda one: one["severity"] != "problem")


def _latest(gathered: Gathered) -> list[dict[str, Any]]:
    if gathered.checkup is not None:
        names = ("code", "name", "severity", "message")
        return [{n: getattr(f, n) for n in names} for f in gathered.checkup.findings]
    return gathered.findings[-1]["found"][:FINDINGS] if gathered.findings else []


def _since(gathered: Gathered, code: str) -> int | None:
    """The first step after which this was said; None where it was said at the end alone."""
    reports = (r for r in gathered.findings if any(str(f.get("code")) == code for f in r["found"]))
    first = next(reports, None)
    return None if first is None else first["step"]


def _run(gathered: Gathered) -> dict[str, Any]:
    run, end = gathered.run, gathered.end
    return {
        "subject": printable(str(run.get("subject", ""))),
        "started": printable(str(run.get("started", ""))),
        "every": gathered.every,
        "end": printable(str(end.get("reason", ""))),
        "overhead": end.get("overhead"),
        "damaged": gathered.damaged,
    }


def _training(training: GatheredTraining, start: int, *, whole: bool) -> dict[str, Any]:
    depths = training.depths[start:]
    if whole and len(depths) > EXAMINATIONS:
        places = np.linspace(0, len(depths) - 1, EXAMINATIONS).round().astype(int)
        depths = [depths[i] for i in places]
    told: dict[str, Any] = {
        "series": curves(training),
        "held_out": [
            {"name": printable(one.quantity), **lean(one.steps, one.values)}
            for one in training.evaluations()
        ],
        "columns": {
            "steps": [depth["step"] for depth in depths],
            **{name: packed([depth[name] for depth in depths]) for name in QUANTITIES},
        },
    }
    if whole:
        told |= {
            "model": printable(str(training.about.get("model", ""))),
            "optimiser": printable(str(training.about.get("optimiser", ""))),
            "size": training.about.get("size"),
            "layers": [printable(name) for name in training.layers],
            "parameters": [printable(name) for name in training.parameters],
        }
    return told


def curves(training: GatheredTraining, points: int = POINTS) -> dict[str, np.ndarray]:
    """Every number of a step, in at most `points` bins of equally many steps.

    Beside them `last`, the number of the last step, `usual`, the median time of a step, and
    `waits`, the share of the last steps' time that went by in the data loader.
    """
    columns = training.columns()
    steps, taken = columns["step"], columns["seconds"][-1000:]
    waits = _share(columns["waited"][-1000:], taken, steps[-1000:] > 0)
    taken = taken[np.isfinite(taken)]
    starts = np.arange(len(steps))
    if len(steps) > points:
        borders = np.linspace(steps[0], steps[-1] + 1, points, endpoint=False)
        starts = np.unique(np.searchsorted(steps, borders))
    edges = {"low": np.minimum, "high": np.maximum, "peak": np.fmax}
    found = {
        "waits": waits,
        "last": steps[-1:],
        "usual": np.median(taken)[None] if len(taken) else taken,
    }
    for name in ("step", *COLUMNS, *EDGES):
        values = columns[name]
        if name == "step" or len(starts) == len(steps):
            found[name] = values[starts]
        elif name in edges:
            found[name] = edges[name].reduceat(values, starts)
        else:
            found[name] = _means(values, starts)
    return found


def lean(steps: np.ndarray, values: np.ndarray, points: int = POINTS) -> dict[str, np.ndarray]:
    """One curve of at most `points`, as the page reads it: the mean of each bin at its start."""
    if len(steps) > points:
        starts = np.unique(np.linspace(0, len(steps), points, endpoint=False).astype(int))
        steps, values = steps[starts], _means(values, starts)
    return {"step": steps, "value": values}


def _means(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Of each bin, over what was measured in it; an infinity stays one."""
    known = ~np.isnan(values)
    total = np.add.reduceat(np.where(known, values, 0.0), starts)
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / np.add.reduceat(known, starts, dtype=np.int64)


def packed(rows: list[np.ndarray]) -> str:
    """Positive numbers on a logarithmic scale, 16 bits each, as base64.

    0 stands for nothing measured, 65535 for infinity; 1 is the bottom of the scale.
    """
    width = max(map(len, rows), default=0)
    values = np.full((len(rows), width), np.nan)
    for place, row in zip(values, rows, strict=True):
        place[: len(row)] = row
    with np.errstate(divide="ignore", invalid="ignore"):
        place = np.log10(values) / (2 * DECADES) + 0.5
        codes = 1 + np.round(STEPS * np.clip(place, 0, 1))
    codes[np.isnan(values)] = 0
    codes[np.isposinf(values)] = STEPS + 2
    return base64.b64encode(np.nan_to_num(codes).astype("<u2").tobytes()).decode("ascii")


def _share(part: np.ndarray, whole: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(1,) of the whole where the part was measured and counts; (0,) where that is nowhere.

    The first step does not count: torch loads much in it, and workers start.
    """
    known = np.isfinite(part) & np.isfinite(whole) & counts
    total = whole[known].sum()
    return part[known].sum()[None] / total if total > 0 else np.zeros(0)


def _metric(name: str, points: list[tuple[int, float]]) -> dict[str, Any]:
    kept = points[:: -(-len(points) // POINTS)]
    steps, values = np.array(kept, dtype=np.float64).T
    return {"name": printable(name), "step": steps, "value": values}
