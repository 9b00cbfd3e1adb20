"""Every full scale's program, from its first run to its verdict, at sizes of no meaning.

The studies' own tests judge their measures; here it is that nothing of the way that only the full
scale takes is left for a GPU, or for an hour of computing, to find broken. Full scales that are run
by a test of their own study are not here.
"""

import functools
import importlib
import inspect

import numpy as np
import pytest

from sounding.studies import STUDIES, samples
from sounding.studies.lab import Lab

TINY = {
    "activation-gains": {"samples": 500, "seeds": (0, 1), "width": 16},
    "bhojanapalli-2016-sensing": {"runs": 2, "starts": 10},
    "choi-2019-inclusion": {"steps": 5, "seeds": (0, 1)},
    "choi-2019-tuned": {"images": 16, "trials": 2, "seeds": 2, "steps": 2, "plan": (2, 0, 2, 0)},
    "exploding-gradients": {"width": 16, "masked_width": 16, "depth": 12, "seeds": (0, 1)},
    "ge-2015-strict-saddle": {"samples": 600},
    "ge-2015-tensor": {"single": 5, "runs": 2},
    "ge-2016-completion": {"runs": 1, "few": 1},
    "glorot-2010-tanh": {"width": 16, "steps": 2, "lrs": (0.01, 0.1, 1.0)},
    "initial-scale": {"width": 16, "depth": 12, "seeds": (0, 1)},
    "jacobian-product": {"hidden": 3, "width": 6, "seeds": (0,)},
    "jin-2017-factorisation": {"runs": 2, "draws": 1},
    "jin-2017-perturbed-descent": {"runs": 2, "theorem": 2},
    "kawaguchi-2016-linear-networks": {"runs": 2, "data": 1},
    "layer-norm-rate": {"steps": 2, "width": 4, "seeds": (0, 1)},
    "lee-2016-saddles-avoided": {"starts": 50},
    "linear-convergence": {"kappas": (10.0,), "seeds": (0, 1)},
    "lu-2020-dying-relu": {"pairs": ((2, 2), (2, 5)), "nets": 50, "steps": 2, "width": 4},
    "mishkin-2016-lsuv": {"width": 16, "depth": 4, "training_width": 8, "steps": 25},
    "pascanu-2013-cliff": {"starts": 4, "recurrences": (20,)},
    "pascanu-2013-clipping": {"seeds": (0,)},
    "pytorch-default": {"width": 16, "depth": 5, "seeds": (0, 1)},
    "saturation": {"width": 4, "layers": 3, "steps": 25, "lrs": (0.01, 0.1, 1.0), "seeds": (0, 1)},
    "schoenholz-2017-depth": {"width": 8, "steps": 2, "depths": (3, 6), "random_width": 16,
                              "seeds": (0, 1)},
    "soltanolkotabi-2017-quadratic": {"runs": 1, "narrow": 1},
    "stable-step-depth": {"width": 8, "seeds": (0, 1)},
    "stationary-kinds": {"points": 4},
    "strict-saddles-polynomial-time": {"runs": 1},
    "wilson-2017-linear": {"sizes": {0.7: 20}, "seeds": (0, 1), "steps": 5, "batch_steps": 5},
    "yang-2022-coordinates": {"widths": (16, 32, 64), "steps": 2, "seeds": (0, 1)},
    "yang-2022-transfer": {"wide": 128, "steps": 2, "seeds": (0, 1)},
    "yun-2019-small-nonlinearity": {"samples": 40, "seeds": 6},
    "zero-initialisation": {"depths": (2,), "seeds": (0, 1), "steps": 11},
    "zhang-2020-clipping": {"starts": (3, 4, 5), "steps": 36, "seeds": (0, 1), "hidden": 4},
}  # fmt: skip
# whose least size takes seconds; no more than larger numbers for what the quick scale runs
SLOW = {
    "bhojanapalli-2016-sensing",
    "choi-2019-inclusion",
    "ge-2015-tensor",
    "ge-2016-completion",
    "jin-2017-factorisation",
    "jin-2017-perturbed-descent",
    "kawaguchi-2016-linear-networks",
    "lee-2016-saddles-avoided",
    "lu-2020-dying-relu",
    "soltanolkotabi-2017-quadratic",
    "strict-saddles-polynomial-time",
    "yang-2022-coordinates",
    "yun-2019-small-nonlinearity",
}
OUTCOMES = {"supported", "refuted", "inconclusive", "not tested"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in TINY]
)
def test_the_full_scale_comes_to_its_verdict(name, sixteen_images):
    claim = STUDIES[name]
    sizes = dict(TINY[name])
    if claim.smoke is not None:
        sixteen_images(samples, importlib.import_module(_function(claim.full).__module__), size=32)
        sizes["device"] = "cpu"
    lab = Lab(name, "full")
    verdicts, charts = claim.full(lab, **sizes)
    assert lab.done >= 1
    assert verdicts[0].outcome in OUTCOMES - {"not tested"}
    assert all(verdict.outcome in OUTCOMES for verdict in verdicts)
    for line in (line for chart in charts for line in chart.lines):
        assert len(line.x) == len(line.y) > 0
        assert np.all(np.isfinite(line.x))


def test_every_other_full_scale_is_run_by_a_test_of_its_own(request):
    tests = request.path.parent / "claims"
    for name in STUDIES.keys() - TINY.keys():
        file = _function(STUDIES[name].full).__module__.rpartition(".")[2]
        assert ".full(" in (tests / f"test_{file}.py").read_text(), name


def _function(full):
    return inspect.unwrap(full.func if isinstance(full, functools.partial) else full)


def test_a_larger_scale_has_a_criterion_with_its_own_sizes():
    """'5 seeds' under a verdict of 20 seeds would be false; one criterion names no sizes."""
    same = {n for n, claim in STUDIES.items() if claim.criterion_at("full") == claim.criterion}
    assert same == {"jacobian-product"}
