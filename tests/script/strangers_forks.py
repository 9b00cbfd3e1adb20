"""Run scripts in forked children of one process that has imported torch: many for little time.

Called with a JSON list of jobs on standard input: `argv`, `watched` (the options of `sounding run`,
null for plain Python) and `out`, a path to which the child's streams are written (.out, .err).
Prints a JSON list of exit codes.
"""

import json
import os
import runpy
import sys
import traceback
from pathlib import Path

import torch

import sounding.cli
import sounding.run
import sounding.view.terminal


def plain(argv):
    """What `python argv...` does."""
    if argv[0] == "-m":
        sys.argv, sys.path[0] = argv[1:], str(Path.cwd())
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = argv, str(Path(argv[0]).parent)
        runpy.run_path(argv[0], run_name="__main__")


def child(job):
    for number, kind in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{job['out']}.{kind}", os.O_CREAT | os.O_WRONLY, 0o666), number)
    try:
        if job["watched"] is None:
            plain(job["argv"])
        else:
            sys.argv = ["sounding", "run", *job["watched"], *job["argv"]]
            sounding.cli.main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    else:
        code = 0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def main():
    torch.set_num_threads(1)
    codes = []
    for job in json.load(sys.stdin):
        number = os.fork()
        if number == 0:
            child(job)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]))
    sys.stdout.write(json.dumps(codes))


main()
