"""Watch a training from inside its process: what happens step by step, and what is kept of it."""

from sounding.watch.around import Watch, watch
from sounding.watch.sending import Logger, send
from sounding.watch.watched import Training, Watched, watched

__all__ = ["Logger", "Training", "Watch", "Watched", "send", "watch", "watched"]
