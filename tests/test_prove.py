"""Proofs and repairs: with made-up arms whose effects are known, and on a real sick net.

No other test would see a baseline that is trained twice, a screening seed that is used again in
the proof, a level that forgets what else was tried, or a remedy stacked on nothing proven.
"""

import dataclasses
import importlib
import math
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.checkup import checkup
from sounding.exam import Checkup
from sounding.objective import Objective
from sounding.prove import Proof, Repair, case_arm, prove, prove_arms, repair, repair_arms
from sounding.remedies import Remedy
from sounding.result import NotApplicable, Series
from sounding.rules import Finding
from sounding.train import Case, Recipe, Trial

module = importlib.import_module("sounding.prove")  # `sounding.prove` itself is the function


def remedy(name, touches="weights"):
    return Remedy(name=name, touches=touches)


A, B, C, D = (remedy(name) for name in "abcd")


class FakeArm:
    """Runs in which each remedy divides the loss by a known factor; `calls` are all its runs."""

    spread = 0.02  # decades by which the seeds differ, in place of luck

    def __init__(self, **decades):
        self.decades, self.calls = decades, []

    def __call__(self, remedies, seed):
        self.calls.append((tuple(r.name for r in remedies), seed))
        effects = [self.decades.get(r.name, 0.0) for r in remedies]
        if NotApplicable in effects:
            raise NotApplicable("no such layer")
        if RuntimeError in effects:
            raise RuntimeError("shapes do not fit")
        final = 2.0 * 10 ** (self.spread * math.sin(7 * seed + len(remedies)) - sum(effects))
        values = np.array([3.0, *[final] * 20] if math.isfinite(final) else [3.0, np.nan])
        series = Series(
            quantity="training loss", unit="", steps=np.arange(len(values)), values=values
        )
        metrics = {"accuracy": 1 - final / 3, "test loss": final}
        diverged = not math.isfinite(final)
        return Trial(seed=seed, loss=series, metrics=metrics, diverged=diverged, seconds=0.0)


# --- one remedy -----------------------------------------------------------------------------------


def test_the_effect_is_measured_in_decades_on_paired_seeds():
    arm = FakeArm(a=1.0)
    proof = prove_arms(arm, A, seeds=[4, 9, 2], code="paste me")
    assert proof.verdict.outcome == "supported"
    assert proof.verdict.effect == pytest.approx(1.0, abs=0.04)
    assert proof.verdict.seeds == (4, 9, 2)
    assert (proof.verdict.unit, proof.code) == ("decades of loss", "paste me")
    assert [len(proof.before), len(proof.after)] == [3, 3]
    assert arm.calls == [(arms, seed) for seed in (4, 9, 2) for arms in ((), ("a",))]


def test_metrics_are_judged_in_their_own_direction():
    accuracy, test_loss = prove_arms(FakeArm(a=1.0), A).metrics
    assert (accuracy.unit, accuracy.outcome) == ("accuracy", "supported")
    assert accuracy.effect > 0
    assert (test_loss.unit, test_loss.outcome) == ("test loss", "supported")
    assert test_loss.statement == "a() lowers the final test loss"


@pytest.mark.parametrize(
    ("decades", "seeds", "outcome", "used"),
    [
        (1.0, 5, "supported", 3),
        (-0.5, 5, "refuted", 3),  # an early verdict can be a bad one
        (0.05, 5, "supported", 5),  # inconclusive at the first look
        (1.0, 10, "supported", 3),
        (1.0, 2, "supported", 2),
        (1.0, 1, "not tested", 1),
    ],
)
def test_the_runs_end_when_the_verdict_is_clear(decades, seeds, outcome, used):
    arm = FakeArm(a=decades)
    verdict = prove_arms(arm, A, seeds=seeds).verdict
    assert (verdict.outcome, len(verdict.seeds)) == (outcome, used)
    assert len(arm.calls) == 2 * used
    if used < seeds:
        assert f"decided after {used} of {seeds} seeds" in verdict.note


@pytest.mark.parametrize(("seeds", "looks"), [(2, 1), (3, 1), (4, 2), (5, 2), (10, 3)])
def test_the_level_is_corrected_for_looks_and_for_what_was_tried(seeds, looks):
    verdict = prove_arms(FakeArm(a=0.5), A, seeds=seeds, tried=4).verdict
    assert verdict.level == pytest.approx(1 - 0.05 / (4 * looks), rel=1e-12)


