"""Numbers, a table of findings and the page of the checkup in Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import wandb

from sounding.exam import Checkup
from sounding.view.page import page

PREFIX = "sounding"
LAYERS = f"{PREFIX}-layers"  # apart, because a row that waits has one value of a step alone
COLUMNS = ("severity", "code", "name", "message")


class WandB:
    """Writes into a run of yours, or into one of its own that is finished at the end.

    A run has one step counter. In yours (`run`) the numbers wait for your own next ``run.log``, so
    that they never move your steps on: of several sendings between two of your calls the last one
    is kept. In its own run (without `run`; `settings` go to ``wandb.init``) every one is. Either
    way they are drawn over `sounding/step`, those of the layers over `sounding-layers/step`.

    Example: ``sounding.watch(model, optimizer, to=WandB(wandb.run))``
    """

    def __init__(self, run: Any = None, **settings: Any) -> None:
        self._own = run is None
        self._run = wandb.init(**{"reinit": "create_new", **settings}) if run is None else run
        for prefix in (PREFIX, LAYERS):
            self._run.define_metric(f"{prefix}/step", hidden=True)
            self._run.define_metric(f"{prefix}/*", step_metric=f"{prefix}/step")

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Metrics."""
        self._log(PREFIX, step, values)

    def layers(self, step: int, quantity: str, values: Mapping[str, float]) -> None:
        """Metrics."""
        self._log(LAYERS, step, {f"{quantity}/{name}": v for name, v in values.items()})

    def findings(self, step: int, found: Sequence[Mapping[str, Any]]) -> None:
        """The codes, as part of the run's summary."""
        self._run.summary[f"{PREFIX}/findings"] = [one["code"] for one in found]

    def end(self, checkup: Checkup | None) -> None:
        """A table of the findings, the page of the checkup, and tags of the problems."""
        if checkup is not None:
            self._end(checkup)
        if self._own:
            self._run.finish()

    def _end(self, checkup: Checkup) -> None:
        rows = [[getattr(f, name) for name in COLUMNS] for f in checkup.findings]
        self._run.summary[f"{PREFIX}/findings"] = [f.code for f in checkup.findings]
        self._run.summary[f"{PREFIX}/problems"] = len(checkup.problems)
        told = {
            f"{PREFIX}/table": wandb.Table(columns=list(COLUMNS), data=rows),
            f"{PREFIX}/checkup": wandb.Html(page(checkup), inject=False),
        }
        self._run.log(told, commit=self._own)

    def _log(self, prefix: str, step: int, values: Mapping[str, float]) -> None:
        told = {f"{prefix}/{name}": value for name, value in {"step": step, **values}.items()}
        self._run.log(told, commit=self._own)
