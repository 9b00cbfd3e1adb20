"""A remedy as code to paste: plain PyTorch, with the numbers that it would use here."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from sounding.measure.readings import Readings
from sounding.remedies import (
    code_architecture,
    code_ends,
    code_norms,
    code_recipe,
    code_weights,
)
from sounding.remedies.code_weights import Given
from sounding.remedies.registry import REMEDIES, filled
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable

Writer = Callable[[Given, Readings | None], str]
FAMILIES: tuple[ModuleType, ...] = (
    code_recipe,
    code_weights,
    code_ends,
    code_norms,
    code_architecture,
)


def code(remedy: Remedy, readings: Readings | None = None) -> str:
    """Lines of PyTorch that do what `remedy` does, to be pasted where its comment says.

    Without a comment: after the model is built. With `readings` the examined model decides which
    layers are meant; without, there are dots, and all new weights get ReLU's gain.
    """
    if remedy.name not in REMEDIES:
        return f"# {remedy}"
    writer: Writer = next(vars(f)[remedy.name] for f in FAMILIES if remedy.name in vars(f))
    try:
        return writer(filled(remedy), readings)
    except NotApplicable as reason:
        return f"# {remedy}: {reason}"
