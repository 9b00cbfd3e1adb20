"""A script as an arm of a comparison: every trial is the script itself, in a fresh process."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sounding.exam import Checkup
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.script.execute import check_target
from sounding.script.trial import Order, run_trial
from sounding.train.trial import Trial

PATIENCE = 3600.0  # seconds after which a trial that says nothing is ended


class ScriptError(ValueError):
    """A script that cannot be used for trials; the sentence says why and what to do."""


class Script:
    """Runs trials of one script, as an `Arm` of `prove` and `repair`, and examines it.

    Processes start from a server that has imported torch already (and what the first step of an
    optimiser imports: seconds) and nothing of the script, so each is fresh and quick. Files that a
    trial writes go to a scratch folder, which is deleted.
    """

    def __init__(self, target: Sequence[str], *, steps: int, jobs: int = 1) -> None:
        check_target(target)
        self.target = tuple(target)
        self.steps = steps
        self.threads = max(1, (os.cpu_count() or 1) // jobs)
        self._answers: dict[str, dict] = {}  # of the runs on seed 0, which are examined as well
        fast = "forkserver" in multiprocessing.get_all_start_methods()
        self._processes: Any = multiprocessing.get_context("forkserver" if fast else "spawn")
        if fast:
            self._processes.set_forkserver_preload(["sounding.script.trial", "torch._dynamo"])

    def train(self, remedies: tuple[Remedy, ...], seed: int) -> Trial:
        """One trial with `remedies` applied just before the first training step.

        Raises:
            NotApplicable: If a remedy has no meaning for the script's model.
            ScriptError: If the script fails, or does what a trial must not.
        """
        return Trial.from_dict(self._answer(remedies, seed)["trial"])

    def examine(self, remedies: tuple[Remedy, ...] = ()) -> Checkup:
        """The checkup of the script's model at its first step, with `remedies` applied.

        Its loss is recorded over the same steps as a trial's.

        Raises:
            ScriptError: If the script fails, or no model's step was seen.
        """
        answer = self._answer(remedies, 0)
        if "checkup" not in answer:
            raise ScriptError("no model's forward pass was seen, so there is nothing to examine")
        return Checkup.from_dict(answer["checkup"])

    def _answer(self, remedies: tuple[Remedy, ...], seed: int) -> dict:
        """What a trial leaves behind; those on seed 0 are examined and remembered."""
        if seed != 0:
            return self._run(remedies, seed, examine=False)
        key = str([str(remedy) for remedy in remedies])
        if key not in self._answers:
            self._answers[key] = self._run(remedies, 0, examine=True)
        return self._answers[key]

    def _run(self, remedies: tuple[Remedy, ...], seed: int, *, examine: bool) -> dict:
        scratch = Path(tempfile.mkdtemp(prefix="sounding-trial-"))
        try:
            order = Order(
                target=self.target,
                seed=seed,
                steps=self.steps,
                remedies=remedies,
                scratch=str(scratch),
                threads=self.threads,
                examine=examine,
            )
            process = self._processes.Process(target=run_trial, args=(order,))
            process.start()
            try:
                process.join(PATIENCE)
            finally:
                if process.is_alive():
                    process.kill()
                    process.join()
            return self._read(scratch, process.exitcode)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _read(self, scratch: Path, exitcode: int | None) -> dict:
        path = scratch / "result.json"
        if not path.exists():
            raise ScriptError(
                f"a trial ended without a result (exit code {exitcode}){_tail(scratch)}"
            )
        answer = json.loads(path.read_text(encoding="utf-8"))
        if "not_applicable" in answer:
            raise NotApplicable(answer["not_applicable"])
        if "stopped" in answer:
            raise ScriptError(f"{answer['stopped']}; the trial was ended there{_tail(scratch)}")
        return answer


def _tail(scratch: Path, lines: int = 5) -> str:
    """The last lines that the script printed."""
    path = scratch / "output.txt"
    text = path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else ""
    return "\n  its last output:\n  " + "\n  ".join(text.splitlines()[-lines:]) if text else ""
