"""Runs that other processes import: they count themselves, wait, fail and die."""

import os
import signal
import time
from pathlib import Path

import numpy as np


def square(x):
    return {"y": x * x, "pid": os.getpid()}


def counted(x, folder, deaths=()):
    """Writes a line when it begins and when it ends; dies as often as `deaths` says for this x."""
    log = Path(folder) / str(x)
    with log.open("a") as file:
        file.write("begun\n")
    if log.read_text().count("begun") <= dict(deaths).get(x, 0):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    with log.open("a") as file:
        file.write("ended\n")
    return {"x": x, "values": np.full(3, float(x))}


def threads(x):
    import torch

    return {"environment": os.environ["OMP_NUM_THREADS"], "torch": torch.get_num_threads()}


def fails(x):
    if x == 1:
        raise ValueError("x is one")
    return {"x": x}


class Awkward(Exception):
    """Pickles, and cannot be read back: it wants two arguments and keeps one."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def fails_awkwardly(x):
    raise Awkward("this", "that")


def returns_a_function(x):
    return {"function": lambda: x}


def leaves(x):
    raise SystemExit("gone")


def large(x):
    return {"values": np.arange(100_000.0)}


def sleeps(x, folder):
    (Path(folder) / str(x)).write_text(str(os.getpid()))
    time.sleep(60)


def waits(x, folder):
    """Until somebody writes a file called 'go'."""
    (Path(folder) / str(x)).write_text(str(os.getpid()))
    while not (Path(folder) / "go").exists():
        time.sleep(0.01)
    return {"pid": os.getpid()}


def lingers(x, folder):
    with (Path(folder) / str(x)).open("a") as file:
        file.write("begun\n")
    time.sleep(60 if x else 0)


def where():
    import sounding

    return {"file": sounding.__file__, "text": Path(sounding.__file__).read_text()}
