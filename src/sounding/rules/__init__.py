"""The rules, in the order of their codes; a list that you can read is the registry."""

from sounding.rules.finding import Finding, Outcome
from sounding.rules.finite import nonfinite
from sounding.rules.initialisation import (
    initialisation_mismatch,
    symmetric_units,
    zero_initialisation,
)
from sounding.rules.propagation import (
    exploding_gradient,
    exploding_signal,
    vanishing_gradient,
    vanishing_signal,
)
from sounding.rules.rule import Rule, run
from sounding.rules.units import dead_units, saturated_units

RULES = (
    Rule("SD101", "non-finite", nonfinite),
    Rule("SD201", "vanishing-gradient", vanishing_gradient),
    Rule("SD202", "exploding-gradient", exploding_gradient),
    Rule("SD203", "dead-units", dead_units),
    Rule("SD204", "saturated-units", saturated_units),
    Rule("SD205", "vanishing-signal", vanishing_signal),
    Rule("SD206", "exploding-signal", exploding_signal),
    Rule("SD301", "zero-initialisation", zero_initialisation),
    Rule("SD302", "symmetric-units", symmetric_units),
    Rule("SD303", "initialisation-mismatch", initialisation_mismatch),
)

__all__ = ["RULES", "Finding", "Outcome", "Rule", "run"]
