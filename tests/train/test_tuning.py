"""Tuning with made-up runs, whose outcome at every setting and seed is known."""

import math

import numpy as np
import pytest

from sounding.result import Series
from sounding.train import Recipe, Trial, final_loss
from sounding.train.runs import Runs
from sounding.train.tuning import outcomes, setting_of, settle, tune

SPACES = {"one": {"lr": (1e-3, 1e1)}, "other": {"lr": (1e-3, 1e1)}}
RECIPES = {"one": Recipe(lr=0.1), "other": Recipe(optimiser="adam", lr=0.1)}


def loss_at(lr, seed):
    """Decades from the best learning rate: 0.01 on seed 0, ten times as much on the others."""
    return 1 + abs(math.log10(lr / (0.01 if seed == 0 else 0.1)))


def trial(seed, *losses):
    values = np.array(losses, float)
    series = Series(quantity="training loss", unit="", steps=np.arange(len(values)), values=values)
    return Trial(seed=seed, loss=series, metrics={}, diverged=False, seconds=0.0)


def made_up(run=lambda setting, seed: trial(seed, loss_at(setting.recipe.lr, seed))):
    return Runs(lambda changes, seed: run(*changes, seed), lambda *_: None, None)


def score(trials):
    return float(np.mean([final_loss(one) for one in trials]))


def test_the_best_trials_are_run_on_more_seeds_and_the_best_on_all_of_them_is_settled_on():
    runs = made_up()
    searches = tune(runs, RECIPES, SPACES, trials=12, seeds=[0], score=score)
    luckiest = searches["one"].best
    settle(runs, RECIPES, searches, seeds=[0, 1, 2], score=score)
    for search in searches.values():
        leading = np.argsort(search.scores, kind="stable")[:3]
        known = [
            np.mean([loss_at(search.tried[k]["lr"], seed) for seed in (0, 1, 2)]) for k in leading
        ]
        assert search.best == leading[int(np.argmin(known))] != luckiest


def test_arms_with_the_same_space_and_outcomes_try_the_same_settings():
    searches = tune(made_up(), RECIPES, SPACES, trials=9, seeds=[1], score=score)
    assert searches["one"].tried == searches["other"].tried


def test_a_failed_run_counts_as_diverged_unless_every_one_fails():
    def fails(setting, seed):
        if setting.recipe.lr > 0.2:
            raise RuntimeError("no number")
        return trial(seed, 1.0)

    setting = setting_of("one", RECIPES["one"], {"lr": 1.0})
    ((lost,),) = outcomes(made_up(fails), [setting], [7])
    assert (lost.seed, lost.diverged, final_loss(lost)) == (7, True, math.inf)
    search = tune(made_up(fails), RECIPES, SPACES, trials=6, seeds=[1], score=score)["one"]
    bad = [tried["lr"] > 0.2 for tried in search.tried]
    assert [math.isinf(found) for found in search.scores] == bad
    assert any(bad)

    def always(setting, seed):
        raise ValueError("label 3 is out of range")

    with pytest.raises(ValueError, match="label 3"):
        tune(made_up(always), RECIPES, SPACES, trials=6, seeds=[1], score=score)


def test_a_setting_says_what_it_is():
    setting = setting_of("mine", RECIPES["other"], {"lr": 0.02, "beta1": 0.8, "warmup": 3.0})
    assert str(setting) == "mine, lr 0.02, beta1 0.8, warmup 3"
    assert (setting.recipe.lr, setting.recipe.options["betas"]) == (0.02, (0.8, 0.999))
    assert setting.recipe.warmup == 3
