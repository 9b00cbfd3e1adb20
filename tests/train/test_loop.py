"""The training loop against closed forms and hand-written recurrences.

No other test would see a step taken twice, a stale gradient, a learning rate that is late by one
step, or an arm that draws other batches than its partner.
"""

import math
import random
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.objective import Objective
from sounding.train import Case, Recipe, final_loss, train
from sounding.train.batches import draw

N, D = 40, 5


@pytest.fixture
def regression():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(N, D, generator=generator, dtype=torch.float64)
    y = torch.randn(N, 1, generator=generator, dtype=torch.float64)
    return x, y


def _linear():
    return nn.Linear(D, 1, bias=False, dtype=torch.float64)


def _start(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _linear().weight.detach().numpy().ravel()


# --- oracles --------------------------------------------------------------------------------------


def test_losses_of_gradient_descent_on_linear_regression_have_the_closed_form(regression):
    """The iterates are w_t = w* + (I - lr H)^t (w_0 - w*), with H = (2/N) X'X."""
    x, y = (t.numpy() for t in regression)
    hessian, lr, steps = 2 / N * x.T @ x, 0.05, 60
    best = np.linalg.solve(hessian, 2 / N * x.T @ y.ravel())
    case = Case(
        _linear, functional.mse_loss, regression, Recipe(lr=lr, batch_size=None, steps=steps)
    )
    values, vectors = np.linalg.eigh(hessian)
    offset = vectors.T @ (_start(7) - best)
    expected = [
        np.mean((x @ (best + vectors @ ((1 - lr * values) ** t * offset)) - y.ravel()) ** 2)
        for t in range(steps)
    ]
    np.testing.assert_allclose(train(case, 7).loss.values, expected, rtol=1e-12)


@pytest.mark.parametrize("clip", [None, 0.7])
def test_mini_batch_sgd_follows_the_recurrence(regression, clip):
    """Momentum, L2 decay, warm-up, linear schedule and clipping, one line each, in numpy."""
    recipe = Recipe(
        lr=0.1, momentum=0.9, weight_decay=0.02, schedule="linear", warmup=4, clip=clip,
        batch_size=8, steps=30,
    )  # fmt: skip
    weight, velocity, expected = _start(1), np.zeros(D), []
    batches = draw(regression, 8, 1)
    for step in range(30):
        x, y = (t.numpy() for t in next(batches))
        residual = x @ weight - y.ravel()
        expected.append(np.mean(residual**2))
        gradient = 2 / len(x) * x.T @ residual
        if clip is not None:
            gradient *= min(1.0, clip / (np.linalg.norm(gradient) + 1e-6))  # 1e-6 is torch's
        lr = 0.1 * ((step + 1) / 4 if step < 4 else 1 - (step - 4) / 26)
        velocity = 0.9 * velocity + gradient + 0.02 * weight
        weight = weight - lr * velocity
    trial = train(Case(_linear, functional.mse_loss, regression, recipe), 1)
    np.testing.assert_allclose(trial.loss.values, expected, rtol=1e-10)


def test_adam_moves_by_the_learning_rate_at_first(regression):
    """Kingma and Ba 2015, section 2.1: with bias correction the first step is lr sign(g)."""
    models = []

    def build():
        models.append(_linear())
        return models[-1]

    recipe = Recipe(optimiser="adam", lr=0.01, batch_size=None, steps=1)
    train(Case(build, functional.mse_loss, regression, recipe), 2)
    moved = models[0].weight.detach().numpy().ravel() - _start(2)
    np.testing.assert_allclose(np.abs(moved), 0.01, rtol=1e-6)


def test_accuracy_is_the_mean_over_the_last_tenth_of_the_steps():
    right = torch.eye(3)[[0, 1, 2, 0]]
    target = torch.tensor([0, 1, 2, -100])  # the last one is left out of loss and accuracy
    steps = iter(range(20))

    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x):
            return self.scale * (right if next(steps) >= 18 else right.roll(1, 1))

    batches, recipe = [(torch.zeros(4, 1), target)], Recipe(lr=1e-9, steps=20)
    case = Case(Fixed, functional.cross_entropy, batches, recipe)
    assert train(case, 0).metrics == {"accuracy": 1.0}
    steps = iter(range(1, 21))  # one step more is right than the last tenth holds
    assert train(case, 0).metrics == {"accuracy": 1.0}
    steps = iter(range(-1, 19))  # one less
    assert train(case, 0).metrics == {"accuracy": 0.5}


