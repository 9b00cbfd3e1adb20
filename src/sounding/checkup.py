"""Examine a model on one batch: what is wrong, where, and what to do about it."""

from __future__ import annotations

import dataclasses
import time

import torch
from torch import nn

from sounding.capture.passes import record
from sounding.measure.examination import readings
from sounding.measure.readings import Readings
from sounding.objective import Batch, Loss, Objective, as_objective
from sounding.result import Result
from sounding.rules import RULES, Finding, Outcome, Rule, run
from sounding.rules.ranking import rank
from sounding.train.inputs import check_model, check_numbers, explained


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Checkup(Result):
    """Readings, findings (most likely cause first) and the outcome of every rule."""

    findings: tuple[Finding, ...]
    outcomes: tuple[Outcome, ...]
    readings: Readings
    seconds: float  # what the examination took
    subject: str = ""  # the script or case examined

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that stop the training."""
        return tuple(f for f in self.findings if f.severity == "problem")


def checkup(
    model: nn.Module,
    loss: Loss | Objective,
    batch: Batch,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    rules: tuple[Rule, ...] = RULES,
    ignore: tuple[str, ...] = (),
    subject: str = "",
) -> Checkup:
    """Examine `model` on one batch; nothing about it is changed.

    One recorded forward and backward pass, in the mode (training or evaluation) that the model is
    in, and a few milliseconds of arithmetic: at most three plain passes in all for nets whose
    step takes 10 ms or more.

    Args:
        model: Any module; a compiled one runs uncompiled for this pass.
        loss: A function of (output, target), or an :class:`Objective` of (model, batch).
        batch: A pair (input, target); 32 samples or more let every rule speak.
        optimizer: Where given, its kind and learning rate are read.
        rules: What to look for; add your own with ``(*sounding.RULES, mine)``.
        ignore: Codes of rules to leave out.
        subject: How the report calls what was examined.

    Raises:
        ValueError: If the model has nothing to train, the batch does not fit, or the loss is not
            one number; the sentence says what to do.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> batch = torch.randn(32, 4), torch.randint(0, 3, (32,))
        >>> checkup(net, nn.functional.cross_entropy, batch).findings
        ()
    """
    start = time.perf_counter()
    objective = as_objective(loss)
    check_model(model)
    check_numbers(batch)

    def compute() -> torch.Tensor:
        with explained(model, batch):
            return objective(model, batch)

    inputs = batch[0] if isinstance(batch, tuple | list) and batch else batch
    module = getattr(objective, "loss", None)
    also = (module,) if isinstance(module, nn.Module) else ()
    taken = readings(model, record(model, compute, inputs, also=also), optimizer=optimizer)
    return judged(taken, rules=rules, ignore=ignore, subject=subject, start=start)


def judged(
    taken: Readings,
    *,
    rules: tuple[Rule, ...] = RULES,
    ignore: tuple[str, ...] = (),
    subject: str = "",
    start: float | None = None,
) -> Checkup:
    """A Checkup from readings that were taken before: every rule asked, the findings ranked."""
    start = time.perf_counter() if start is None else start
    unknown = set(ignore) - {rule.code for rule in rules}
    if unknown:
        known = ", ".join(rule.code for rule in rules)
        raise ValueError(f"no rule is called {', '.join(sorted(unknown))}; there are {known}")
    asked = tuple(rule for rule in rules if rule.code not in ignore)
    findings, outcomes = run(asked, taken)
    left = [Outcome(code=r.code, name=r.name, outcome="ignored") for r in rules if r.code in ignore]
    return Checkup(
        findings=rank(findings),
        outcomes=tuple(sorted((*outcomes, *left), key=lambda o: o.code)),
        readings=taken,
        seconds=time.perf_counter() - start,
        subject=subject,
    )
