"""SD413: layers in a row with nothing between them that bends the signal."""

from __future__ import annotations

from sounding.measure.readings import Call, Readings
from sounding.remedies.remedy import Remedy
from sounding.rules.finding import Finding
from sounding.rules.harm import relief
from sounding.rules.trunk import POOLS

ADD = Remedy(name="add_activations", arguments={"kind": "relu"}, touches="architecture")
LAYERS = ("linear", "conv1d", "conv2d", "conv3d")
TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
# Sums with fixed coefficients, as far as the operation's name tells; the fork decides anyway.
LINEAR = {
    *LAYERS, *TRANSPOSED, "matmul", "mm", "addmm", "einsum", "embedding", "embedding_bag", "add",
    "sub", "rsub", "neg", "div", "mul", "mean", "sum", "cat", "concat", "concatenate", "stack",
    "getitem", "select", "narrow", "index_select", "chunk", "split", "unbind", "pad", "expand",
    "repeat", "roll", "flip", "unfold", "fold", "interpolate", "upsample", "dropout", "dropout1d",
    "dropout2d", "dropout3d", "feature_dropout", "batch_norm",
}  # fmt: skip


def linear_network(readings: Readings) -> Finding | str | None:
    """SD413: two layers or more and no non-linearity, where the same training with ReLUs learns.

    From the executed calls: every one between input and loss is a weighted sum, a rearrangement,
    dropout or batch norm, so the whole is one linear map of its input. Linear on purpose
    (embeddings, factorisation, a linear autoencoder) is refuted by the fork 'rectified'.
    """
    calls = [c for c in readings.calls if c.role not in ("input", "loss")]
    layers = [c for c in calls if c.operation in (*LAYERS, *TRANSPOSED) and c.role == "weight"]
    if len(layers) < 2 or not all(_linear(readings, call) for call in calls[:-1]):
        return None
    said = f"{len(layers)} layers and no activation between them are one linear map"
    found = relief(readings, "rectified")
    if not found.harmful:
        return f"{said}; with a ReLU behind each, {found.said}"
    return Finding(
        code="SD413",
        name="linear-network",
        severity="problem",
        message=f"{said}; with a ReLU behind each but the last {found.said}: "
        "put an activation between the layers",
        layers=tuple(c.name for c in layers[:-1]),
        source=layers[0].source,
        measured={"activations": 0.0, **found.measured},
        expected={"activations": float(len(layers) - 1), **found.expected},
        confidence="measured",
        remedies=(ADD,),
    )


def _linear(readings: Readings, call: Call) -> bool:
    """Whether the call is linear in what depends on the input; a product of two such is not."""
    if call.operation in ("mul", "div", "matmul", "mm", "einsum"):
        return len(call.inputs) == 1
    pooled = "max" not in call.operation and any(word in call.operation for word in POOLS)
    return pooled or call.operation in LINEAR
