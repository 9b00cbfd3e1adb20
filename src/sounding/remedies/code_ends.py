"""Remedies for a net's inputs, outputs and embeddings as code to paste."""

from __future__ import annotations

from sounding.measure.readings import Readings
from sounding.remedies.code_weights import Given, as_tuple
from sounding.remedies.outputs import BINARY, LABELS
from sounding.remedies.selection import entrances, last_weight


def standardise_inputs(given: Given, readings: Readings | None) -> str:
    """Hooks on the first layers."""
    calls = readings.calls if readings is not None else ()
    found = [calls[at] for at in entrances(calls)]
    names = dict.fromkeys(call.module for call in found) or {"...": None}
    maps = any(call.operation.startswith("conv") for call in found)
    features = "x.transpose(0, 1).flatten(1).T" if maps else "x.flatten(0, -2)"
    shape = ".view(-1, *[1] * (args[0].dim() - 2))" if maps else ""
    return f"""\
def standardise(layer, args):
    mean, deviation = (t{shape} for t in (layer.input_mean, layer.input_deviation))
    return ((args[0] - mean) / deviation, *args[1:])

def measure(layer, args):
    x = args[0].detach()
    rows = {features}
    deviation = rows.std(0, correction=0)
    layer.register_buffer("input_mean", rows.mean(0))
    layer.register_buffer("input_deviation", torch.where(deviation > 0, deviation, 1.0))

for name in {as_tuple(names)}:
    layer = model.get_submodule(name)
    once = layer.register_forward_pre_hook(measure)
    with torch.no_grad():
        model(first_batch)  # training inputs, as many as fit
    once.remove()
    layer.register_forward_pre_hook(standardise)"""


def set_output_bias(given: Given, readings: Readings | None) -> str:
    """From all targets of the training set."""
    function = _function(readings)
    if function in LABELS:
        lines = [
            "counts = torch.bincount(targets.flatten(), minlength=layer.bias.numel())",
            "bias = ((counts + 0.5) / (counts + 0.5).sum()).log()",
        ]
    elif function in BINARY:
        lines = [
            "ones = targets.float().reshape(-1, layer.bias.numel())",
            "bias = ((ones.sum(0) + 0.5) / ((1 - ones).sum(0) + 0.5)).log()",
        ]
    else:
        lines = ["bias = targets.float().reshape(-1, layer.bias.numel()).mean(0)"]
    return "\n".join(
        [
            f"layer = model.get_submodule({_last(readings)!r})",
            *(f"{line}  # of the training set" if "targets" in line else line for line in lines),
            "with torch.no_grad():",
            "    layer.bias.copy_(bias)",
        ]
    )


def scale_last_layer(given: Given, readings: Readings | None) -> str:
    """In place."""
    return f"""\
layer = model.get_submodule({_last(readings)!r})
with torch.no_grad():
    for p in layer.parameters():
        p *= {given["factor"]!r}"""


def scale_output(given: Given, readings: Readings | None) -> str:
    """A hook on the last layer."""
    return f"""\
layer = model.get_submodule({_last(readings)!r})
layer.register_forward_hook(lambda _, __, output: {given["mean"]!r} + {given["std"]!r} * output)"""


def standardise_targets(given: Given, readings: Readings | None) -> str:
    """On the data's side."""
    mean, std = repr(given["mean"]), repr(given["std"])
    return f"""\
# the targets, before training; a prediction is then {mean} + {std} * model(inputs)
targets = (targets - {mean}) / {std}"""


def scale_embeddings(given: Given, readings: Readings | None) -> str:
    """In place, with rows of padding left at zero."""
    return f"""\
with torch.no_grad():
    for table in {{m.weight for m in model.modules() if isinstance(m, nn.Embedding)}}:
        table *= {given["std"]!r} / table[table.any(1)].std()"""


def _last(readings: Readings | None) -> str:
    at = -1 if readings is None else last_weight(readings.calls)
    return "..." if readings is None or at < 0 else readings.calls[at].module


def _function(readings: Readings | None) -> str:
    if readings is None:
        return LABELS[0]
    return readings.loss_call.function if readings.loss_call is not None else readings.loss_name
