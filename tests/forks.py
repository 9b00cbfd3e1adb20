"""Python processes that start at once: forks of one that has imported torch and sounding.

A process of its own spends seconds of importing. A fork of a process that only imported is as
fresh: its module `__main__`, arguments, folder, streams, exit code and signals are those of
``python args...``. That a process which imports for itself does the same is tested in
`script/test_run.py`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TextIO

LONGEST = 300  # seconds after which a process that hangs is ended by SIGALRM
LOADED = (
    "torch._dynamo",  # by the first step of an optimiser
    "sounding.cli",
    "sounding.integrations.github",
    "sounding.integrations.sarif",
    "sounding.run",
    "sounding.view.live",
    "sounding.view.terminal",
)
OURS = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}


class Process:
    """One that runs; `stdout` is its pipe."""

    def __init__(self, line: socket.socket, answers: TextIO, argv: tuple, cwd: Path) -> None:
        self._answers = answers
        read, write = os.pipe()
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - read when it has ended
        job = {"argv": [str(a) for a in argv], "cwd": str(cwd), "env": os.environ | OURS}
        streams = [write, self._errors.fileno()]
        socket.send_fds(line, [json.dumps(job).encode() + b"\n"], streams)
        os.close(write)
        self.stdout = os.fdopen(read)
        self.returncode: int | None = None
        self.pid = int(answers.readline())

    def send_signal(self, number: int) -> None:
        """Only before `communicate`: later the number may be another's."""
        os.kill(self.pid, number)

    def communicate(self) -> tuple[str, str]:
        """Wait for its end; the rest of its output, and its errors. Sets `returncode`."""
        with self.stdout, self._errors:
            rest = self.stdout.read()
            self.returncode = int(self._answers.readline())
            self._errors.seek(0)
            return rest, self._errors.read()


class Pythons:
    """Starts processes, one at a time; ends with the `with` block."""

    _process: Process | None = None

    def __enter__(self) -> Pythons:
        self._line, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno())]
            self._server = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], env=os.environ | OURS, stdin=subprocess.DEVNULL
            )
        self._answers = self._line.makefile("r")
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._answers.close()
        self._line.close()
        self._server.wait()

    def start(self, *argv: str | Path, cwd: Path) -> Process:
        """``python argv...`` in the folder `cwd`; one that still runs is killed."""
        self._end()
        self._process = Process(self._line, self._answers, argv, cwd)
        return self._process

    def _end(self) -> None:
        """Of a test that failed before it communicated."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate()

    def run(self, *argv: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        """The same, when it has ended."""
        process = self.start(*argv, cwd=cwd)
        out, errors = process.communicate()
        return subprocess.CompletedProcess(argv, process.returncode, out, errors)


def serve(line: socket.socket) -> dict:
    """Fork for every job that comes and tell its process and its code; returns in the fork."""
    while True:
        message, streams, _, _ = socket.recv_fds(line, 1 << 20, 2)
        if not message:
            os._exit(0)
        while not message.endswith(b"\n"):
            message += line.recv(1 << 20)
        child = os.fork()
        if child == 0:
            line.close()
            for number, stream in enumerate(streams, 1):
                os.dup2(stream, number)
                os.close(stream)
            return json.loads(message)
        for stream in streams:
            os.close(stream)
        line.send(b"%d\n" % child)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        line.send(b"%d\n" % code)


def become(argv: list[str], cwd: str, env: dict[str, str]) -> None:
    """Go on as ``python argv...``; what it raises ends this process as it ends any."""
    signal.alarm(LONGEST)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    if argv[0] == "-m":
        sys.argv, sys.path[0] = argv[1:], cwd
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = argv, str(Path(argv[0]).resolve().parent)
        runpy.run_path(argv[0], run_name="__main__")


if __name__ == "__main__":
    for name in LOADED:
        importlib.import_module(name)
    sys.modules["torch"].set_num_threads(1)
    gc.freeze()  # what was imported stays as it is: collections need not look at it
    become(**serve(socket.socket(fileno=int(sys.argv[1]))))
