"""Whole training programs with known diagnoses: plain loops, as users write them."""

from sounding.zoo.programs.gradients import GRADIENTS
from sounding.zoo.programs.initialisation import INITIALISATION
from sounding.zoo.programs.loss import LOSS
from sounding.zoo.programs.loss_forms import LOSS_FORMS
from sounding.zoo.programs.loss_signs import LOSS_SIGNS
from sounding.zoo.programs.numbers import NUMBERS
from sounding.zoo.programs.outputs import OUTPUTS
from sounding.zoo.programs.signals import SIGNALS
from sounding.zoo.programs.units import UNITS

PROGRAMS = (
    *NUMBERS,
    *GRADIENTS,
    *SIGNALS,
    *UNITS,
    *INITIALISATION,
    *OUTPUTS,
    *LOSS,
    *LOSS_FORMS,
    *LOSS_SIGNS,
)

__all__ = ["PROGRAMS"]