def test_final_loss_is_the_mean_over_the_last_tenth(regression):
    trial = train(Case(_linear, functional.mse_loss, regression, Recipe(lr=0.01, steps=50)), 0)
    assert final_loss(trial) == pytest.approx(np.mean(trial.loss.values[45:]), rel=1e-14)


def test_a_shorter_run_ends_the_schedule_earlier(regression):
    recipe = Recipe(lr=0.1, schedule="cosine", steps=80, batch_size=None)
    case = Case(_linear, functional.mse_loss, regression, recipe)
    short = train(case.replace(recipe=recipe.replace(steps=20)), 0).loss.values
    np.testing.assert_array_equal(train(case, 0, steps=20).loss.values, short)


# --- randomness -----------------------------------------------------------------------------------


def _noisy():
    return nn.Sequential(nn.Linear(D, 16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, 1))


def _noisy_case(regression, **recipe):
    x, y = (t.float() for t in regression)
    recipe = Recipe(lr=0.05, batch_size=8, steps=25).replace(**recipe)
    return Case(_noisy, functional.mse_loss, (x, y), recipe)


def test_a_trial_is_a_function_of_its_seed(regression):
    case = _noisy_case(regression)
    first = train(case, 4).loss.values
    torch.manual_seed(99)
    np.testing.assert_array_equal(train(case, 4).loss.values, first)
    assert not np.array_equal(train(case, 5).loss.values, first)


def _states():
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - the global generator is the point
    return random.getstate(), (kind, keys.tobytes(), *rest), torch.get_rng_state().numpy().tobytes()


class Stop(BaseException):
    """As Ctrl-C is, no Exception."""


@pytest.mark.parametrize("error", [None, RuntimeError, Stop])
def test_random_state_is_given_back(regression, error):
    case = _noisy_case(regression)
    before = _states()

    def interrupt(step, loss):
        random.random()
        np.random.rand()  # noqa: NPY002 - as above
        if error is not None and step == 3:
            raise error

    if error is None:
        train(case, 0, on_step=interrupt)
    else:
        with pytest.raises(error):
            train(case, 0, on_step=interrupt)
    assert _states() == before


def test_both_arms_see_the_same_batches(regression):
    """Though one draws other weights and dropout masks between the batches."""
    seen = []

    def loss(output, target):
        seen[-1].append(target.clone())
        return functional.mse_loss(output, target)

    case = _noisy_case(regression).replace(loss=loss)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*case.batches), batch_size=8, shuffle=True
    )
    for batches in (case.batches, loader):
        for build in (_noisy, lambda: nn.Linear(D, 1)):
            seen.append([])
            train(case.replace(build=build, batches=batches), 6)
    for left, right in ((seen[0], seen[1]), (seen[2], seen[3])):
        assert len(left) == 25
        assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_training_draws_the_same_noise_whatever_build_drew(regression):
    """Dropout's masks stay paired when a remedy draws more weights."""

    def greedy():
        model = _noisy()
        torch.randn(1000)
        return model

    case = _noisy_case(regression)
    plain, more = train(case, 0), train(case.replace(build=greedy), 0)
    np.testing.assert_array_equal(plain.loss.values, more.loss.values)


def test_threads_take_turns(regression):
    case = _noisy_case(regression)
    alone, together = [train(case, seed).loss.values for seed in range(4)], {}

    def run(seed):
        together[seed] = train(case, seed).loss.values

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        np.testing.assert_array_equal(together[seed], alone[seed])


# --- divergence and errors ------------------------------------------------------------------------


