"""Remedies: changes that can be applied to a case or a model, and printed as code.

Every remedy is data (:class:`Remedy`: a name and arguments). `treat` applies it to a model in
place, `apply` to a case (whose builds are then treated), `code` prints it.
"""

from sounding.remedies.apply import REMEDIES, apply, treat
from sounding.remedies.code import code
from sounding.remedies.remedy import Remedy

__all__ = ["REMEDIES", "Remedy", "apply", "code", "treat"]
