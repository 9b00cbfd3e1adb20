"""Sounding takes the depth of a deep network: why it trains badly, what repairs it, and the proof.

Public names are imported when they are first used, so that the command line can answer `--help`
without importing torch.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sounding import data, optim, problems
    from sounding.checkup import checkup
    from sounding.compare import Comparison, compare
    from sounding.curvature.density import Density, density
    from sounding.curvature.eigenpairs import (
        Eigenpairs,
        eigenpairs,
        extremes,
        negative_curvature,
    )
    from sounding.curvature.estimate import Estimate
    from sounding.curvature.fisher import empirical_fisher, fisher, gradient_covariance
    from sounding.curvature.functions import effective_dimension, log_determinant
    from sounding.curvature.gauss_newton import gauss_newton
    from sounding.curvature.hessian import hessian
    from sounding.curvature.monitor import SharpnessMonitor, SharpnessSeries
    from sounding.curvature.operator import Operator
    from sounding.curvature.sharpness import Sharpness, by_layer, sharpness
    from sounding.curvature.spectrum import Spectrum, spectrum
    from sounding.curvature.trace import frobenius_norm, trace
    from sounding.exam import Checkup
    from sounding.landscape.atlas import Atlas, atlas
    from sounding.landscape.escape import Escape, escape
    from sounding.landscape.paths import Path, path
    from sounding.landscape.stationary import stationary
    from sounding.landscape.stationary_point import StationaryPoint
    from sounding.landscape.surface import Surface, surface
    from sounding.load import load
    from sounding.log import log
    from sounding.measure.widths import CoordinateCheck, coordinate_check
    from sounding.objective import Objective
    from sounding.prove import Proof, Repair, prove, repair
    from sounding.rate_range import RateRange, rate_range
    from sounding.remedies import REMEDIES, Remedy
    from sounding.result import NotApplicable, Profile, Result, Series
    from sounding.rules import RULES, Finding, Rule
    from sounding.rules.pages import explain
    from sounding.studies import STUDIES, Study, study
    from sounding.train import Case, Recipe, Trial
    from sounding.verdict import Verdict, judge
    from sounding.view import report
    from sounding.watch import Watched, watch

__version__ = "0.1.0"

_HOMES = {
    "sounding.checkup": ("checkup",),
    "sounding.compare": ("Comparison", "compare"),
    "sounding.curvature.density": ("Density", "density"),
    "sounding.curvature.eigenpairs": (
        "Eigenpairs",
        "eigenpairs",
        "extremes",
        "negative_curvature",
    ),
    "sounding.curvature.estimate": ("Estimate",),
    "sounding.curvature.fisher": ("empirical_fisher", "fisher", "gradient_covariance"),
    "sounding.curvature.functions": ("effective_dimension", "log_determinant"),
    "sounding.curvature.gauss_newton": ("gauss_newton",),
    "sounding.curvature.hessian": ("hessian",),
    "sounding.curvature.monitor": ("SharpnessMonitor", "SharpnessSeries"),
    "sounding.curvature.operator": ("Operator",),
    "sounding.curvature.sharpness": ("Sharpness", "by_layer", "sharpness"),
    "sounding.curvature.spectrum": ("Spectrum", "spectrum"),
    "sounding.curvature.trace": ("frobenius_norm", "trace"),
    "sounding.exam": ("Checkup",),
    "sounding.landscape.paths": ("Path", "path"),
    "sounding.landscape.atlas": ("Atlas", "atlas"),
    "sounding.landscape.surface": ("Surface", "surface"),
    "sounding.landscape.escape": ("Escape", "escape"),
    "sounding.landscape.stationary": ("stationary",),
    "sounding.landscape.stationary_point": ("StationaryPoint",),
    "sounding.load": ("load",),
    "sounding.log": ("log",),
    "sounding.measure.widths": ("CoordinateCheck", "coordinate_check"),
    "sounding.objective": ("Objective",),
    "sounding.prove": ("Proof", "Repair", "prove", "repair"),
    "sounding.rate_range": ("RateRange", "rate_range"),
    "sounding.remedies": ("REMEDIES", "Remedy"),
    "sounding.result": ("NotApplicable", "Profile", "Result", "Series"),
    "sounding.rules": ("RULES", "Finding", "Rule"),
    "sounding.rules.pages": ("explain",),
    "sounding.studies": ("STUDIES", "Study", "study"),
    "sounding.train": ("Case", "Recipe", "Trial"),
    "sounding.verdict": ("Verdict", "judge"),
    "sounding.view": ("report",),
    "sounding.watch": ("Watched", "watch"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "REMEDIES",
    "RULES",
    "STUDIES",
    "Atlas",
    "Case",
    "Checkup",
    "Comparison",
    "CoordinateCheck",
    "Density",
    "Eigenpairs",
    "Escape",
    "Estimate",
    "Finding",
    "NotApplicable",
    "Objective",
    "Operator",
    "Path",
    "Profile",
    "Proof",
    "RateRange",
    "Recipe",
    "Remedy",
    "Repair",
    "Result",
    "Rule",
    "Series",
    "Sharpness",
    "SharpnessMonitor",
    "SharpnessSeries",
    "Spectrum",
    "StationaryPoint",
    "Study",
    "Surface",
    "Trial",
    "Verdict",
    "Watched",
    "atlas",
    "by_layer",
    "checkup",
    "compare",
    "coordinate_check",
    "data",
    "density",
    "effective_dimension",
    "eigenpairs",
    "empirical_fisher",
    "escape",
    "explain",
    "extremes",
    "fisher",
    "frobenius_norm",
    "gauss_newton",
    "gradient_covariance",
    "hessian",
    "judge",
    "load",
    "log",
    "log_determinant",
    "negative_curvature",
    "optim",
    "path",
    "problems",
    "prove",
    "rate_range",
    "repair",
    "report",
    "sharpness",
    "spectrum",
    "stationary",
    "study",
    "surface",
    "trace",
    "watch",
]


class _Package(types.ModuleType):
    """A package in which the function `checkup` is not hidden by its own file `checkup.py`.

    Importing a submodule binds it as an attribute of its package; where a public function has the
    same name, the function is bound.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, types.ModuleType) and _HOME.get(name) == value.__name__:
            value = getattr(value, name)
        super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    if name in ("data", "optim", "problems"):
        return importlib.import_module(f"sounding.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'sounding' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


sys.modules[__name__].__class__ = _Package
