"""Small nets with known answers: sick ones for every rule, and healthy ones."""

from sounding.zoo.entry import Entry, visit
from sounding.zoo.healthy import HEALTHY
from sounding.zoo.sick import SICK

ZOO = (*SICK, *HEALTHY)

__all__ = ["HEALTHY", "SICK", "ZOO", "Entry", "visit"]
