"""What runs and studies leave behind, and the version of the code that made it."""

from sounding.store.key import Key
from sounding.store.store import FinishedStudy, Merged, Row, Store
from sounding.store.version import code_that_matters, code_version

__all__ = [
    "FinishedStudy",
    "Key",
    "Merged",
    "Row",
    "Store",
    "code_that_matters",
    "code_version",
]
