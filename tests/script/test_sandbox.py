"""A trial changes no file of the user's: each door is tried, in a trial of its own."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pytest

from sounding.script.arm import Script, ScriptError

TRAIN = """
import os, pathlib, shutil, subprocess, socket, torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(16, 4), torch.randint(0, 2, (16,))
{before}
for step in range(30):
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    {inside}
"""


NOT_EXAMINED = 1  # a seed; trials on seed 0 end with a checkup


def script(folder: Path, before: str = "", inside: str = "pass") -> Script:
    path = folder / "train.py"
    path.write_text(textwrap.dedent(TRAIN).format(before=before, inside=inside))
    return Script([str(path)], steps=5)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


WRITES = {
    "open": "open(HERE / 'log.txt', 'w').write('x')",
    "append": "open(HERE / 'kept.txt', 'a').write('x')",
    "read and write": "open(HERE / 'kept.txt', 'r+').write('x')",
    "pathlib": "(HERE / 'p.txt').write_text('x')",
    "torch.save": "torch.save(model.state_dict(), str(HERE / 'model.pt'))",
    "torch.save to a path": "torch.save(model.state_dict(), HERE / 'model.pt')",
    "makedirs": "os.makedirs(HERE / 'a' / 'b'); open(HERE / 'a' / 'b' / 'c', 'w').close()",
    "numpy": "import numpy; numpy.save(HERE / 'a.npy', x.numpy())",
    "os.open": "os.close(os.open(str(HERE / 'fd'), os.O_WRONLY | os.O_CREAT))",
    "copy": "shutil.copy(HERE / 'kept.txt', HERE / 'copy.txt')",
    "safetensors": "import safetensors.torch as s; s.save_file(model.state_dict(), HERE / 'm.st')",
}


@pytest.mark.parametrize("line", WRITES.values(), ids=WRITES.keys())
def test_writing_goes_to_the_scratch_folder(tmp_path: Path, line: str) -> None:
    (tmp_path / "kept.txt").write_text("before")
    one = script(tmp_path, before=f"HERE = pathlib.Path({str(tmp_path)!r})\n{line}")
    files = snapshot(tmp_path)

    trial = one.train((), NOT_EXAMINED)

    assert len(trial.loss.values) == 5
    assert np.isfinite(trial.loss.values).all()
    assert snapshot(tmp_path) == files


def test_what_was_written_can_be_read_again(tmp_path: Path) -> None:
    lines = (
        f"HERE = pathlib.Path({str(tmp_path)!r})\n"
        "open(HERE / 'lr.txt', 'w').write('0.5')\n"
        "assert open(HERE / 'lr.txt').read() == '0.5'\n"
        "torch.save(x, HERE / 'x.pt'); assert torch.equal(torch.load(HERE / 'x.pt'), x)"
    )
    assert len(script(tmp_path, before=lines).train((), 0).loss.values) == 5
    assert not (tmp_path / "lr.txt").exists()


STOPS = {
    "deletes": "os.remove(HERE / 'kept.txt')",
    "renames": "os.rename(HERE / 'kept.txt', HERE / 'gone.txt')",
    "starts the program": "subprocess.run(['touch', str(HERE / 'made.txt')])",
    "runs the command": "os.system('true')",
    "opens the database": "import sqlite3; sqlite3.connect(str(HERE / 'kept.db'))",
    "connects to": "socket.create_connection(('127.0.0.1', 9), timeout=1)",
    "deletes the folder": "(HERE / 'empty').mkdir(exist_ok=True); os.rmdir(HERE / 'kept')",
}


@pytest.mark.parametrize(("words", "line"), STOPS.items(), ids=STOPS.keys())
def test_what_cannot_be_redirected_ends_the_trial(tmp_path: Path, words: str, line: str) -> None:
    (tmp_path / "kept.txt").write_text("before")
    (tmp_path / "kept").mkdir()
    one = script(tmp_path, inside=line, before=f"HERE = pathlib.Path({str(tmp_path)!r})")
    files = snapshot(tmp_path)

    with pytest.raises(ScriptError, match=f"the script {words}"):
        one.train((), NOT_EXAMINED)

    assert snapshot(tmp_path) == files
    assert (tmp_path / "kept").is_dir()


def test_a_broad_except_does_not_silence_the_stop(tmp_path: Path) -> None:
    line = (
        f"HERE = pathlib.Path({str(tmp_path)!r})\n"
        "try:\n    os.remove(HERE / 'train.py')\nexcept BaseException:\n    pass"
    )
    with pytest.raises(ScriptError, match="the script deletes"):
        script(tmp_path, before=line).train((), NOT_EXAMINED)
    assert (tmp_path / "train.py").exists()
