"""A pytest plugin: a model's health and a training's success as tests.

It is active wherever Sounding is installed, and does nothing until one of its assertions is
called: torch is imported then, and not before.

Example::

    from sounding.integrations.pytest import assert_healthy, assert_trains


    def test_the_network_is_healthy():
        assert_healthy(Net(), F.cross_entropy, (x, y))


    def test_it_learns():
        assert_trains(case, above={"accuracy": 0.9})

Both are fixtures too, for who would rather not import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import torch
    from torch import nn

    from sounding.exam import Checkup
    from sounding.objective import Batch, Loss, Objective
    from sounding.train import Case
    from sounding.verdict import Verdict


def assert_trains(
    case: Case,
    *,
    seeds: int | Sequence[int] = 3,
    steps: int | None = None,
    above: Mapping[str, float] | None = None,
    below: Mapping[str, float] | None = None,
    explain: bool = True,
) -> tuple[Verdict, ...]:
    """Assert that `case` learns: trained on several seeds, its loss falls beyond doubt.

    The judge is that of :func:`sounding.prove`: the 95 % t-interval of the differences between the
    loss of the first step and that of the last tenth, seed by seed, lies above 0.01 decades
    (2.3 %). So a loss that falls on some seeds only, or no further than it scatters, fails.

    Args:
        case: What is trained.
        seeds: How many, counted from 0, or which; at least 2.
        steps: Of every run; None: those of the case's recipe.
        above: Bounds that metrics must exceed on every seed: ``{"accuracy": 0.9}``.
        below: Bounds that they must stay below; 'loss' is the final training loss.
        explain: After a failure train once more and say what is wrong; takes up to a minute.

    Returns:
        The verdicts.

    Raises:
        AssertionError: If it does not learn; with the verdicts and what the doctor finds.
        ValueError: If a bound is for something that is not measured.
    """
    __tracebackhide__ = True
    from sounding.integrations.asserting import trains

    given: dict[str, Any] = {"above": above or {}, "below": below or {}, "explain": explain}
    return trains(case, seeds=seeds, steps=steps, **given)


def assert_healthy(
    model: nn.Module | Case,
    loss: Loss | Objective | None = None,
    batch: Batch | None = None,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    deep: bool = False,
    seed: int = 0,
    steps: int | None = None,
    ignore: tuple[str, ...] = (),
    cautions: bool = False,
) -> Checkup:
    """Assert that a checkup finds no problem; takes what :func:`sounding.checkup` takes.

    Args:
        model: Any module, or a case.
        loss: A function of (output, target), or an objective.
        batch: A pair (input, target).
        optimizer: Where given, its kind and learning rate are read.
        deep: Train a case and examine the training.
        seed: Of a case.
        steps: Of a deep examination.
        ignore: Codes of rules to leave out.
        cautions: Whether a caution fails the test too.

    Returns:
        The checkup.

    Raises:
        AssertionError: If there is a problem; with the findings.
    """
    __tracebackhide__ = True
    from sounding.integrations.asserting import healthy

    given: dict[str, Any] = {"optimizer": optimizer, "deep": deep, "seed": seed, "steps": steps}
    return healthy(model, loss, batch, **given, ignore=ignore, cautions=cautions)


@pytest.fixture(name="assert_trains", scope="session")
def _assert_trains() -> Callable[..., tuple[Verdict, ...]]:
    """Assert that a case learns: `assert_trains(case, above={"accuracy": 0.9})`."""
    return assert_trains


@pytest.fixture(name="assert_healthy", scope="session")
def _assert_healthy() -> Callable[..., Checkup]:
    """Assert that a checkup finds no problem: `assert_healthy(model, loss, batch)`."""
    return assert_healthy
