"""A callback for the Trainer of Hugging Face transformers."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable
from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sounding.exam import Checkup
from sounding.integrations.switch import Switch
from sounding.watch import Logger

# What runs inside of `train` and is looked up on the trainer: the first is there since version 5.
INSIDE = ("_run_epoch", "training_step")


class SoundingCallback(TrainerCallback):
    """Watches ``Trainer.train``, as :func:`sounding.watch` does; the training keeps its bits.

    The trainer tells its callbacks nothing of an exception. So while it trains, the callback
    stands around what runs inside of `train`, and ends with it.

    Args:
        path: The file to write while the training goes on, None for none.
        every: Steps from one examination to the next, in place of a budget.
        overhead: Fraction of the time that watching may take.
        tests: Decide suspicions by short tests on the trained model when the training ends.
        overwrite: Whether a file that exists may be lost.
        to: Loggers that are told, such as those of :mod:`sounding.integrations`.
        quiet: Do not print the findings on standard error.

    Example: ``Trainer(..., callbacks=[SoundingCallback("run.sounding")])``
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
        quiet: bool = False,
    ) -> None:
        how: dict[str, Any] = {"every": every, "overhead": overhead, "tests": tests}
        self._switch = Switch(path, **how, overwrite=overwrite, to=to, quiet=quiet)
        self._guarded: tuple[Trainer, str] | None = None

    @property
    def checkup(self) -> Checkup | None:
        """What was found, once the training has ended."""
        return self._switch.checkup

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin."""
        optimizer = kwargs.get("optimizer")
        optimizer = getattr(optimizer, "optimizer", optimizer)  # the one inside of accelerate's
        optimizers = [] if optimizer is None else [optimizer]
        self._switch.on([kwargs["model"]], optimizers, rank=args.process_index)
        self._guard(_running(self))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """End of a training that came to its end."""
        self.close()

    def close(self, error: BaseException | None = None) -> None:
        """End; needed only where a training was left in a way that no one told the callback of."""
        if self._guarded is not None:
            trainer, name = self._guarded
            delattr(trainer, name)
            self._guarded = None
        self._switch.off(error)

    def _guard(self, trainer: Trainer | None) -> None:
        name = next((n for n in INSIDE if hasattr(trainer, n)), None)
        if trainer is None or name is None or name in vars(trainer):
            return
        inner = getattr(trainer, name)

        @functools.wraps(inner)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return inner(*args, **kwargs)
            except BaseException as error:
                self.close(error)
                raise

        setattr(trainer, name, guarded)
        self._guarded = trainer, name


def _running(callback: TrainerCallback) -> Trainer | None:
    """The trainer that is telling `callback` of an event: its frame is further up."""
    frame = sys._getframe(2)
    while frame is not None:
        trainer = frame.f_locals.get("self")
        if isinstance(trainer, Trainer) and callback in trainer.callback_handler.callbacks:
            return trainer
        frame = frame.f_back
    return None
