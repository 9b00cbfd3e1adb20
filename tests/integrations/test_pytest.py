"""The plugin: what passes, what fails and how it says so, what it costs where nobody asks."""

import subprocess
import sys

import pytest
import torch
from loops import case, net, samples
from torch.nn.functional import cross_entropy

from sounding.integrations.pytest import assert_healthy, assert_trains

pytest_plugins = ["pytester"]
PLUGIN = "sounding.integrations.pytest"


def test_a_healthy_net_passes_and_the_checkup_comes_back():
    exam = assert_healthy(net(), cross_entropy, samples())
    assert exam.problems == ()
    assert assert_healthy(case()).problems == ()


def test_a_sick_net_fails_with_the_finding_its_number_and_the_cure():
    with pytest.raises(AssertionError) as failed:
        assert_healthy(case(sick=True), deep=True)
    said = str(failed.value)
    assert said.startswith("the checkup found problems: SD401 softmax-before-cross-entropy\n")
    assert "test_pytest.py:" in said  # the line that asked for the loss
    assert "ln(e + 2) - 1 = 0.551" in said
    assert "try        remove_output_activation()" in said
    assert_healthy(case(sick=True), deep=True, ignore=("SD401",))


def test_a_case_learns_and_the_effect_is_the_fall_of_its_loss():
    from sounding.train import train

    (verdict,) = assert_trains(case(), seeds=(3, 4, 5))
    trials = [train(case(), seed) for seed in (3, 4, 5)]
    falls = [t.loss.values[0] / t.loss.values[-6:].mean() for t in trials]
    expected = torch.tensor(falls).log10().mean().item()
    assert verdict.effect == pytest.approx(expected, rel=1e-6)
    assert verdict.interval[0] > 0.01


def test_bounds_on_every_seed():
    loss, accuracy, end = assert_trains(case(), above={"accuracy": 0.7}, below={"loss": 0.8})
    assert [v.outcome for v in (loss, accuracy, end)] == ["supported"] * 3
    with pytest.raises(AssertionError, match=r"accuracy of every seed is above 0\.999"):
        assert_trains(case(), above={"accuracy": 0.999}, explain=False)
    with pytest.raises(ValueError, match=r"measures no 'f1'; it has accuracy, loss"):
        assert_trains(case(), above={"f1": 0.5})
    with pytest.raises(ValueError, match="at least 2"):
        assert_trains(case(), seeds=1)


@pytest.mark.parametrize("lr", [1e-6, 1e12])
def test_a_rate_that_moves_nothing_and_one_that_diverges_fail(lr):
    with pytest.raises(AssertionError, match=r"a test case does not train as it should\n  refuted"):
        assert_trains(case(lr=lr), explain=False)


def test_the_failure_shows_what_the_doctor_finds():
    with pytest.raises(AssertionError) as failed:
        assert_trains(case(sick=True, lr=1e-6, steps=20))
    assert "SD401" in str(failed.value)


def test_fixtures_and_functions_in_a_strangers_project(pytester, python):
    pytester.makepyfile(
        """
        import torch
        from torch import nn

        x, y = torch.randn(64, 4), torch.randint(0, 3, (64,))

        def test_fixture(assert_healthy):
            assert_healthy(nn.Linear(4, 3), nn.functional.cross_entropy, (x, y))

        def test_failure(assert_healthy):
            net = nn.Sequential(nn.Linear(4, 3), nn.Softmax(1))
            assert_healthy(net, nn.functional.cross_entropy, (x, y), cautions=True)
        """
    )
    options = ["-p", PLUGIN, "-p", "no:cacheprovider"]
    text = python.run("-m", "pytest", *options, cwd=pytester.path).stdout
    assert "1 failed, 1 passed" in text
    assert "SD401 softmax-before-cross-entropy" in text
    assert "integrations/pytest.py" not in text  # the traceback ends in the user's own test


def test_torch_is_not_imported_where_no_assertion_is_called(pytester):
    pytester.makepyfile(
        """
        import sys

        def test_nothing():
            loaded = {name.split(".")[0] for name in sys.modules}
            assert "sounding" in loaded
            assert not loaded & {"torch", "numpy", "scipy", "matplotlib", "rich"}
        """
    )
    pytester.runpytest_subprocess("-p", PLUGIN).assert_outcomes(passed=1)


def test_the_plugin_is_registered_under_its_own_name():
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {PLUGIN: PLUGIN}  # so that -p finds it loaded


def test_other_files_of_the_package_import_no_host():
    code = (
        "import sys, sounding.integrations, sounding.integrations.pytest as p\n"
        "import sounding.integrations.sarif, sounding.integrations.anything, sounding.watch\n"
        "hosts = {'lightning', 'transformers', 'accelerate', 'tensorboard', 'wandb', 'mlflow'}\n"
        "assert not hosts & {name.split('.')[0] for name in sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
