"""What can go wrong with a run, and how it comes back from another process."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor
from typing import Any


class WorkerDied(BrokenExecutor):
    """The process that worked on a run ended before the run did: killed, or out of memory."""


def attempt(function: Callable[..., Any], settings: Mapping[str, Any]) -> Any:
    """What ``function(**settings)`` returns, or the exception that it raises.

    The exception carries its settings and its traceback as a note, in place of the frames, which
    hold whatever the run held. One that would not survive the way between processes is replaced.
    Ctrl-C is no result.
    """
    try:
        return function(**settings)
    except (Exception, SystemExit) as error:
        said = "".join(traceback.format_exception(error))
        return _portable(error, f"with settings {dict(settings)}\n{said}")


def _portable(error: BaseException, note: str) -> BaseException:
    error.__traceback__ = error.__cause__ = error.__context__ = None
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(note)
    return error
