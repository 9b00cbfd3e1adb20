"""Remedies for activations and dropout as code to paste."""

from __future__ import annotations

from collections.abc import Iterable

from sounding.measure.readings import Readings
from sounding.remedies.architecture import linear_places, output_activations
from sounding.remedies.code_weights import Given, as_list, drawing, plan_of

MODULES = {
    "relu": "nn.ReLU()",
    "leaky_relu": "nn.LeakyReLU(0.1)",
    "gelu": "nn.GELU()",
    "silu": "nn.SiLU()",
    "tanh": "nn.Tanh()",
    "elu": "nn.ELU()",
}
REPLACED = ("sigmoid", "tanh", "hardtanh", "hardsigmoid", "softsign", "relu", "relu6")


def change_activation(given: Given, readings: Readings | None) -> str:
    """Other modules, and weights that fit them."""
    modules = _activation_modules(readings)
    exchanged = putting(modules, MODULES[given["to"]])
    return "\n".join([exchanged, *drawing("kaiming", plan_of(readings, given["to"], modules))])


def add_activations(given: Given, readings: Readings | None) -> str:
    """Modules put behind others."""
    places = linear_places(readings.calls) if readings is not None else []
    return putting(places, f"nn.Sequential(layer, {MODULES[given['kind']]})")


def remove_output_activation(given: Given, readings: Readings | None) -> str:
    """Identities in the place of modules."""
    names = output_activations(readings.calls) if readings is not None else []
    return "# the loss is to be given the scores themselves\n" + putting(names, "nn.Identity()")


def set_dropout(given: Given, readings: Readings | None) -> str:
    """The shares of all modules that drop something."""
    return f"""\
for module in model.modules():
    if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
        module.p = {given["p"]!r}
    elif isinstance(module, (nn.RNNBase, nn.MultiheadAttention)) and module.dropout > 0:
        module.dropout = {given["p"]!r}"""


def putting(names: Iterable[str], new: str) -> str:
    """The lines that put `new`, an expression in `layer`, in the place of the modules `names`."""
    took = ["    layer = model.get_submodule(name)"] if "layer" in new else []
    lines = [
        f"for name in {as_list(names)}:",
        *took,
        "    parent, _, child = name.rpartition('.')",
        f"    setattr(model.get_submodule(parent), child, {new})",
    ]
    return "\n".join(lines)


def _activation_modules(readings: Readings | None) -> list[str]:
    if readings is None:
        return []
    weighted = [i for i, c in enumerate(readings.calls) if c.role == "weight"]
    last = weighted[-1] if weighted else -1
    hidden = [c for c in readings.calls[: last + 1] if c.operation in REPLACED]
    return list(dict.fromkeys(c.module for c in hidden if c.module and "#" not in c.name))