def test_a_diverged_run_ends_with_its_first_loss_that_is_not_finite(regression):
    called = []
    case = _noisy_case(regression, lr=1e25, steps=200).replace(metric=called.append)
    trial = train(case, 0)
    assert trial.diverged
    assert len(trial.loss.values) < 20
    assert np.isfinite(trial.loss.values[:-1]).all()
    assert not np.isfinite(trial.loss.values[-1])
    assert final_loss(trial) == math.inf
    assert not called  # there is nothing to measure on such a network


def test_divergence_has_no_accuracy():
    x, y = torch.randn(20, 3), torch.arange(20) % 2
    build = lambda: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))  # noqa: E731
    trial = train(Case(build, functional.cross_entropy, (x, y), Recipe(lr=1e30, steps=30)), 0)
    assert trial.diverged
    assert math.isnan(trial.metrics["accuracy"])


def test_nan_in_a_later_batch_is_blamed_on_the_data():
    good, bad = torch.ones(4, 2), torch.full((4, 2), torch.nan)
    batches = [(good, good[:, :1]), (bad, good[:, :1])]
    with pytest.raises(ValueError, match="the batch of step 1 holds NaN"):
        train(
            Case(lambda: nn.Linear(2, 1), functional.mse_loss, batches, Recipe(lr=0.1, steps=30)), 0
        )


def test_a_wrong_batch_in_the_middle_is_named_with_its_step():
    batches = [(torch.ones(4, n), torch.ones(4, 1)) for n in (2, 2, 3)]
    with pytest.raises(ValueError, match=r"input float32 \(4, 3\).* at step 2: mat1 and mat2"):
        train(Case(lambda: nn.Linear(2, 1), functional.mse_loss, batches, Recipe(lr=0.1)), 0)


def test_a_network_that_was_trained_is_refused(regression):
    model = _linear()
    case = Case(lambda: model, functional.mse_loss, regression, Recipe(lr=0.1, steps=2))
    train(case, 0)
    with pytest.raises(ValueError, match="it must make a new network each time"):
        train(case, 1)


def test_metrics_that_are_no_mapping_are_refused(regression):
    case = _noisy_case(regression, steps=1).replace(metric=lambda model: 0.9)
    with pytest.raises(TypeError, match="return numbers by name"):
        train(case, 0)


def test_an_empty_list_of_batches_is_named():
    with pytest.raises(ValueError, match="batches is empty"):
        train(Case(_linear, functional.mse_loss, [], Recipe(lr=0.1)), 0)


# --- the rest of the contract ---------------------------------------------------------------------


def test_an_objective_of_model_and_batch_trains(regression):
    x, _ = regression
    objective = Objective(lambda model, batch: model(batch).square().mean())
    trial = train(Case(_linear, objective, [x], Recipe(lr=0.1, steps=40)), 0)
    assert trial.loss.values[-1] < 0.5 * trial.loss.values[0]
    assert trial.metrics == {}


def test_frozen_parameters_stay_and_no_grad_outside_does_no_harm(regression):
    models = []

    def build():
        models.append(_noisy())
        models[-1][0].requires_grad_(False)
        return models[-1]

    with torch.no_grad():
        trial = train(_noisy_case(regression).replace(build=build), 0)
    assert trial.loss.values[-1] != trial.loss.values[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert torch.equal(models[0][0].weight, _noisy()[0].weight)


def test_metrics_are_measured_in_eval_mode_after_the_last_step(regression):
    def metric(model):
        assert not model.training
        assert not torch.is_grad_enabled()
        return {"first weight": model[0].weight[0, 0].item()}

    models = []

    def build():
        models.append(_noisy())
        return models[-1]

    trial = train(_noisy_case(regression).replace(build=build, metric=metric), 0)
    assert trial.metrics == {"first weight": models[0][0].weight[0, 0].item()}


def test_on_step_hears_of_every_step(regression):
    heard = []
    case = _noisy_case(regression)
    trial = train(case, 0, on_step=lambda step, loss: heard.append((step, float(loss))))
    assert [step for step, _ in heard] == list(range(25))
    np.testing.assert_allclose([loss for _, loss in heard], trial.loss.values, rtol=0)
