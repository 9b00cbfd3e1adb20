"""The examples run in an empty folder, and print what their pages promise."""

import re
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PRINTED = {
    "checkup_in_five_lines.py": r"^problem SD\d+ .*\n(.*\n)*reinitialise\(.*\)$",
    "watch_a_loop.py": r"200 steps, of which \d+ examined; 0 findings\nloss 1\.\d+ -> 0\.",
    "repair_a_case.py": r"supported: .*\n(.*\n)*.*nn\.Identity\(\)",
    "digits_healthy.py": r"epoch 9: loss 0\.\d+, accuracy 0\.9",
}
OF_HOSTS = {
    "lightning_callback.py": r"watched layers: net\.0, net\.2",
    "transformers_callback.py": r"layers: \d+",
}


def printed(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_what_it_is_about(name, tmp_path, monkeypatch, capsys):
    if name.startswith("digits"):
        pytest.importorskip("sklearn")
    assert re.search(PRINTED[name], printed(name, tmp_path, monkeypatch, capsys), re.MULTILINE)


@pytest.mark.hosts
@pytest.mark.filterwarnings("ignore")  # of the hosts themselves
@pytest.mark.parametrize("name", OF_HOSTS)
def test_an_example_with_a_trainer(name, tmp_path, monkeypatch, capsys):
    text = printed(name, tmp_path, monkeypatch, capsys)
    assert re.search(OF_HOSTS[name], text)
    assert "0 findings" in text


def test_the_example_of_tests_passes():
    names = runpy.run_path(str(EXAMPLES / "test_with_pytest.py"))
    for name in ("test_the_network_is_healthy", "test_it_learns"):
        names[name]()


def test_the_list_has_every_example():
    listed = (EXAMPLES / "README.md").read_text()
    for path in EXAMPLES.iterdir():
        assert path.name == "README.md" or f"]({path.name})" in listed


def test_the_workflow_is_yaml_whose_commands_exist():
    yaml = pytest.importorskip("yaml")
    from click.testing import CliRunner

    from sounding.cli import main

    steps = yaml.safe_load((EXAMPLES / "github-workflow.yml").read_text())["jobs"]["health"][
        "steps"
    ]
    (line,) = [s["run"] for s in steps if s.get("run", "").startswith("sounding ")]
    name, *options = [w for w in line.split()[1:] if not w.startswith("--ep")][:6]
    help_ = CliRunner().invoke(main, [name, "--help"]).output
    assert all(option in help_ for option in options if option.startswith("--"))
