"""Studies: claims of the literature, measured on this machine and judged."""

from sounding.studies.catalogue import STUDIES, finished, study, version_of
from sounding.studies.study import Claim, Studies, Study

__all__ = ["STUDIES", "Claim", "Studies", "Study", "finished", "study", "version_of"]