def test_what_is_kept_is_in_both_arms():
    arm = FakeArm(a=1.0, b=0.3)
    proof = prove_arms(arm, B, kept=(A,), seeds=3)
    assert set(arm.calls) == {(arms, seed) for seed in range(3) for arms in (("a",), ("a", "b"))}
    assert proof.verdict.effect == pytest.approx(0.3, abs=0.04)
    assert "on top of a()" in proof.verdict.statement


def test_a_remedy_whose_runs_diverge_is_never_supported():
    proof = prove_arms(FakeArm(a=math.nan), A)
    assert proof.verdict.outcome == "refuted"
    assert "3 of 3 treated runs diverged" in proof.verdict.note


def test_a_remedy_that_rescues_diverging_runs_is_supported():
    class Rescue(FakeArm):
        def __call__(self, remedies, seed):
            return FakeArm(a=0.7, x=math.nan)(remedies or (remedy("x"),), seed)

    verdict = prove_arms(Rescue(), A).verdict
    assert verdict.outcome == "supported"
    rescued = 0.7 + math.log10(3 / 2)  # from the first loss, not from infinity
    assert verdict.effect == pytest.approx(rescued, abs=0.04)
    assert np.isinf(verdict.before).all()


def test_a_change_below_the_band_is_none():
    arm = FakeArm(a=0.005)
    arm.spread = 0.0
    assert prove_arms(arm, A).verdict.outcome == "refuted"


def test_a_remedy_that_does_not_apply_is_not_tested():
    proof = prove_arms(FakeArm(a=NotApplicable), A)
    assert proof.verdict.outcome == "not tested"
    assert proof.verdict.note == "not applicable: no such layer"


@pytest.mark.parametrize("seeds", [0, -1, [], [1, 1]])
def test_wrong_seeds_are_named(seeds):
    with pytest.raises(ValueError, match="seeds that differ"):
        prove_arms(FakeArm(), A, seeds=seeds)


def test_it_says_beforehand_how_many_runs_it_will_take():
    said = []
    prove_arms(FakeArm(a=1.0), A, steps=40, progress=lambda *words: said.append(words))
    assert said[0] == ("at most 10 runs of 40 steps: 5 pairs with and without a()", 0, 10)
    assert said[-1][1:] == (6, 6)


# --- many remedies --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def examined():
    return checkup(nn.Linear(2, 1), functional.mse_loss, (torch.ones(8, 2), torch.ones(8, 1)))


@pytest.fixture
def examine(examined, monkeypatch):
    """A function that makes an `Examine` from the remedies still offered after each stack."""
    monkeypatch.setattr(module, "code", lambda remedy, readings=None: f"# {remedy}")

    def make(offers, severity="problem"):
        def examine_stack(kept) -> Checkup:
            remedies = offers.get(tuple(r.name for r in kept), ())
            finding = Finding(
                code="SD999", name="ill", severity=severity, message="", layers=(), source="",
                measured={}, expected={}, confidence="exact", remedies=tuple(remedies),
            )  # fmt: skip
            return dataclasses.replace(examined, findings=(finding,) if remedies else ())

        return examine_stack

    return make


def test_the_best_is_screened_proven_and_kept(examine):
    arm = FakeArm(a=0.2, b=1.0, c=0.6, d=-1.0)
    said = []
    result = repair_arms(
        arm, examine({(): [A, B, C, D, A]}), progress=lambda *words: said.append(words), steps=9
    )
    assert [r.name for r in result.kept] == ["b"]
    assert result.code == "# b()"
    outcomes = {proof.remedy.name: proof.verdict.outcome for proof in result.proofs}
    assert outcomes == {"a": "not tested", "d": "not tested", "b": "supported", "c": "supported"}
    assert "screening on seed 5" in result.proofs[0].verdict.note
    assert len(arm.calls) == len(set(arm.calls)) == 5 + 3 * 3  # nothing runs twice
    assert said[0][0].startswith(
        "at most 20 runs of 9 steps: 4 remedies and the untreated arm once"
    )
    assert result.after is not None
    assert not result.after.findings


def test_the_screening_seed_is_not_used_in_the_proof(examine):
    arm = FakeArm(a=1.0, b=1.1, c=1.2)
    result = repair_arms(arm, examine({(): [A, B, C]}), seeds=[7, 3, 5])
    assert {seed for _, seed in arm.calls} == {7, 3, 5, 8}
    assert all(8 not in proof.verdict.seeds for proof in result.proofs if len(proof.before) > 1)


