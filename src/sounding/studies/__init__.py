"""Studies: claims of the literature, measured on this machine and judged."""

from sounding.studies.catalogue import STUDIES, study
from sounding.studies.study import Claim, Study

__all__ = ["STUDIES", "Claim", "Study", "study"]
