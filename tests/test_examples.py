"""The examples run in an empty folder, and print what their pages promise."""

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
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

# script, with small settings; the options that cure it; what is named first without them
FAULTS = {
    "char_transformer.py": (
        "--layers 1 --width 32 --heads 2 --context 16 --batch 8 --lr 1e-2 --steps 60",
        "--causal",
        "SD417",
    ),
    "resnet_cifar.py": ("--width 4 --batch 8 --steps 6", "--norm batch --depth 20", "SD206"),
    "gan_digits.py": ("--batch 32 --steps 40", "--attached", "SD207"),
    "lstm_forecast.py": ("--hours 1600 --hidden 16 --window 12", "--clip 0.5", "SD506"),
    "finetune_digits.py": ("--batch 16 --steps 40", "--lr 0.001", "SD508"),
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory, python):
    """Where the examples run: with images in the layout of CIFAR-10, and a pre-trained net."""
    folder = tmp_path_factory.mktemp("examples")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 512, dtype=np.uint8)
    colours = rng.integers(0, 256, (10, 3, 4, 4))  # each class has a coarse picture of its own
    images = np.kron(colours[labels], np.ones((8, 8))) + rng.normal(0, 40, (512, 3, 32, 32))
    pixels = images.clip(0, 255).astype(np.uint8).reshape(512, -1)
    np.column_stack([labels, pixels]).tofile(folder / "data_batch_1.bin")
    done = python.run(EXAMPLES / "finetune_digits.py", "--pretrain", "--steps", "100", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def problems(python, folder, name, options, *ours):
    """The codes of what `sounding run` calls a problem, the most likely cause first."""
    found = folder / f"{name}.json"
    data = ["--data", folder] if name == "resnet_cifar.py" else []
    told = [*ours, "--json", found, "--force", EXAMPLES / name, *data, *options.split()]
    done = python.run("-m", "sounding", "run", *told, cwd=folder)
    assert done.returncode == 0, done.stderr
    return [
        f["code"]
        for f in json.loads(found.read_text())["result"]["findings"]
        if f["severity"] == "problem"
    ]


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_named_first_and_the_cure_takes_it_away(name, python, folder):
    small, cure, code = FAULTS[name]
    assert problems(python, folder, name, small)[:1] == [code]
    assert problems(python, folder, name, f"{small} {cure}", "--no-tests") == []


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_the_tests_that_decide_find_nothing_against_the_cure(name, python, folder):
    small, cure, _ = FAULTS[name]
    assert problems(python, folder, name, f"{small} {cure}") == []


def test_a_faulty_example_is_a_stranger_s_script_that_says_its_code():
    for name, (*_, code) in FAULTS.items():
        text = (EXAMPLES / name).read_text()
        assert "sounding" not in text
        assert code in text.split('"""')[1]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("char_transformer.py", "--text nowhere.txt"),
        ("resnet_cifar.py", "--data ."),
        ("finetune_digits.py", "--weights nowhere.pt"),
    ],
)
def test_without_its_data_an_example_says_what_to_do(name, options, python, tmp_path):
    done = python.run(EXAMPLES / name, *options.split(), cwd=tmp_path)
    assert done.returncode == 2
    assert re.search(r"error: no .*(will do|name a folder|first)", done.stderr, re.DOTALL)
