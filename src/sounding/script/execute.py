"""Run a user's script in this process as Python itself would."""

from __future__ import annotations

import os
import runpy
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

HERE = Path(__file__).resolve().parents[1]


def check_target(target: Sequence[str]) -> None:
    """Whether there is a script to run.

    Raises:
        FileNotFoundError: If the script does not exist; says what was looked for.
        ValueError: If nothing was named, or a folder without ``__main__.py``.
    """
    if not target or (target[0] == "-m" and len(target) < 2):
        raise ValueError("name a script to run, for example: sounding run train.py")
    if target[0] == "-m":
        return
    path = Path(target[0])
    if not path.exists():
        raise FileNotFoundError(f"there is no script {target[0]} in {Path.cwd()}")
    if path.is_dir() and not (path / "__main__.py").exists():
        raise ValueError(f"{target[0]} is a folder without __main__.py; name the script in it")


def script_file(target: Sequence[str]) -> str:
    """The file that is run, as it was named; '' for a module or a folder."""
    return target[0] if target and target[0].endswith(".py") else ""


def execute(target: Sequence[str]) -> None:
    """Run ``script.py args...`` or ``-m module args...`` as ``__main__``; raises what it raises."""
    with _as_main(target):
        if target[0] == "-m":
            runpy.run_module(target[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(target[0], run_name="__main__")


def leave_as(error: BaseException | None) -> int:
    """The exit code that Python would give after `error`, its traceback printed as Python would.

    A keyboard interrupt ends this process by the signal itself, as Python does.
    """
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return int(error.code or 0)
        print(error.code, file=sys.stderr)  # noqa: T201 -- what Python itself does
        return 1
    traceback.print_exception(_trimmed(error))
    if isinstance(error, KeyboardInterrupt):
        sys.stdout.flush()
        sys.stderr.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return 1


@contextmanager
def _as_main(target: Sequence[str]) -> Iterator[None]:
    argv, path = sys.argv, list(sys.path)
    if target[0] == "-m":
        sys.argv = list(target[1:])
        sys.path.insert(0, str(Path.cwd()))
    else:
        sys.argv = list(target)
        folder = Path(target[0]).resolve()
        sys.path.insert(0, str(folder if folder.is_dir() else folder.parent))
    try:
        yield
    finally:
        sys.argv, sys.path[:] = argv, path


def _trimmed(error: BaseException) -> BaseException:
    """`error` and what led to it, with tracebacks that show the user's code and torch's only."""
    for one in (error, error.__cause__, error.__context__):
        if one is not None:
            one.__traceback__ = _users_part(one.__traceback__)
    return error


def _users_part(tb: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames of this package, and of runpy below it."""
    if tb is None:
        return None
    rest = _users_part(tb.tb_next)
    file = Path(tb.tb_frame.f_code.co_filename)
    if HERE in file.parents or "runpy" in file.name:
        return rest
    return TracebackType(rest, tb.tb_frame, tb.tb_lasti, tb.tb_lineno)