def test_few_remedies_need_no_screening(examine):
    arm = FakeArm(a=1.0, b=0.5)
    repair_arms(arm, examine({(): [A, B]}), seeds=3)
    assert len(arm.calls) == 9


def test_proven_remedies_stack_until_nothing_is_wrong(examine):
    arm = FakeArm(a=1.0, b=0.5, c=0.0)
    offers = {(): [A], ("a",): [B, A], ("a", "b"): [C], ("a", "b", "c"): [D]}
    result = repair_arms(arm, examine(offers))
    assert [r.name for r in result.kept] == ["a", "b"]
    assert [p.verdict.outcome for p in result.proofs] == ["supported", "supported", "inconclusive"]
    assert result.code == "# a()\n\n# b()"
    assert "on top of a()" in result.proofs[1].verdict.statement


def test_all_rounds_together_keep_the_level(examine):
    """Round r spends 0.05 / 2^r, over two looks and its own finalists."""
    offers = {(): [A, B], ("a",): [C], ("a", "c"): [D]}
    result = repair_arms(FakeArm(a=1.0, b=0.5, c=0.5, d=0.5), examine(offers))
    spent = {proof.remedy.name: 1 - proof.verdict.level for proof in result.proofs}
    expected = {"a": 0.05 / 8, "b": 0.05 / 8, "c": 0.05 / 8, "d": 0.05 / 16}
    assert spent == pytest.approx(expected, rel=1e-9)


def test_cautions_are_tried_once_but_are_no_reason_to_go_on(examine):
    offers = {(): [A], ("a",): [B]}
    result = repair_arms(FakeArm(a=1.0, b=1.0), examine(offers, severity="caution"))
    assert [r.name for r in result.kept] == ["a"]


def test_the_gentler_remedy_is_kept_unless_the_bolder_is_better(examine):
    bold = remedy("norm", "architecture")
    for decades, winner in ((1.005, "a"), (1.5, "norm")):
        result = repair_arms(FakeArm(a=1.0, norm=decades), examine({(): [bold, A]}), limit=1)
        assert [r.name for r in result.kept] == [winner]


def test_nothing_proven_changes_nothing(examine):
    result = repair_arms(FakeArm(a=-1.0), examine({(): [A]}))
    assert (result.kept, result.after, result.code) == ((), None, "")
    assert "nothing proven" in str(result)


def test_a_healthy_case_takes_no_runs(examine):
    arm = FakeArm()
    result = repair_arms(arm, examine({}))
    assert (result.proofs, result.kept, arm.calls) == ((), (), [])


def test_one_broken_remedy_does_not_end_the_others(examine):
    arm = FakeArm(a=NotApplicable, b=RuntimeError, c=1.0)
    for finalists in (1, 3):  # with screening, and without
        result = repair_arms(arm, examine({(): [A, B, C]}), finalists=finalists)
        notes = {proof.remedy.name: proof.verdict.note for proof in result.proofs}
        assert notes["a"] == "not applicable: no such layer"
        assert notes["b"] == "the treated run failed: shapes do not fit"
        assert [r.name for r in result.kept] == ["c"]


def test_a_broken_case_is_no_remedys_fault(examine):
    def arm(remedies, seed):
        raise ValueError("bad data")

    with pytest.raises(ValueError, match="bad data"):
        repair_arms(arm, examine({(): [A]}))


def test_threads_give_what_one_after_the_other_gives(examine):
    offers = {(): [A, B, C], ("c",): [D]}
    alone = repair_arms(FakeArm(a=0.2, b=0.4, c=0.9, d=0.3), examine(offers))
    with ThreadPoolExecutor(3) as pool:
        arm = FakeArm(a=0.2, b=0.4, c=0.9, d=0.3)
        together = repair_arms(arm, examine(offers), executor=pool)
    one, two = alone.to_dict(), together.to_dict()
    assert one.pop("seconds") >= 0
    assert two.pop("seconds") >= 0
    assert one == two


def test_proofs_and_repairs_survive_saving(examine):
    result = repair_arms(FakeArm(a=1.0, b=math.nan), examine({(): [A, B]}))
    again = Repair.from_dict(result.to_dict())
    assert again.to_dict() == result.to_dict()
    assert str(again.proofs[0]) == str(result.proofs[0])
    assert isinstance(again.proofs[0], Proof)


