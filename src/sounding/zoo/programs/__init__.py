"""Whole training programs with known diagnoses: plain loops, as users write them."""

from sounding.zoo.programs.data import DATA
from sounding.zoo.programs.dropout import DROPOUT
from sounding.zoo.programs.evaluation import EVALUATION
from sounding.zoo.programs.finetuning import FINE_TUNED
from sounding.zoo.programs.gradients import GRADIENTS
from sounding.zoo.programs.initialisation import INITIALISATION
from sounding.zoo.programs.labels import LABELS
from sounding.zoo.programs.leaks import LEAKS
from sounding.zoo.programs.loops import LOOPS
from sounding.zoo.programs.loss import LOSS
from sounding.zoo.programs.loss_forms import LOSS_FORMS
from sounding.zoo.programs.loss_signs import LOSS_SIGNS
from sounding.zoo.programs.misplaced import MISPLACED
from sounding.zoo.programs.normalisation import NORMALISATION
from sounding.zoo.programs.numbers import NUMBERS
from sounding.zoo.programs.optimiser import OPTIMISER
from sounding.zoo.programs.outputs import OUTPUTS
from sounding.zoo.programs.ownership import OWNERSHIP
from sounding.zoo.programs.parts import PARTS
from sounding.zoo.programs.plateaus import PLATEAUS
from sounding.zoo.programs.rates import RATES
from sounding.zoo.programs.relapses import RELAPSES
from sounding.zoo.programs.signals import SIGNALS
from sounding.zoo.programs.spikes import SPIKES
from sounding.zoo.programs.stalls import STALLS
from sounding.zoo.programs.units import UNITS
from sounding.zoo.programs.unregistered import UNREGISTERED

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
    *LOOPS,
    *OWNERSHIP,
    *UNREGISTERED,
    *DATA,
    *LABELS,
    *RATES,
    *OPTIMISER,
    *SPIKES,
    *RELAPSES,
    *STALLS,
    *FINE_TUNED,
    *PLATEAUS,
    *NORMALISATION,
    *EVALUATION,
    *DROPOUT,
    *LEAKS,
    *MISPLACED,
    *PARTS,
)

__all__ = ["PROGRAMS"]
