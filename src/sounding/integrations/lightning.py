"""A callback for Lightning's Trainer."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sounding.exam import Checkup
from sounding.integrations.anything import Anything
from sounding.integrations.switch import Switch
from sounding.watch import Logger

if TYPE_CHECKING:
    from lightning import pytorch as host
elif "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
    import pytorch_lightning as host  # the older name; callbacks of one do not fit the other
else:
    from lightning import pytorch as host


class SoundingCallback(host.Callback):
    """Watches ``Trainer.fit``, as :func:`sounding.watch` does; the training keeps its bits.

    Args:
        path: The file to write while the training goes on, None for none.
        every: Steps from one examination to the next, in place of a budget.
        overhead: Fraction of the time that watching may take.
        tests: Decide suspicions by short tests on the trained model when the training ends.
        overwrite: Whether a file that exists may be lost.
        to: Loggers that are told, such as those of :mod:`sounding.integrations`.
        log: Tell the trainer's own loggers too.
        quiet: Do not print the findings on standard error.

    Example: ``Trainer(callbacks=[SoundingCallback("run.sounding")])``
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = "run.sounding",
        *,
        every: int | None = None,
        overhead: float | None = None,
        tests: bool = True,
        overwrite: bool = False,
        to: Logger | Iterable[Logger] = (),
        log: bool = False,
        quiet: bool = False,
    ) -> None:
        super().__init__()
        how: dict[str, Any] = {"every": every, "overhead": overhead, "tests": tests}
        self._switch = Switch(path, **how, overwrite=overwrite, to=to, quiet=quiet)
        self._log = log

    @property
    def checkup(self) -> Checkup | None:
        """What was found, once the training has ended."""
        return self._switch.checkup

    def on_train_start(self, trainer: host.Trainer, pl_module: host.LightningModule) -> None:
        """Begin, behind the sanity check of the validation."""
        also = [Anything(_to_all(trainer))] if self._log and trainer.loggers else []
        self._switch.on([pl_module], trainer.optimizers, rank=trainer.global_rank, also=also)

    def on_train_end(self, trainer: host.Trainer, pl_module: host.LightningModule) -> None:
        """End of a training that came to its end."""
        self._switch.off()

    def on_exception(
        self, trainer: host.Trainer, pl_module: host.LightningModule, exception: BaseException
    ) -> None:
        """End of a training that did not; of Ctrl-C too."""
        self._switch.off(exception)

    def teardown(self, trainer: host.Trainer, pl_module: host.LightningModule, stage: str) -> None:
        """End in any case."""
        if stage == "fit":
            self._switch.off()


def _to_all(trainer: host.Trainer) -> Any:
    def log(values: Mapping[str, float], step: int) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(dict(values), step=step)

    return log
