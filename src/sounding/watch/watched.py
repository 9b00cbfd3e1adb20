"""What the file of a run holds, as a result."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from sounding.exam import Checkup
from sounding.result import Result, Series
from sounding.watch.file import Entry
from sounding.watch.reader import Reader
from sounding.watch.thin import COLUMNS, EDGES, rows

DEPTH = ("signal", "signal_error", "gradient", "gradient_error")  # of layers
MOTION = ("ratio", "second", "effective_lr")  # of parameters


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Training(Result):
    """The course of one optimiser's training.

    Letters: S rows, E examined steps, L layers, P parameters that the optimiser holds.

    A row stands for one step; old rows of a long run stand for several, from `steps[k]` up to that
    of the next row: their mean, with the extremes in `low`, `high` and `peak`. nan: not measured.
    """

    model: str
    optimiser: str
    eps: float  # of an adaptive optimiser, else nan
    steps: np.ndarray  # (S,) number of the row's first step
    loss: np.ndarray  # (S,)
    low: np.ndarray  # (S,) smallest loss
    high: np.ndarray  # (S,) largest loss, nan where one was nan
    gradient_norm: np.ndarray  # (S,) 2-norm over all parameters, after clipping
    peak: np.ndarray  # (S,) largest one
    clipped_from: np.ndarray  # (S,) 2-norm before clipping
    lr: np.ndarray  # (S,) of the first parameter group
    seconds: np.ndarray  # (S,) from the end of the step before to the end of this one
    layers: tuple[str, ...]  # (L,) weighted calls in the order in which they ran
    examined: np.ndarray  # (E,) step numbers
    signal: np.ndarray  # (E, L) rms of the layer's output, exact over the batch
    signal_error: np.ndarray  # (E, L) its standard error over the batch's rows
    gradient: np.ndarray  # (E, L) rms of the loss's gradient at the output
    gradient_error: np.ndarray  # (E, L)
    parameters: tuple[str, ...]  # (P,)
    ratio: np.ndarray  # (E, P) norm of the step's update over the norm of the weights
    second: np.ndarray  # (E, P) root of Adam's mean squared gradient, bias corrected
    effective_lr: np.ndarray  # (E, P) lr / (second + eps): the step that one unit of gradient makes
    size: float = np.nan  # parameters of the model, as they stand in this process
    parallel: str = ""  # 'DistributedDataParallel' or 'FSDP', of several processes
    weights: str = ""  # of such, a sum over all weights before the first step
    # One for each set of samples whose loss the script computes without gradients; `steps` says
    # how many were made before each evaluation.
    held_out: tuple[Series, ...] = ()
    # (S,) of `seconds`, what the loop waited for a data loader of torch; empty where an older
    # version wrote this
    waited: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    beside: tuple[Series, ...] = ()  # the loss of the same training in the other processes


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Watched(Result):
    """A watched run, finished or not."""

    subject: str
    started: str  # ISO 8601, UTC
    end: str  # how it ended; '' where the file does not say: it goes on, or was killed
    overhead: float  # fraction of the time that watching took, nan while it goes on
    trainings: tuple[Training, ...]  # one for each optimiser
    metrics: tuple[Series, ...]  # numbers handed over by the training's author
    checkup: Checkup | None  # what the rules said at the end
    damaged: int  # lines of the file that could not be read
    processes: int = 1  # that took part; the records of those that are there were put together
    others: tuple[str, ...] = ()  # files of these


def watched(path: str | os.PathLike[str]) -> Watched:
    """Read the file of a run.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is not the file of a run, or of a later version.
    """
    with Reader(path) as reader:
        gathered = Gathered()
        gathered.take(reader.new())
        return gathered.result(damaged=reader.damaged)


class Gathered:
    """Entries of a run, put in order; what does not fit is left out and counted."""

    def __init__(self) -> None:
        self.run: Entry = {}
        self.every: int | None = None  # steps between examinations, where that was fixed
        self.end: Entry = {}
        self.checkup: Checkup | None = None
        self.findings: list[Entry] = []
        self.metrics: dict[str, list[tuple[int, float]]] = {}
        self.trainings: dict[int, GatheredTraining] = {}
        self.damaged = 0

    def take(self, entries: Iterable[Entry]) -> None:
        """Some more of them."""
        for entry in entries:
            try:
                self._take(entry)
            except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError):
                self.damaged += 1

    def _take(self, entry: Entry) -> None:
        kind = entry["kind"]
        if kind == "run":
            self.run = {name: str(entry.get(name, "")) for name in ("subject", "started")}
            self.run["ranks"] = min(max(int(entry.get("ranks", 1)), 1), MOST_PROCESSES)
            self.run["rank"] = int(entry.get("rank", 0))
            self.every = None if entry.get("every") is None else int(entry["every"])
        elif kind == "end":
            overhead = _number(entry.get("overhead"))
            self.end = {"reason": str(entry.get("reason", "")), "overhead": overhead}
        elif kind == "findings":
            self.findings.append(
                {
                    "step": _step(entry["step"]),
                    "found": [{str(k): v for k, v in one.items()} for one in entry["found"]],
                }
            )
        elif kind == "checkup":
            self.checkup = Checkup.from_dict(entry["checkup"])
        elif kind == "metric":
            point = _step(entry["step"]), _number(entry["value"])
            self.metrics.setdefault(str(entry["name"]), []).append(point)
        elif kind in ("training", "steps", "layers", "depth", "held_out"):
            number = int(entry["training"])
            if not 0 <= number < MOST_TRAININGS:
                raise ValueError(f"there is no training {number}")
            self.trainings.setdefault(number, GatheredTraining()).take(entry)

    def result(self, *, damaged: int = 0) -> Watched:
        """What has been taken so far."""
        series = (_series(name, points) for name, points in self.metrics.items())
        return Watched(
            subject=str(self.run.get("subject", "")),
            started=str(self.run.get("started", "")),
            end=str(self.end.get("reason", "")),
            overhead=_number(self.end.get("overhead")),
            trainings=tuple(t.result() for _, t in sorted(self.trainings.items())),
            metrics=tuple(series),
            checkup=self.checkup,
            damaged=self.damaged + damaged,
            processes=int(self.run.get("ranks", 1)),
        )


MOST_TRAININGS = 10_000
MOST_SETS = 100
MOST_PROCESSES = 100_000


class GatheredTraining:
    """Entries of one training."""

    def __init__(self) -> None:
        self.about: Entry = {}
        self.blocks: list[Entry] = []
        self.names: dict[int, tuple[list[str], list[str]]] = {}
        self.layers: dict[str, int] = {}  # column of every layer that was seen
        self.parameters: dict[str, int] = {}
        self.depths: list[Entry] = []
        self.ordered: tuple[Series, ...] = ()  # evaluations of a run that was read before
        # of a set and the loss function's name, the steps and the losses
        self.held_out: dict[tuple[int, str], list[tuple[np.ndarray, np.ndarray]]] = {}

    def take(self, entry: Entry) -> None:
        """One entry that is marked as of this training."""
        if entry["kind"] == "training":
            names = ("model", "optimiser", "parallel", "weights")
            self.about = {name: str(entry.get(name, "")) for name in names}
            self.about["eps"] = _number(entry.get("eps"))
            self.about["size"] = _number(entry.get("parameters"))
        elif entry["kind"] == "steps":
            self.blocks.append(rows(entry))
        elif entry["kind"] == "held_out":
            self._held_out(entry)
        elif entry["kind"] == "layers":
            layers = [str(name) for name in entry["layers"]]
            parameters = [str(name) for name in entry["parameters"]]
            self.names[int(entry["number"])] = layers, parameters
            if (len(set(layers)), len(set(parameters))) != (len(layers), len(parameters)):
                raise ValueError("a name twice")
            for known, names in ((self.layers, layers), (self.parameters, parameters)):
                for name in names:
                    known.setdefault(name, len(known))
        else:
            self.depths.append(self._depth(entry))

    def _held_out(self, entry: Entry) -> None:
        key = int(entry["set"]), str(entry["function"])
        steps = np.array([_step(step) for step in entry["step"]], dtype=np.int64)
        losses = np.array(entry["loss"], dtype=np.float64)
        if steps.shape != losses.shape:
            raise ValueError(f"{losses.shape} losses of {steps.shape} evaluations")
        if key not in self.held_out and len(self.held_out) == MOST_SETS:
            raise ValueError("too many sets of samples")
        self.held_out.setdefault(key, []).append((steps, losses))

    def evaluations(self) -> tuple[Series, ...]:
        """The losses without gradients, set by set, in the order of their steps."""
        found = list(self.ordered)
        several = len({place for place, _ in self.held_out}) > 1
        for (place, function), parts in sorted(self.held_out.items()):
            steps, losses = (np.concatenate(column) for column in zip(*parts, strict=True))
            order = np.argsort(steps, kind="stable")
            name = f"{function} {place + 1}" if several else function
            found.append(Series(quantity=name, unit="", steps=steps[order], values=losses[order]))
        return tuple(found)

    def _depth(self, entry: Entry) -> Entry:
        layers, parameters = self.names[int(entry["layers"])]
        found: Entry = {"step": _step(entry["step"]), "lr": _number(entry.get("lr"))}
        for name in (*DEPTH, "ratio", "second"):
            of, known = (layers, self.layers) if name in DEPTH else (parameters, self.parameters)
            values = np.full(len(known), np.nan, dtype=np.float32)
            if name in entry:
                given = np.array(entry[name], dtype=np.float32)
                if given.shape != (len(of),):
                    raise ValueError(f"{name} has {given.shape} numbers for {len(of)} names")
                values[[known[one] for one in of]] = given
            found[name] = values
        with np.errstate(divide="ignore"):
            eps = np.nan_to_num(_number(self.about.get("eps")))
            found["effective_lr"] = found["lr"] / (found["second"] + eps)
        return found

    def result(self) -> Training:
        """What has been taken so far."""
        columns: dict[str, Any] = dict(self.columns())
        tables: dict[str, Any] = {name: self._table(name) for name in (*DEPTH, *MOTION)}
        return Training(
            model=str(self.about.get("model", "")),
            optimiser=str(self.about.get("optimiser", "")),
            size=_number(self.about.get("size")),
            parallel=str(self.about.get("parallel", "")),
            weights=str(self.about.get("weights", "")),
            eps=_number(self.about.get("eps")),
            steps=columns.pop("step").astype(np.int64),
            layers=tuple(self.layers),
            parameters=tuple(self.parameters),
            held_out=self.evaluations(),
            examined=np.array([depth["step"] for depth in self.depths], dtype=np.int64),
            **columns,
            **tables,
        )

    def columns(self) -> dict[str, np.ndarray]:
        """The rows of all blocks, in the order of their steps."""
        if len(self.blocks) > 1:
            names = ("step", *COLUMNS, *EDGES)
            whole: Entry = {name: np.concatenate([b[name] for b in self.blocks]) for name in names}
            order = np.argsort(whole["step"], kind="stable")
            self.blocks = [{name: values[order] for name, values in whole.items()}]
        one = self.blocks[0] if self.blocks else rows({"loss": []})
        return {name: one[name] for name in ("step", *COLUMNS, *EDGES)}

    def _table(self, name: str) -> np.ndarray:
        width = len(self.layers if name in DEPTH else self.parameters)
        table = np.full((len(self.depths), width), np.nan)
        for row, depth in zip(table, self.depths, strict=True):
            row[: len(depth[name])] = depth[name]
        return table


def _series(name: str, points: list[tuple[int, float]]) -> Series:
    steps, values = np.array(points, dtype=np.float64).T
    return Series(quantity=name, unit="", steps=steps.astype(np.int64), values=values)


def _step(value: Any) -> int:
    """A step's number; one that no training reaches is damage."""
    if not abs(number := int(value)) < 2**53:
        raise ValueError(f"there is no step {number}")
    return number


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
