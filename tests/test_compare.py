"""Comparisons, on quadratics whose best learning rate is known, and on arms that are the same.

No other test would see an arm with more trials than the other, a tuning seed used again in the
final runs, tuning that misses the best rate, or a difference found where there is none.
"""

import dataclasses
import importlib
import json
import math
import re
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import optuna
import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.nn import functional

from sounding.cli import main
from sounding.load import load
from sounding.objective import Objective
from sounding.pairs import LOSS, pairs_of
from sounding.train import Case, Recipe

compare = importlib.import_module("sounding.compare").compare  # the name is a module's, too
PLAIN = {"lr": (1e-3, 1e1)}  # gradient descent has nothing else


class Bowl(nn.Module):
    """Coordinates that start at 1, up to a thousandth that the seed draws."""

    def __init__(self, size):
        super().__init__()
        self.w = nn.Parameter(1 + 1e-3 * torch.randn(size))


def quadratic(*curvatures, steps=20, **fields):
    """Minimise half the sum of curvature times w squared: all is known of descent on it."""
    curvature = torch.tensor(curvatures)
    return Case(
        lambda: Bowl(len(curvature)),
        Objective(lambda model, _: 0.5 * (curvature * model.w**2).sum()),
        [(torch.zeros(1), torch.zeros(1))],
        Recipe(lr=0.1, steps=steps, batch_size=None),
        **fields,
    )


TWO = quadratic(1.0, 10.0)
GD = Recipe(lr=0.1, steps=20)
SAME = {"one": GD, "other": GD}
SMALL = {"trials": 4, "seeds": 2, "tuning_seeds": 1, "spaces": {"one": PLAIN, "other": PLAIN}}


# --- tuning ---------------------------------------------------------------------------------------


def test_the_best_learning_rate_of_a_quadratic_is_found():
    """After t steps the loss is half the sum of c (1 - lr c)^2t; the last 2 of 20 steps count."""
    rates = np.linspace(0.1, 0.2, 1001)
    losses = [5 * (1 - 10 * rates) ** (2 * t) + 0.5 * (1 - rates) ** (2 * t) for t in (18, 19)]
    known = rates[np.mean(losses, axis=0).argmin()]
    one = compare(TWO, SAME, **{**SMALL, "trials": 20}).arms[0]
    assert one.settings["lr"] == pytest.approx(known, rel=0.1)
    i = np.abs(rates - one.settings["lr"]).argmin()
    assert min(one.scores) == pytest.approx(np.mean(losses, axis=0)[i], rel=0.05)
    assert one.note == ""


def test_a_best_rate_at_the_edge_is_said_and_the_space_widened_once_for_no_more_trials():
    spaces = {"one": {"lr": (1e-4, 1e-2)}, "other": PLAIN}
    result = compare(TWO, SAME, **{**SMALL, "trials": 12, "spaces": spaces})
    narrow, wide = result.arms
    assert narrow.space["lr"] == pytest.approx((1e-4, 1e-1))
    assert "the edge: widened once, to 0.0001 to 0.1" in narrow.note
    assert narrow.settings["lr"] > 1e-2
    assert max(tried["lr"] for tried in narrow.tried[:6]) <= 1e-2
    assert len(narrow.tried) == len(wide.tried) == len(narrow.scores) == 12
    assert wide.space == {"lr": PLAIN["lr"]}


def test_what_is_still_at_the_edge_after_widening_is_said():
    spaces = {"one": {"lr": (1e-6, 1e-4)}, "other": PLAIN}
    narrow = compare(TWO, SAME, **{**SMALL, "trials": 8, "spaces": spaces}).arms[0]
    assert narrow.note.endswith("it is at the edge again")


def test_every_arm_has_the_same_trials_on_the_same_seeds_and_the_final_seeds_are_fresh():
    said = []
    compare(
        TWO, ["sgd", "adam"], trials=5, seeds=[3, 1], progress=lambda *words: said.append(words)
    )
    plan = "2 arms, each 5 trials on 2 seeds, the best 3 on 3 more, then 2 fresh"
    assert said[0] == (f"at most 42 runs of 20 steps: {plan}", 0, 42)
    assert said[-1][1:] == (42, 42)
    found = [re.match(r"(\w+), .*: seed (\d+):", message) for message, *_ in said[1:-1]]
    runs = [match.groups() for match in found if match]  # beside notes on what goes together
    for arm in ("sgd", "adam"):
        seeds = [int(seed) for name, seed in runs if name == arm]
        assert seeds == [4, 5] * 5 + [6] * 3 + [7] * 3 + [8] * 3 + [3, 1]


def test_the_first_trial_is_the_recipe_as_it_stands():
    arms = {"one": Recipe(lr=0.3, momentum=0.5, weight_decay=1e-4, warmup=2, steps=20), "other": GD}
    one = compare(TWO, arms, trials=1, seeds=2, tuning_seeds=1).arms[0]
    assert one.tried == ({"lr": 0.3, "momentum": 0.5, "weight_decay": 1e-4, "warmup": 2.0},)


