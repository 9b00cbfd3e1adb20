"""Learning rates: against torch's own schedulers and formulas written out."""

import pytest
import torch
from torch.optim import lr_scheduler


@pytest.mark.parametrize("factor", [0.1, 3.0])
def test_scaled_is_another_learning_rate(run, sgd, same, factor):
    treated = run(sgd(lr=0.05, momentum=0.9), [("scale_lr", {"factor": factor})])
    same(treated, run(sgd(lr=0.05 * factor, momentum=0.9)))


def test_groups_keep_their_ratios(run, same):
    def make(lr):
        return lambda net: torch.optim.SGD(
            [{"params": net[0].parameters(), "lr": lr / 4}, {"params": net[2:].parameters()}], lr=lr
        )

    same(run(make(0.1), [("scale_lr", {"factor": 0.5})]), run(make(0.05)))


def test_a_tensor_as_learning_rate(run, same):
    def make(lr):
        return lambda net: torch.optim.Adam(net.parameters(), lr=torch.tensor(lr))

    remedies = [("scale_lr", {"factor": 0.5}), ("warm_up", {"steps": 4})]
    half = run(make(0.02), remedies)
    warm = lr_scheduler.LambdaLR, lambda step: min(1, (step + 1) / 4)
    same(half, run(make(0.01), [], lambda o: warm[0](o, warm[1])), rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 10, 100])
def test_warming_up_is_torchs_lambda(run, sgd, same, steps):
    treated = run(sgd(lr=0.1, momentum=0.9), [("warm_up", {"steps": steps})])
    by_torch = run(
        sgd(lr=0.1, momentum=0.9),
        [],
        lambda o: lr_scheduler.LambdaLR(o, lambda step: min(1.0, (step + 1) / steps)),
    )
    same(treated, by_torch)


@pytest.mark.parametrize("before", [True, False])
def test_held_is_no_schedule(run, sgd, same, before):
    def fast(o):
        return lr_scheduler.StepLR(o, 1, 0.1)

    same(run(sgd(lr=0.1), [("hold_lr", {})], fast, before=before), run(sgd(lr=0.1)))


def test_holding_keeps_a_warm_up(run, sgd, same):
    def there_and_back(step):
        return min((step + 1) / 5, 1.0) if step < 10 else 0.0

    treated = run(
        sgd(lr=0.1), [("hold_lr", {})], lambda o: lr_scheduler.LambdaLR(o, there_and_back)
    )
    same(treated, run(sgd(lr=0.1), [("warm_up", {"steps": 5})]))


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("scale_lr", {"factor": 0.0}, "factor is 0.0; it must be positive"),
        ("scale_lr", {"factor": float("inf")}, "factor is inf"),
        ("warm_up", {"steps": 0}, "steps is 0; a warm-up needs at least one"),
    ],
)
def test_senseless_arguments_are_named(run, sgd, name, arguments, says):
    with pytest.raises(ValueError, match=says):
        run(sgd(lr=0.1), [(name, arguments)])
