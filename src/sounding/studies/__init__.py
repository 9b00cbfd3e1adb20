"""Studies: claims of the literature, measured on this machine and judged.

The catalogue of all of them is read when it is first asked for: what only looks at a Study needs
none of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sounding.studies.claim import Claim, Studies, Study

if TYPE_CHECKING:
    from sounding.studies.catalogue import STUDIES, finished, study, version_of

__all__ = ["STUDIES", "Claim", "Studies", "Study", "finished", "study", "version_of"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("sounding.studies.catalogue"), name)
    raise AttributeError(f"module 'sounding.studies' has no attribute {name!r}")
