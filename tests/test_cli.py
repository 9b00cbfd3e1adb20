"""Wrong use of the command line: one sentence that says what to do, exit code 2, nothing lost."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sounding.cli import main

CASE = """
import torch
from torch import nn
import sounding as sd

def build():
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))

x, y = torch.randn(64, 4), torch.randint(0, 3, (64,))
recipe = sd.Recipe(lr=0.1, steps=9, batch_size=32)
case = sd.Case(build, nn.functional.cross_entropy, (x, y), recipe)
"""


def write(folder: Path, text: str, name: str = "case.py") -> str:
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return str(path)


def sounding(*args: str) -> Result:
    return CliRunner().invoke(main, list(args))


def says(result: Result, *words: str) -> None:
    """One sentence, exit code 2, no traceback."""
    assert result.exit_code == 2, result.output
    for word in words:
        assert word in result.output
    assert "Traceback" not in result.output
    assert result.output.startswith("Error: ")
    assert len(result.output.strip().splitlines()) <= 2


def test_a_healthy_case_exits_with_0_and_says_so(tmp_path: Path) -> None:
    result = sounding("checkup", write(tmp_path, CASE))
    assert result.exit_code == 0, result.output
    assert "Nothing found" in result.output


def test_json_of_a_case_has_the_documented_fields(tmp_path: Path) -> None:
    sick = CASE.replace(
        "nn.Linear(4, 16), nn.ReLU()",
        "nn.Linear(4, 16), *[m for _ in range(20) for m in (nn.Linear(16, 16), nn.ReLU())]",
    )
    target = tmp_path / "out.json"
    result = sounding("checkup", "--json", str(target), write(tmp_path, sick))
    assert result.exit_code == 1, result.output
    document = json.loads(target.read_text())
    first = document["result"]["findings"][0]
    assert set(first) >= {
        "code",
        "name",
        "severity",
        "message",
        "layers",
        "source",
        "measured",
        "expected",
        "confidence",
        "remedies",
    }
    assert first["severity"] == "problem"
    assert first["source"].endswith("case.py:7")


BROKEN = {
    "no case": (CASE.replace("case =", "other ="), ("defines no `case`", "sounding.Case(")),
    "not a case": (CASE + "\ncase = 3\n", ("`case` in", "must be a sounding.Case")),
    "not scalar": (
        CASE.replace("nn.functional.cross_entropy,", "nn.CrossEntropyLoss(reduction='none'),"),
        ("shape (32,)", "reduction='mean'"),
    ),
    "wrong shape": (CASE.replace("torch.randn(64, 4)", "torch.randn(64, 5)"), ("(32, 5)",)),
    "labels": (CASE.replace("randint(0, 3,", "randint(3, 9,"), ("out of range",)),
    "no parameters": (
        CASE.replace("nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))", "nn.ReLU()"),
        ("no parameters",),
    ),
    "frozen": (
        CASE.replace("nn.Linear(16, 3))", "nn.Linear(16, 3)).requires_grad_(False)"),
        ("frozen", "requires_grad_(True)"),
    ),
    "nan": (CASE.replace("torch.randn(64, 4)", "torch.full((64, 4), torch.nan)"), ("NaN",)),
    "another device": (
        CASE.replace("torch.randn(64, 4)", "torch.randn(64, 4, device='meta')"),
        ("on meta", ".to('cpu')"),
    ),
}


@pytest.mark.parametrize(("text", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_case_is_one_sentence(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    says(sounding("checkup", write(tmp_path, text)), *words)


def test_a_report_that_exists_is_not_overwritten_and_nothing_runs(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("mine")
    script = write(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w')", "train.py")
    says(sounding("run", "--report", str(report), script), "exists", "--force")
    assert report.read_text() == "mine"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("path", "words"), [("nowhere/report.html", "there is no folder"), (".", "is a folder")]
)
def test_a_report_that_cannot_be_written_is_said_before_anything_runs(
    tmp_path: Path, path: str, words: str
) -> None:
    script = write(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w')", "train.py")
    says(sounding("run", "--report", str(tmp_path / path), script), words)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "missing.py"], "there is no script missing.py"),
        (["checkup", "missing.py"], "there is no file missing.py"),
        (["repair", "missing.py"], "there is no script missing.py"),
        (["run", "-m"], "name a script to run"),
        (["explain", "SD99"], "no rule is called"),
        (["study", "run", "he-2016-depth"], "he-2015-depth"),
        (["prove", "--remedy", "reinitialize()", "x.py"], "no remedy is called"),
        (["prove", "--remedy", "1 +", "x.py"], "is no remedy"),
        (["repair", "--seeds", "1", "x.py"], "--seeds is 1; it must be at least 2"),
        (["run", "--overhead", "0", "x.py"], "above 0, at most 100"),
        (["run", "--every", "0", "x.py"], "every is 0"),
        (["live", "missing.sounding"], "missing.sounding"),
    ],
)
def test_wrong_words_are_answered(arguments: list[str], words: str) -> None:
    says(sounding(*arguments), words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"sounding": 1, "result": {"kind": "Checkup", "find', "truncated"),
        ("not json", "truncated, or not saved here"),
        ('{"a": 1}', "not a result that Sounding saved"),
        ('{"sounding": 99, "result": {}}', "format 99"),
        ('{"sounding": 1, "result": {"kind": "Castle"}}', "'Castle'"),
        ('{"sounding": 1, "result": {"kind": "Verdict"}}', "damaged"),
        ('{"sounding": 1, "result": {"kind": "Series", "steps": {}, "values": "x"}}', "damaged"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_sentence(
    tmp_path: Path, content: str, words: str
) -> None:
    path = tmp_path / "saved.json"
    path.write_text(content)
    says(sounding("report", str(path)), words)
    assert not (tmp_path / "saved.html").exists()


def test_a_report_is_made_from_a_saved_result(tmp_path: Path) -> None:
    saved, page = tmp_path / "out.json", tmp_path / "out.html"
    assert sounding("checkup", "--json", str(saved), write(tmp_path, CASE)).exit_code == 0
    assert sounding("report", str(saved)).exit_code == 0
    assert "<html" in page.read_text()


@pytest.mark.parametrize("command", ["report", "live"])
def test_a_missing_file_is_named_with_its_folder(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(main, [command, "nope.json"])
    assert found.exit_code == 2
    assert f"there is no file nope.json in {tmp_path}" in found.output
