"""SD609: a net with batch norm that is trained in evaluation mode."""

from __future__ import annotations

from sounding.measure.readings import Readings
from sounding.result import NotApplicable
from sounding.rules.blocked import looped
from sounding.rules.finding import Finding
from sounding.rules.harm import relief


def trained_in_evaluation_mode(readings: Readings) -> Finding | str | None:
    """SD609: batch norms that learn their scales never normalise by the batch.

    The model is in evaluation mode as it is trained, so its batch norms use running statistics,
    which nobody updates: those of the start, 0 and 1, normalise nothing. It is meant where a
    pre-trained net is tuned in small batches; so the same training with these norms in training
    mode (the test 'in_training') decides.
    """
    loop = looped(readings)
    norms = [c for c in readings.calls if c.operation == "batch_norm"]
    norms = [c for c in norms if f"{c.module}.weight" not in loop.frozen]
    if loop.training or not norms:
        if not any("BatchNorm" in mode for mode in loop.modes):
            raise NotApplicable("there is no batch norm with running statistics")
        return None
    found = relief(readings, "in_training")
    first = norms[0]
    if not found.harmful:
        return f"{first.name} is trained in evaluation mode; in training mode {found.said}"
    return Finding(
        code="SD609",
        name="trained-in-evaluation-mode",
        severity="problem",
        message=f"the model is trained in evaluation mode, so {first.name} and {len(norms) - 1} "
        f"other batch norms use statistics that nobody updates; in training mode {found.said}: "
        "call model.train() before the training, and again after every evaluation",
        layers=tuple(c.name for c in norms),
        source=first.source,
        measured={"in_training_mode": 0.0, **found.measured},
        expected={"in_training_mode": 1.0, **found.expected},
        confidence="measured",
    )
