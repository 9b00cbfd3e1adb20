"""The sizes of signal and gradient in every layer: little of an examination, for little time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sounding.capture.recorder import Recorder
from sounding.measure.blocks import sizes
from sounding.measure.readings import Readings


class Glance(NamedTuple):
    """One number a weighted call, in the order in which they ran; errors are one standard error."""

    layers: tuple[str, ...]  # (L,)
    signal: np.ndarray  # (L,) rms of the output
    signal_error: np.ndarray
    gradient: np.ndarray  # (L,) rms of the loss's gradient at the output
    gradient_error: np.ndarray


def glance(recorder: Recorder) -> Glance:
    """What a pass left behind; of several calls before one backward only the signal is known."""
    nodes = [node for node in recorder.nodes if node.role == "weight"]
    signal = sizes([node.output for node in nodes])
    gradient = sizes([None if recorder.cut else node.gradient for node in nodes])
    numbers = (signal.rms, signal.error, gradient.rms, gradient.error)
    return Glance(tuple(n.name for n in nodes), *(v.astype(np.float32) for v in numbers))




def glance_at(readings: Readings) -> Glance:
    """The same numbers out of a whole examination."""
    at = [i for i, call in enumerate(readings.calls) if call.role == "weight"]
    signal, back = readings.signal, readings.gradients
    none = np.full(len(readings.calls), np.nan)
    numbers = (
        signal.rms,
        signal.rms_error,
        none if back is None else back.rms,
        none if back is None else back.rms_error,
    )
    names = tuple(readings.calls[i].name for i in at)
    return Glance(names, *(values[at].astype(np.float32) for values in numbers))
