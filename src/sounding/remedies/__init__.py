"""Remedies: changes that can be applied to a case, a model or an optimiser, and printed as code.

Every remedy is data (:class:`Remedy`: a name and arguments). `treat` applies it in place, `apply`
to a case (whose builds and optimisers are then treated), `code` prints it.
"""

from sounding.remedies.apply import apply, treat, treat_training
from sounding.remedies.code import code
from sounding.remedies.registry import REMEDIES, TOUCHES, prescribe
from sounding.remedies.remedy import Remedy

__all__ = [
    "REMEDIES",
    "TOUCHES",
    "Remedy",
    "apply",
    "code",
    "prescribe",
    "treat",
    "treat_training",
]