# --- a real net -----------------------------------------------------------------------------------

DEPTH, WIDTH = 16, 24
_generator = torch.Generator().manual_seed(0)
X = torch.randn(256, 8, generator=_generator)
Y = (X @ torch.randn(8, 3, generator=_generator)).argmax(1)


def deep_net():
    """A deep ReLU net with PyTorch's default initialisation: it does not train."""
    layers = []
    for inputs in (8, *[WIDTH] * (DEPTH - 2)):
        layers += [nn.Linear(inputs, WIDTH), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 3))


RECIPE = Recipe(lr=0.01, momentum=0.9, batch_size=32, steps=80)
SICK = Case(deep_net, functional.cross_entropy, (X, Y), RECIPE, name="deep net")
KAIMING = Remedy(name="reinitialise", arguments={"scheme": "kaiming"}, touches="weights")


def test_a_deep_net_is_repaired():
    result = repair(SICK, steps=120)
    assert result.subject == result.checkup.subject == "deep net"
    assert result.checkup.problems
    assert len(result.kept) == 1
    assert not result.after.problems
    kept = next(p for p in result.proofs if p.remedy is result.kept[0])
    assert kept.verdict.outcome == "supported"
    assert kept.metrics[0].unit == "accuracy"
    assert kept.metrics[0].effect > 0.1
    assert result.code == kept.code


def test_a_proof_by_processes_is_the_same_as_one_by_one_to_the_last_digit():
    arm = case_arm(SICK, 15)
    alone = prove_arms(lambda *job: arm(*job), KAIMING, seeds=2, steps=15)
    with ProcessPoolExecutor(1) as pool:
        other = prove_arms(arm, KAIMING, seeds=2, steps=15, executor=pool)
    assert other.to_dict() == alone.to_dict()


def test_a_proof_in_which_runs_go_together_has_the_verdict_of_one_by_one():
    """Up to rounding: sums are taken in another order."""
    arm, said = case_arm(SICK, 40), []
    alone = prove_arms(lambda *job: arm(*job), KAIMING, seeds=4, steps=40)
    together = prove(KAIMING, SICK, seeds=4, steps=40, progress=lambda *a: said.append(a[0]))
    assert "trying 6 runs as one program" in said
    assert not any("one by one" in words for words in said)  # both arms, three seeds
    assert together.verdict.outcome == alone.verdict.outcome
    assert together.verdict.effect == pytest.approx(alone.verdict.effect, rel=1e-3)
    for one, other in zip(
        (*alone.before, *alone.after), (*together.before, *together.after), strict=True
    ):
        np.testing.assert_allclose(other.values, one.values, rtol=1e-4)
    assert "nn.init" in together.code


def test_both_arms_share_the_weights_that_the_remedy_leaves_alone_and_the_batches():
    change = Remedy(name="change_activation", arguments={"to": "gelu"}, touches="architecture")
    seen = []

    def loss(output, target):
        seen[-1].append(target)
        return functional.cross_entropy(output, target)

    arm = case_arm(SICK.replace(loss=loss), 5)
    for remedies in ((), (change,)):
        seen.append([])
        arm(remedies, 1)
    assert all(torch.equal(a, b) for a, b in zip(seen[0], seen[1][-5:], strict=True))


def test_the_case_and_the_random_state_stay_as_they_were():
    built = []

    def build():
        built.append(deep_net())
        return built[-1]

    torch.manual_seed(11)
    state = torch.get_rng_state()
    prove(KAIMING, SICK.replace(build=build), seeds=2, steps=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert len({id(model) for model in built}) == len(built)


def test_bad_input_is_one_sentence():
    with pytest.raises(ValueError, match="label 2 is out of range"):
        prove(KAIMING, SICK.replace(build=lambda: nn.Linear(8, 2)), seeds=2, steps=2)
    with pytest.raises(ValueError, match="no remedy is called 'reinitialize'"):
        prove(Remedy(name="reinitialize", touches="weights"), SICK, seeds=2, steps=2)


def test_an_objective_can_be_proven():
    loss = Objective(lambda model, batch: functional.cross_entropy(model(batch[0]), batch[1]))
    proof = prove(KAIMING, SICK.replace(loss=loss), seeds=2, steps=5)
    assert proof.metrics == ()
    assert len(proof.verdict.seeds) == 2
