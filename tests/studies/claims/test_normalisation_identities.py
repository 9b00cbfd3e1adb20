"""Identities of norms: all hold, and a norm that is another one is seen."""

from sounding.studies import study
from sounding.studies.claims import normalisation_identities as norms
from sounding.studies.lab import Lab


def test_the_claim_is_supported_at_the_quick_scale():
    result = study("normalisation-identities")
    assert {v.outcome for v in result.verdicts} == {"supported"}
    assert len(result.verdicts) == 1 + len(norms.IDENTITIES) + len(norms.BREAKS)


def test_rms_norm_in_the_place_of_layer_norm_is_refuted(monkeypatch):
    monkeypatch.setattr(norms, "_layer_norm", norms._rms_norm)
    verdicts, _ = norms.full(Lab(), seeds=(0, 1))
    refuted = {v.statement for v in verdicts[1:] if v.outcome == "refuted"}
    assert refuted == {norms.IDENTITIES[key] for key in ("layer norm", "RMS norm", "all rows")}


def test_the_usual_eps_breaks_the_identities(monkeypatch):
    monkeypatch.setattr(norms, "EPS", 1e-2)
    errors = norms.errors(0)
    assert min(errors[key] for key in ("whole matrix", "radial", "scaling")) > 1e-6


def test_only_the_scale_one_leaves_layer_norm_as_it_is():
    moved = norms.changes(0)
    middle = len(norms.SCALES) // 2
    assert moved["layer norm"][middle] < 1e-12
    assert moved["layer norm"][-1] > 0.1
    assert moved["batch norm"].max() < 1e-10