def test_diverged_trials_are_the_worst_and_all_of_them_are_no_crash():
    spaces = {"one": {"lr": (1e3, 1e4)}, "other": PLAIN}
    result = compare(quadratic(1.0, 10.0, steps=60), SAME, **{**SMALL, "spaces": spaces}, steps=60)
    one, other = result.arms
    assert np.isinf(one.scores).all()
    assert one.note == "every trial diverged, at every learning rate"
    assert one.space["lr"][0] == pytest.approx(100)  # widened downwards
    assert (result.pairs[0].ahead, result.pairs[0].differ) == ("other", True)
    assert math.isnan(one.outcomes[LOSS].value)
    assert math.isfinite(other.outcomes[LOSS].value)


def test_a_loss_that_refuses_what_a_diverged_net_says_counts_as_diverged():
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))

    def loss(output, target):
        if not output.isfinite().all():
            raise RuntimeError("all elements of input should be between 0 and 1")
        return functional.mse_loss(output, target)

    case = Case(lambda: nn.Linear(4, 1), loss, (x, x[:, :1]), Recipe(lr=0.1, steps=80))
    spaces = {"one": {"lr": (1e2, 1e4)}, "other": {"lr": (1e-2, 1.0)}}
    result = compare(case, SAME, **{**SMALL, "spaces": spaces}, steps=80)
    assert np.isinf(result.arms[0].scores).all()
    assert (result.pairs[0].ahead, result.pairs[0].differ) == ("other", True)


# --- judging --------------------------------------------------------------------------------------


def test_identical_arms_differ_in_nothing_and_that_is_said_in_plain_words():
    result = compare(TWO, {"one": GD, "other": GD}, trials=6, seeds=3)
    assert result.arms[0].tried == result.arms[1].tried
    (pair,) = result.pairs
    assert not pair.differ
    assert pair.verdict.interval == (0, 0)
    assert str(result).startswith("no difference found between one and other: training loss")


def test_momentum_is_better_where_curvatures_differ_widely():
    """Polyak: descent shrinks by (k - 1) / (k + 1) a step, with momentum by that of sqrt(k)."""
    arms = {"momentum": Recipe(lr=1e-2, momentum=0.9), "plain": Recipe(lr=1e-2)}
    spaces = {"momentum": {"lr": (1e-4, 1e-1), "momentum": (0.0, 0.99)}, "plain": {"lr": (1e-4, 1)}}
    case = quadratic(0.1, 100.0)
    result = compare(case, arms, trials=16, seeds=3, tuning_seeds=1, steps=120, spaces=spaces)
    (pair,) = result.pairs
    assert (pair.ahead, pair.differ) == ("momentum", True)
    assert "momentum ends at a lower training loss than plain" in str(pair)


def test_noise_alone_is_called_a_difference_no_more_often_than_the_level_allows():
    """400 comparisons of three arms of pure noise: any of three pairs differs in 5 % at most.

    20 are expected at most, with a standard deviation of 4.4; 36 is 3.7 of them above.
    """
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(400):
        numbers = list(rng.normal(size=(3, 5))), None, "accuracy"
        pairs = pairs_of("accuracy", ("a", "b", "c"), numbers, tuple(range(5)))
        found += any(pair.differ for pair in pairs)
    assert 3 < found < 36


def test_the_level_is_corrected_for_the_number_of_pairs():
    arms = {"one": GD, "two": GD, "three": GD}
    result = compare(TWO, arms, trials=1, seeds=2, tuning_seeds=1)
    assert [(p.behind, p.ahead) for p in result.pairs] == [
        ("one", "two"),
        ("one", "three"),
        ("two", "three"),
    ]
    assert {pair.verdict.level for pair in result.pairs} == {1 - 0.05 / 3}


def test_a_metric_is_tuned_for_and_judged_in_its_own_direction():
    case = quadratic(1.0, 10.0, metric=lambda model: {"height": float(model.w.sum())})
    spaces = {"one": {"lr": (1e-4, 1e-2)}, "other": {"lr": (1e-3, 1e-1)}}
    result = compare(case, SAME, **{**SMALL, "trials": 8, "spaces": spaces}, metric="height")
    one, other = result.arms
    assert one.best == int(np.argmax(one.scores))
    assert one.settings["lr"] < 1e-3  # where w stays high the loss does, too
    assert (result.quantity, result.pairs[0].quantity) == ("height", "height")
    assert (result.pairs[0].ahead, result.pairs[0].differ) == ("one", True)
    (loss,) = result.beside
    assert (loss.quantity, loss.ahead, loss.differ) == (LOSS, "other", True)
    assert other.outcomes["height"].value < one.outcomes["height"].value


def test_one_seed_is_not_tested():
    result = compare(TWO, SAME, **{**SMALL, "seeds": 1})
    assert result.pairs[0].verdict.outcome == "not tested"
    assert "not tested" in str(result)


# --- the same again -------------------------------------------------------------------------------


