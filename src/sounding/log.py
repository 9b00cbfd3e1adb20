"""Hand a number of your own to whoever watches the run; without a watcher nothing happens."""

from __future__ import annotations

from collections.abc import Callable

_listeners: list[Callable[[dict[str, float]], None]] = []


def log(**values: float) -> None:
    """Tell a watching `sounding run`, `prove` or `repair` about metrics of this step.

    More counts as better, unless the name says loss, error or perplexity.

    Example:
        >>> log(validation_accuracy=0.93)
    """
    for listener in _listeners:
        listener({name: float(value) for name, value in values.items()})


def listen(listener: Callable[[dict[str, float]], None]) -> Callable[[], None]:
    """Call `listener` with everything logged from now on; the returned function ends that."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)
