"""Numbers, tags and the page of the checkup in MLflow."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import mlflow
from mlflow.entities import Metric, RunTag
from mlflow.tracking import MlflowClient

from sounding.exam import Checkup
from sounding.view.page import page

PREFIX = "sounding"
MOST = 1000  # metrics that the server takes in one call
FOREIGN = re.compile(r"[^\w\-. :/]")  # characters that a metric's name must not have


class MLflow:
    """Writes into the run `run_id`, or into the active one.

    The run is yours: it is not ended.

    Example: ``with mlflow.start_run(): ... sounding.watch(model, optimizer, to=MLflow())``
    """

    def __init__(self, run_id: str | None = None, *, client: MlflowClient | None = None) -> None:
        if run_id is None:
            active = mlflow.active_run()
            if active is None:
                raise ValueError("no MLflow run is active; start one first, or pass its run_id")
            run_id = active.info.run_id
        self._run = str(run_id)
        self._client = client or MlflowClient()

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Metrics."""
        now = int(1000 * time.time())
        told = [
            Metric(FOREIGN.sub("_", f"{PREFIX}/{name}"), value, now, step)
            for name, value in values.items()
        ]
        for start in range(0, len(told), MOST):
            self._client.log_batch(self._run, metrics=told[start : start + MOST])

    def layers(self, step: int, quantity: str, values: Mapping[str, float]) -> None:
        """Metrics."""
        self.numbers(step, {f"{quantity}/{name}": value for name, value in values.items()})

    def findings(self, step: int, found: Sequence[Mapping[str, Any]]) -> None:
        """Tags: the codes of problems and cautions."""
        codes = {
            kind: " ".join(one["code"] for one in found if one["severity"] == kind)
            for kind in ("problem", "caution")
        }
        tags = [RunTag(f"{PREFIX}.{kind}s", codes[kind]) for kind in codes]
        self._client.log_batch(self._run, tags=tags)

    def end(self, checkup: Checkup | None) -> None:
        """The tags after all tests; the checkup as a page and as JSON."""
        if checkup is not None:
            self.findings(0, [f.to_dict() for f in checkup.findings])
            self._client.log_text(self._run, page(checkup), f"{PREFIX}/checkup.html")
            self._client.log_dict(self._run, checkup.to_dict(), f"{PREFIX}/checkup.json")
