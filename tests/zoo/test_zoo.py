"""Every inhabitant of the zoo gets its diagnosis: the right cause first, or nothing at all.

The sick ones are sick: what a rule finds in them stops them from training (a sample is trained).
The healthy ones are looked at before, early in and late in a training, without its history; the
late look at a net that trains for seconds runs with -m slow.
"""

from dataclasses import replace

import pytest
import torch

from sounding.checkup import checkup
from sounding.rules import RULES
from sounding.train import train
from sounding.zoo import HEALTHY, SICK, ZOO, Entry, visit
from sounding.zoo.programs import PROGRAMS

names = {"ids": lambda entry: entry.name}


def exams(entry, seed=0):
    """(steps trained, checkup) at each of the entry's moments."""
    found = []

    def look(step, net, batch, optimiser):
        found.append((step, checkup(net, entry.case.loss, batch, optimizer=optimiser)))

    visit(entry, look, seed=seed)
    return found


@pytest.mark.parametrize("entry", SICK, **names)
def test_the_right_cause_comes_first(entry):
    for step, exam in exams(entry):
        codes = [f.code for f in exam.findings]
        assert codes, f"nothing found after {step} steps"
        assert codes[0] in entry.expected
        assert exam.findings[0].severity == "problem"


# Of these, whose 200 steps take seconds, the last look is slow.
LONG = (
    "He's relu, depth 30",
    "experts",
    "experts in small batches",
    "fixup",
    "hand-written recurrence",
    "language model",
    "language model with tied embeddings",
    "layer norm, depth 12",
    "lstm",
    "orthogonal linear, depth 30",
    "resnet with batch norm",
    "resnet with group norm",
    "separable convolutions with relu6",
    "squeeze and excitation",
    "tanh at the critical point, depth 30",
    "transformer normalised after",
    "u-net",
    "vision transformer",
)


def soon(entry):
    """With a long one's first two looks."""
    return replace(entry, after=entry.after[:2]) if entry.name in LONG else entry


@pytest.mark.parametrize("entry", [soon(e) for e in HEALTHY], **names)
def test_nothing_is_found_in_a_healthy_net(entry):
    nothing_is_found(entry)


@pytest.mark.slow
@pytest.mark.parametrize("entry", [e for e in HEALTHY if e.name in LONG], **names)
def test_nothing_is_found_in_one_that_was_trained_for_long(entry):
    nothing_is_found(replace(entry, after=entry.after[2:]))


def nothing_is_found(entry):
    for step, exam in exams(entry):
        messages = [f"{f.code} {f.severity} after {step} steps: {f.message}" for f in exam.findings]
        assert not messages
        assert not [o.reason for o in exam.outcomes if o.outcome == "skipped"]


@pytest.mark.parametrize("entry", HEALTHY[::6], **names)
def test_nothing_either_where_the_optimiser_is_not_known(entry):
    def look(step, net, batch, optimiser):
        assert checkup(net, entry.case.loss, batch).findings == ()

    visit(Entry(entry.name, entry.case, (), "", after=(0, 20)), look)


@pytest.mark.parametrize(
    "entry",
    [e for e in SICK if e.name in ("stacked sigmoids", "two zero layers", "saturated by biases")],
    **names,
)
def test_a_sick_net_does_not_train(entry):
    trial = train(entry.case, 0, steps=100)
    assert trial.diverged or trial.metrics["accuracy"] < 0.3


def test_every_expected_code_is_a_rule_and_every_name_is_its_own():
    expected = {code for entry in (*SICK, *PROGRAMS) for code in entry.expected}
    assert expected <= {rule.code for rule in RULES}
    assert len({program.name for program in PROGRAMS}) == len(PROGRAMS)
    assert len({entry.name for entry in ZOO}) == len(ZOO)
    assert len(HEALTHY) >= 25
    assert all(entry.note for entry in ZOO)
    assert all(len(entry.after) == 3 for entry in HEALTHY)
    assert set(LONG) <= {entry.name for entry in HEALTHY}


def test_a_visit_leaves_the_random_state_and_is_repeatable():
    entry = Entry("again", HEALTHY[0].case, (), "", after=(0, 3))
    seen = []
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    for _ in range(2):
        visit(entry, lambda step, net, *_: seen.append((step, float(net[0].weight.detach().sum()))))
    assert torch.equal(torch.rand(3), expected)
    assert [step for step, _ in seen] == [0, 3, 0, 3]
    assert seen[:2] == seen[2:]
    assert seen[0] != seen[1]
