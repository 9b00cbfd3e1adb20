"""A tracker for Hugging Face accelerate."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable
from typing import Any

from accelerate import PartialState
from accelerate.tracking import GeneralTracker

from sounding.exam import Checkup
from sounding.integrations.switch import Switch
from sounding.watch import Logger, Watch


class SoundingTracker(GeneralTracker):
    """Watches from ``init_trackers`` to ``end_training``, as :func:`sounding.watch` does.

    What the loop hands to ``accelerator.log`` stands beside the steps. Where a loop ends by an
    exception nobody tells a tracker: the watch ends with the process then, or at once with a
    ``with sounding.watch(...)`` around the loop in place of this.

    Args:
        path: The file to write while the training goes on, None for none.
        every: Steps from one examination to the next, in place of a budget.
        overhead: Fraction of the time that watching may take.
        tests: Decide suspicions by short tests on the trained model when the training ends.
        overwrite: Whether a file that exists may be lost.
        to: Loggers that are told, such as those of :mod:`sounding.integrations`.
        quiet: Do not print the findings on standard error.

    Example: ``Accelerator(log_with=[SoundingTracker("run.sounding")])``
    """

    name = "sounding"
    requires_logging_directory = False
    main_process_only = False

    def __init__(
        self,
        path: str | os.PathLike[str] | None = "run.sounding",
        *,
        every: int | None = None,
        overhead: float | None = None,
        tests: bool = True,
        overwrite: bool = False,
        to: Logger | Iterable[Logger] = (),
        quiet: bool = False,
    ) -> None:
        super().__init__()
        how: dict[str, Any] = {"every": every, "overhead": overhead, "tests": tests}
        self._switch = Switch(path, **how, overwrite=overwrite, to=to, quiet=quiet)

    @property
    def tracker(self) -> Watch | None:
        """The watch."""
        return self._switch.watch

    @property
    def checkup(self) -> Checkup | None:
        """What was found, once the training has ended."""
        return self._switch.checkup

    def start(self) -> None:
        """Begin; models and optimisers are met when they are used."""
        self._switch.on([], [], rank=PartialState().process_index)

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Numbers from the loop; what came from here is not heard again."""
        told = {
            str(name): float(value)
            for name, value in values.items()
            if isinstance(value, numbers.Real) and not str(name).startswith("sounding/")
        }
        if told and self.tracker is not None:
            self.tracker.log(**told)

    def finish(self) -> None:
        """End."""
        self._switch.off()
