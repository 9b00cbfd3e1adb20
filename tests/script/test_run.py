"""`sounding run`: the script's numbers, output, exit code and signals stay as they were.

The oracle is the same script under plain Python. Both are forks of a process that has imported
torch already (forks.py); the first test has processes that import for themselves.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from forks import Pythons

ENV = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}

TRAIN = """
import hashlib, sys, torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 16)
        self.norm = nn.BatchNorm1d(16)
    def forward(self, x):
        return x + nn.functional.dropout(torch.relu_(self.norm(self.layer(x))), 0.2, self.training)

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 16), Block(), Block(), nn.Linear(16, 3))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
x, y = torch.randn(64, 8), torch.randint(0, 3, (64,))
for step in range(30):
    rows = torch.randperm(64)[:32]
    loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
digest = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters()))
print(digest.hexdigest(), torch.rand(1).item(), sys.argv[1:], __name__)
"""


def alone(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A process that imports everything itself."""
    command = [sys.executable, *args]
    return subprocess.run(
        command, cwd=cwd, env=ENV, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def call(python: Pythons, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``python args...`` in the test's folder."""
    return partial(python.run, cwd=tmp_path)


@pytest.fixture
def run(call: Callable) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``sounding run args...`` there."""
    return partial(call, "-m", "sounding", "run")


def write(folder: Path, text: str, name: str = "train.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_weights_random_numbers_arguments_and_output_are_bit_identical(tmp_path: Path) -> None:
    write(tmp_path, TRAIN)
    arguments = ["--report", "x", "-m", "--lr=3", "--", "-h"]
    options = ["-m", "sounding", "run", "--overhead", "100"]
    plain = alone("train.py", *arguments, cwd=tmp_path)
    watched = alone(*options, "train.py", *arguments, cwd=tmp_path)
    assert plain.returncode == watched.returncode == 0
    assert watched.stdout == plain.stdout
    assert plain.stderr == ""
    assert "examined at step 0, " in watched.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["train.py"]


def test_a_module_runs_as_with_python_m(tmp_path: Path, call: Callable, run: Callable) -> None:
    (tmp_path / "package").mkdir()
    write(tmp_path / "package", "", "__init__.py")
    write(tmp_path / "package", TRAIN, "train.py")
    plain = call("-m", "package.train", "a")
    watched = run("--no-tests", "-m", "package.train", "a")
    assert watched.stdout == plain.stdout
    assert watched.returncode == 0


@pytest.mark.parametrize(
    ("line", "code"),
    [("sys.exit(3)", 3), ("sys.exit('no data')", 1), ("sys.exit()", 0), ("1 / 0", 1)],
)
def test_the_scripts_end_stays_its_own(
    tmp_path: Path, call: Callable, run: Callable, line: str, code: int
) -> None:
    write(tmp_path, TRAIN + f"\n{line}\n")
    plain = call("train.py")
    watched = run("--no-tests", "--check", "train.py")
    assert plain.returncode == watched.returncode == code
    assert watched.stdout == plain.stdout
    last = plain.stderr.strip().splitlines()[-1:]
    assert all(text in watched.stderr for text in last)
    assert "runpy" not in watched.stderr
    assert "sounding/script" not in watched.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_end_it_as_they_end_the_script(
    tmp_path: Path, python: Pythons, number: int
) -> None:
    waits = "\nimport time\nprint('ready', flush=True)\ntime.sleep(60)\n"
    plain = write(tmp_path, waits, "plain.py")
    train = write(tmp_path, TRAIN + waits)
    codes = []
    for command in ([plain], ["-m", "sounding", "run", train]):
        process = python.start(*command, cwd=tmp_path)
        next(line for line in process.stdout if "ready" in line)
        process.send_signal(number)
        _, errors = process.communicate()
        codes.append(process.returncode)
        if number == signal.SIGINT:
            assert "KeyboardInterrupt" in errors
    assert codes == [-number, -number]


SICK = """
import torch
from torch import nn
torch.manual_seed(0)
layers = [nn.Linear(8, 32), nn.ReLU()]
for _ in range(20):
    layers += [nn.Linear(32, 32), nn.ReLU()]
model = nn.Sequential(*layers, nn.Linear(32, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
x, y = torch.randn(64, 8), torch.randint(0, 3, (64,))
for step in range(40):
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad(); loss.backward(); optimizer.step()
"""


def test_a_sick_script_is_named_with_its_line_and_check_sets_the_code(
    tmp_path: Path, run: Callable
) -> None:
    write(tmp_path, SICK)
    result = run("--no-tests", "--check", "--json", "out.json", "train.py")
    assert result.returncode == 1
    assert "SD303" in result.stderr
    first = json.loads((tmp_path / "out.json").read_text())["result"]["findings"][0]
    assert first["code"] == "SD303"
    assert first["source"] == "train.py:7"
    assert first["expected"]["variance_x_fan_in"] == pytest.approx(2.0)
    assert first["measured"]["variance_x_fan_in"] == pytest.approx(1 / 3, rel=0.05)
    # The mean factor a layer is sqrt(6) by theory; 20 layers of width 32 scatter around it.
    assert first["measured"]["factor_per_layer"] == pytest.approx(6**-0.5, rel=0.15)


def test_json_to_standard_output_is_one_document_after_the_scripts_own(
    tmp_path: Path, run: Callable
) -> None:
    write(tmp_path, SICK + "print('the end')")
    result = run("--no-tests", "--json", "-", "train.py")
    assert result.returncode == 0  # without --check
    own, document = result.stdout.split("\n", 1)
    assert own == "the end"
    assert json.loads(document)["findings"][0]["code"] == "SD303"


def test_a_script_without_training_says_so(tmp_path: Path, run: Callable) -> None:
    write(tmp_path, "print('hello')")
    result = run("train.py")
    assert (result.returncode, result.stdout) == (0, "hello\n")
    assert "no optimiser step was seen" in result.stderr


def test_a_loop_with_two_models_accumulation_and_a_closure_is_survived(
    tmp_path: Path, call: Callable, run: Callable
) -> None:
    text = """
import torch
from torch import nn
torch.manual_seed(0)
a, b = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
one = torch.optim.Adam(a.parameters()); two = torch.optim.SGD(b.parameters(), lr=.1)
three = torch.optim.LBFGS(b.parameters(), max_iter=3)
x = torch.randn(32, 4)
for step in range(6):
    for part in x.split(8):
        b(a(part)).pow(2).mean().backward()
    one.step(); two.step(); one.zero_grad(); two.zero_grad(set_to_none=False)
    def closure():
        three.zero_grad()
        loss = b(x).pow(2).mean()
        loss.backward()
        return loss
    three.step(closure)
print(sum(p.sum().item() for p in b.parameters()))
"""
    write(tmp_path, text)
    watched = run("--no-tests", "--overhead", "100", "train.py")
    assert watched.stdout == call("train.py").stdout
    assert "observer failed" not in watched.stderr


def test_an_error_inside_the_model_is_the_scripts_own(
    tmp_path: Path, call: Callable, run: Callable
) -> None:
    write(tmp_path, SICK.replace("nn.Linear(32, 3)", "nn.Linear(31, 3)"))
    plain, watched = call("train.py"), run("--no-tests", "train.py")
    assert watched.returncode == plain.returncode == 1
    assert watched.stderr.splitlines()[-1] == plain.stderr.splitlines()[-1]
    assert "mat1 and mat2" in watched.stderr
    assert "During handling" not in watched.stderr
    assert "src/sounding/" not in watched.stderr.split("Traceback")[1]


def test_a_compiled_model_is_seen_under_its_own_names(tmp_path: Path, run: Callable) -> None:
    text = SICK.replace(
        "optimizer =", "plain = model\nmodel = torch.compile(model, backend='eager')\noptimizer ="
    )
    write(tmp_path, text)
    result = run("--no-tests", "--json", "out.json", "train.py")
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr
    first = json.loads((tmp_path / "out.json").read_text())["result"]["findings"][0]
    assert (first["code"], first["layers"][0]) == ("SD303", "0")
