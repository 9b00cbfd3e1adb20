"""Keep a trial from changing anything of the user's: files, folders, other machines.

Writing goes to a scratch folder instead, where later reading finds it; what cannot be redirected
(deleting, renaming, network, other programs) ends the trial with a sentence that says so. The guard
works on Python's own doors (open, os, shutil, socket, subprocess; torch.save and safetensors by
name) and denies what else it hears of through audit events. It protects from ordinary training
scripts, not from hostile code.
"""

from __future__ import annotations

import builtins
import io
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

DENIED = {
    "os.remove": "deletes {0}",
    "os.rmdir": "deletes the folder {0}",
    "os.rename": "renames {0}",
    "os.truncate": "truncates {0}",
    "os.link": "links {0}",
    "os.symlink": "links {0}",
    "os.chmod": "changes the mode of {0}",
    "os.chown": "changes the owner of {0}",
    "os.system": "runs the command {0}",
    "os.exec": "runs {0}",
    "os.posix_spawn": "runs {0}",
    "os.spawn": "runs {1}",
    "os.startfile": "opens {0}",
    "sqlite3.connect": "opens the database {0}",
    "subprocess.Popen": "starts the program {0}",
    "socket.connect": "connects to {1}",
    "socket.sendto": "sends to {1}",
    "socket.bind": "opens the port {1}",
}
PATHS = {name for name in DENIED if name.startswith(("os.", "sqlite3."))} - {
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
}


class Sandbox:
    """A guard over this process; there is no way to take it off but to end the process."""

    def __init__(self, scratch: Path, stop: Callable[[str], None]) -> None:
        self.scratch = scratch.resolve()
        self.stop = stop
        self.busy = False
        self.redirected: list[str] = []
        self._open = io.open

    def install(self) -> None:
        """From here on nothing outside the scratch folder is written."""
        sys.dont_write_bytecode = True
        for variable in ("TMPDIR", "TEMP", "TMP"):
            os.environ[variable] = str(self.scratch)
        builtins.open = io.open = self.open  # type: ignore[assignment]
        self._wrap(os, "mkdir", 0)
        self._wrap(os, "makedirs", 0)
        self._wrap(os, "open", 0, writes=_flags_write)
        for name in ("copyfile", "copy", "copy2", "copytree"):
            self._wrap(shutil, name, 1)
        self._wrap_libraries()
        sys.addaudithook(self._audit)

    def open(self, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        """The built-in open; what would write outside goes to the scratch folder."""
        if isinstance(file, str | bytes | os.PathLike):
            file = self._place(file, any(c in mode for c in "wax+"), copy="w" not in mode)
        self.busy, before = True, self.busy
        try:
            return self._open(file, mode, *args, **kwargs)
        finally:
            self.busy = before

    def _place(self, file: Any, writing: bool, *, copy: bool = False) -> Any:
        """Where `file` really goes: itself, or its copy in the scratch folder."""
        path = _absolute(file)
        if self._harmless(path):
            return file
        mirror = self.scratch / "files" / str(path).lstrip(os.sep).replace(":", "")
        if not writing:
            return mirror if mirror.exists() else file
        self.busy, before = True, self.busy
        try:
            mirror.parent.mkdir(parents=True, exist_ok=True)
            if copy and path.is_file() and not mirror.exists():
                shutil.copyfile(path, mirror)
        finally:
            self.busy = before
        self.redirected.append(str(path))
        return mirror

    def _harmless(self, path: Path) -> bool:
        return self.scratch in path.parents or path == self.scratch or str(path).startswith("/dev/")

    def _wrap(
        self, owner: Any, name: str, position: int, writes: Callable[..., bool] | None = None
    ) -> None:
        """`owner.name` with the path at `position` placed in the scratch folder."""
        original = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if (
                self.busy
                or len(args) <= position
                or not isinstance(args[position], str | os.PathLike)
            ):
                return original(*args, **kwargs)
            if name in ("mkdir", "makedirs") and Path(args[position]).is_dir():
                return original(*args, **kwargs)  # it exists, so this says so or does nothing
            writing = writes is None or writes(*args, **kwargs)
            placed = [*args]
            placed[position] = self._place(args[position], writing)
            self.busy, before = True, self.busy
            try:
                return original(*placed, **kwargs)
            finally:
                self.busy = before

        setattr(owner, name, call)

    def _wrap_libraries(self) -> None:
        """Writers in C++ and Rust that no audit event tells of."""
        import torch

        self._wrap(torch, "save", 1)
        try:
            import safetensors.numpy
            import safetensors.torch
        except ImportError:
            return
        self._wrap(safetensors.torch, "save_file", 1)
        self._wrap(safetensors.numpy, "save_file", 1)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if self.busy:
            return
        if event == "open":
            self._audit_open(args)
        elif event in DENIED and not self._allowed(event, args):
            words = [os.fsdecode(a) if isinstance(a, bytes | str) else str(a) for a in args]
            self.busy = True
            self.stop(f"the script {DENIED[event].format(*words, '', '')}")

    def _audit_open(self, args: tuple[Any, ...]) -> None:
        path, _, flags = args
        if not isinstance(path, str | bytes) or not isinstance(flags, int):
            return
        if flags & (os.O_WRONLY | os.O_RDWR) and not self._harmless(_absolute(path)):
            self.busy = True
            self.stop(f"the script writes {os.fsdecode(path)} in a way that cannot be redirected")

    def _allowed(self, event: str, args: tuple[Any, ...]) -> bool:
        if event in PATHS:
            path = args[0]
            if path == ":memory:":
                return True
            return not isinstance(path, str | bytes) or self._harmless(_absolute(path))
        if event.startswith("socket."):
            return isinstance(args[1], str | bytes)  # a Unix socket stays on this machine
        return False


def _absolute(path: str | bytes | os.PathLike[str]) -> Path:
    return Path(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100 - a link stays what it is


def _flags_write(path: Any, flags: int = 0, *_: Any, **__: Any) -> bool:
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND))
