"""Where many runs go: here, into processes of this machine, onto a cluster, into any executor."""

from sounding.engine.engines import ENGINES, opened
from sounding.engine.failures import WorkerDied
from sounding.engine.stream import results

__all__ = ["ENGINES", "WorkerDied", "opened", "results"]
