"""Hand what an observer sees to loggers, while the run goes on or from its file afterwards."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from sounding.exam import Checkup
from sounding.watch.file import Entry
from sounding.watch.reader import Reader

FAILURES = 3  # of a logger, after which it is told nothing more
STEP = {
    "loss": "loss",
    "gradient_norm": "gradient norm",
    "lr": "lr",
    "clipped_from": "gradient norm before clipping",
}
LAYERS = ("signal", "gradient")  # of an examined step, one number a layer
PARAMETERS = ("ratio",)  # and one a parameter


class Logger(Protocol):
    """Where numbers go that somebody looks at; what it raises never reaches the training."""

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Of one step: 'loss', 'gradient norm', 'lr', and what the training's author logged."""
        ...

    def layers(self, step: int, quantity: str, values: Mapping[str, float]) -> None:
        """One number a layer ('signal', 'gradient') or a parameter ('ratio')."""
        ...

    def findings(self, step: int, found: Sequence[Mapping[str, Any]]) -> None:
        """What the rules say by now, if it changed: code, name, severity, message and layers."""
        ...

    def end(self, checkup: Checkup | None) -> None:
        """Nothing more will come; `checkup` is what the rules say of the whole run."""
        ...


class Entries(Protocol):
    """What takes the entries of a run: its file, or loggers."""

    def add(self, entry: Entry) -> None:
        """One more."""
        ...

    def close(self) -> None:
        """That was the last one."""
        ...


class Several:
    """Entries go to all of these."""

    def __init__(self, parts: Sequence[Entries]) -> None:
        self.parts = parts

    def add(self, entry: Entry) -> None:
        """Tell everyone."""
        for part in self.parts:
            part.add(entry)

    def close(self) -> None:
        """Close everyone."""
        for part in self.parts:
            part.close()


class Sender:
    """Takes the entries of a run and tells one logger, in its words.

    Of the steps between two sendings (half a second, at most) their mean is told, at the last of
    them: the file has every step. A forked child of the process tells nothing.
    """

    def __init__(self, logger: Logger) -> None:
        self.logger = logger
        self._pid = os.getpid()
        self._names: dict[int, tuple[list[str], list[str]]] = {}
        self._found: list[tuple[str, str]] = []
        self._checkup: Checkup | None = None
        self._failures = 0
        self._open = True
        self._heard = {
            "steps": self._steps,
            "layers": self._layers,
            "depth": self._depth,
            "metric": self._metric,
            "findings": self._findings,
            "checkup": self._exam,
        }

    def add(self, entry: Entry) -> None:
        """Tell the logger, if this is something for it."""
        hear = self._heard.get(entry["kind"])
        if hear is not None:
            self._try(hear, entry)

    def close(self) -> None:
        """Tell the logger that this was all."""
        if self._open:
            self._try(self.logger.end, self._checkup)
            self._open = False

    def _steps(self, entry: Entry) -> None:
        rows = len(entry["loss"])
        last = entry["step"][-1] if "step" in entry else None
        if last is None:
            last = entry.get("at", 0) + entry.get("width", 1) * (rows - 1)
        values = {said: _mean(entry[name]) for name, said in STEP.items() if name in entry}
        values = {name: value for name, value in values.items() if value is not None}
        self.logger.numbers(int(last), _of(entry, values))

    def _layers(self, entry: Entry) -> None:
        self._names[int(entry["number"])] = entry["layers"], entry["parameters"]

    def _depth(self, entry: Entry) -> None:
        layers, parameters = self._names[int(entry["layers"])]
        for names, quantities in ((layers, LAYERS), (parameters, PARAMETERS)):
            for quantity in quantities:
                if quantity in entry:
                    numbers = np.array(entry[quantity], dtype=np.float64)  # null becomes nan
                    told = zip(names, numbers.tolist(), strict=True)
                    values = {name: value for name, value in told if value == value}
                    self.logger.layers(int(entry["step"]), quantity, _of(entry, values))

    def _metric(self, entry: Entry) -> None:
        if entry["value"] is not None:
            self.logger.numbers(int(entry["step"]), {entry["name"]: float(entry["value"])})

    def _findings(self, entry: Entry) -> None:
        found = [(one["code"], one["severity"]) for one in entry["found"]]
        if found != self._found:
            self._found = found
            self.logger.findings(int(entry["step"]), entry["found"])

    def _exam(self, entry: Entry) -> None:
        self._checkup = Checkup.from_dict(entry["checkup"])

    def _try(self, function: Any, *args: Any) -> None:
        if self._failures >= FAILURES or os.getpid() != self._pid:
            return
        try:
            function(*args)
        except Exception as error:  # a logger never kills a training
            self._failures += 1
            if self._failures == FAILURES and sys.stderr is not None:
                sys.stderr.write(
                    f"sounding: {type(self.logger).__name__} failed and is told nothing more "
                    f"({type(error).__name__}: {error}); the training goes on\n"
                )


def senders(to: Logger | Iterable[Logger]) -> list[Sender]:
    """One for each logger; a single logger may be given as it is."""
    loggers = list(to) if isinstance(to, Iterable) else [to]
    for logger in loggers:
        lacks = [n for n in ("numbers", "layers", "findings", "end") if not hasattr(logger, n)]
        if lacks:
            raise TypeError(
                f"`to` has a {type(logger).__name__}, which is no logger (it has no "
                f"{', '.join(lacks)}); use one of sounding.integrations, such as "
                "sounding.integrations.anything.Anything(function) for a function of (values, step)"
            )
    return [Sender(logger) for logger in loggers]


def send(path: str | os.PathLike[str], to: Logger | Iterable[Logger]) -> None:
    """Hand the file of a run, finished or not, to loggers.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is not the file of a run.
        TypeError: If `to` is no logger.
    """
    everyone = Several(senders(to))
    with Reader(path) as reader:
        for entry in reader.new():
            everyone.add(entry)
    everyone.close()


def _of(entry: Entry, values: dict[str, float]) -> dict[str, float]:
    """Names of the second training and the later ones say which."""
    number = int(entry["training"])
    return {f"training {number}/{n}": v for n, v in values.items()} if number else values


def _mean(values: Any) -> float | None:
    numbers = np.array(values, dtype=np.float64)
    known = numbers[~np.isnan(numbers)]
    return float(known.mean()) if known.size else None