def test_a_comparison_is_a_function_of_its_arguments_and_leaves_no_trace():
    torch.manual_seed(5)
    state, loudness = torch.get_rng_state(), optuna.logging.get_verbosity()
    first = compare(TWO, ["sgd", "adamw"], trials=8, seeds=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert optuna.logging.get_verbosity() == loudness
    torch.manual_seed(6)
    with ThreadPoolExecutor(3) as pool:
        second = compare(TWO, ["sgd", "adamw"], trials=8, seeds=2, executor=pool)
    assert _timeless(first) == _timeless(second)


def _timeless(result):
    return re.sub(r'"seconds": [\d.e-]+', "", json.dumps(result.to_dict()))


def test_it_survives_saving(tmp_path):
    result = compare(TWO, SAME, **SMALL)
    again = load(result.save(tmp_path / "comparison.json"))
    assert again.to_dict() == result.to_dict()
    assert str(again) == str(result)


# --- wrong use ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arms": ["sgd", "adan"]}, "did you mean 'adam'"),
        ({"arms": ["sgd"]}, "needs two or more"),
        ({"arms": ["sgd", "sgd"]}, "needs two or more that differ"),
        ({"arms": {"a": GD, "b": GD.replace(steps=7)}}, r"\[7, 20\] steps"),
        ({"trials": 0}, "trials is 0"),
        ({"tuning_seeds": 1.5}, "tuning_seeds is 1.5"),
        ({"seeds": [1, 1]}, "seeds that differ"),
        ({"metric": "f1"}, "the case measures no 'f1'"),
        ({"spaces": {"nadam": PLAIN}}, "the arms are sgd, adam"),
        ({"spaces": {"sgd": {"beta1": (0, 0.9)}}}, "no setting 'beta1' to search; there are lr"),
        ({"spaces": {"sgd": {"lr": (0, 1)}}}, "both positive"),
        ({"spaces": {"sgd": {"lr": (1, 0.1)}}}, "give .lowest, highest."),
        ({"spaces": {"sgd": {"momentum": (0, 1)}}}, "from 0 to below 1"),
    ],
)
def test_wrong_arguments_are_named(changes, words):
    with pytest.raises(ValueError, match=words):
        compare(TWO, **{"arms": ["sgd", "adam"], **changes})


def test_wrong_types_are_named():
    with pytest.raises(TypeError, match=r"give a list of names"):
        compare(TWO, "sgd,adam")
    with pytest.raises(TypeError, match=r"give a sounding\.Recipe"):
        compare(TWO, {"a": GD, "b": "adam"})


def test_a_case_that_cannot_be_trained_says_so_before_the_search():
    x = torch.zeros(8, 4)
    case = Case(lambda: nn.Linear(3, 1), functional.mse_loss, (x, x[:, :1]), Recipe(lr=0.1))
    said = []
    with pytest.raises(ValueError, match="cannot take the batch"):
        compare(case, progress=lambda *words: said.append(words))
    assert said == []


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r'pip install "sounding\[search\]"'):
        compare(TWO, **SMALL | {"spaces": None})


# --- the command ----------------------------------------------------------------------------------

FILE = """
    import torch
    from torch import nn
    import sounding as sd

    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    y = (x.sum(1) > 0).long()
    recipe = sd.Recipe(lr=0.1, steps=12, batch_size=16)
    case = sd.Case(lambda: nn.Linear(4, 2), nn.functional.cross_entropy, (x, y), recipe)
    arms = {"slow": recipe.replace(lr=1e-4), "cosine": recipe.replace(schedule="cosine")}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "case.py"
    path.write_text(textwrap.dedent(FILE))
    return path


def sounding(*words):
    return CliRunner().invoke(main, ["compare", *map(str, words)])


def test_the_command_compares_the_arms_of_the_file(file, tmp_path):
    files = tmp_path / "out.json", tmp_path / "out.html"
    done = sounding(file, "--trials", 2, "--seeds", 2, "--json", files[0], "--report", files[1])
    assert done.exit_code == 0, done.output
    assert [arm.name for arm in load(files[0]).arms] == ["slow", "cosine"]
    assert "case.py" in done.output
    assert "slow" in files[1].read_text()


def test_the_command_takes_names_of_both_kinds(file):
    done = sounding(file, "--arms", "adam, slow", "--trials", 1, "--seeds", 2, "--steps", 5)
    assert done.exit_code == 0, done.output
    assert "5 steps a run" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--arms", "sdg,adam"], "did you mean 'sgd'"),
        (["--seeds", "1"], "--seeds is 1; it must be at least 2"),
        (["--metric", "f1"], "its metrics are: accuracy"),
        (["--trials", "0"], "trials is 0"),
    ],
)
def test_wrong_use_of_the_command_is_one_sentence(file, words, said):
    done = sounding(file, *words)
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output


def test_a_plain_script_is_not_run(tmp_path):
    path = tmp_path / "train.py"
    path.write_text("raise SystemExit('it was run')")
    done = sounding(path)
    assert done.exit_code == 2
    assert "is no case file" in done.output


def test_the_command_without_optuna_names_the_extra(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = sounding(file)
    assert done.exit_code == 2
    assert 'pip install "sounding[search]"' in done.output


def test_a_result_is_frozen():
    result = compare(TWO, SAME, **SMALL)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.trials = 5
