"""Remedies for the weights as code to paste."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sounding.measure.readings import Call, Readings
from sounding.remedies.fixup import fixup_factors
from sounding.remedies.selection import follower, layers, selected
from sounding.theory.activations import activation
from sounding.theory.initialisation import required_gain

Given = Mapping[str, Any]  # a remedy's arguments

TYPES = ("Linear", "Conv1d", "Conv2d", "Conv3d")
SLOPE = {"leaky_relu": {"slope": 0.1}}  # arguments of those that differ from torch's defaults


class Plan(NamedTuple):
    """What the code has to know of the layers, by their names."""

    gains: dict[str, str]  # of the layers that are drawn, as expressions
    kept: tuple[str, ...] = ()  # those that are left alone
    fans: Mapping[str, tuple[float, float]] = {}  # (in, out) of convolutions
    transposed: Mapping[str, str] = {}  # dimension of transposed convolutions: '2d'


def reinitialise(given: Given, readings: Readings | None) -> str:
    """New values, with the gain that each layer needs."""
    scheme = given["scheme"]
    head = f"# {scheme}, with the gain of the activation behind each layer; biases 0"
    if scheme != "fixup":
        return "\n".join([head, *drawing(scheme, plan_of(readings))])
    calls = () if readings is None else readings.calls
    factors = fixup_factors(calls) if calls else {}
    named: dict[float, list[str]] = defaultdict(list)
    for at, factor in sorted(factors.items()):
        named[factor].append(_layer(calls[at]))
    scaled = [
        "    for factor, names in {  # ends of branches, and the head: 0",
        *(line for factor, names in named.items() for line in _entry(factor, names)),
        "    }.items():",
        "        for name in names.split():",
        "            model.get_submodule(name).weight *= factor",
    ]
    return "\n".join([head, *drawing("kaiming", plan_of(readings, zeros=True)), *scaled])


def _entry(factor: float, names: list[str]) -> list[str]:
    """An entry of a dictionary, the names as one string over as many lines as it takes."""
    lines = textwrap.wrap(" ".join(names), 80, break_long_words=False, break_on_hyphens=False)
    parts = [f"            {line + ' '!r}" for line in lines]
    return [f"        {factor:.6g}:", *parts[:-1], parts[-1] + ","]


def drawing(scheme: str, plan: Plan) -> list[str]:
    """The lines that draw the weights of `plan`."""
    body = [f"gain = {_choice(plan.gains)}"] if scheme not in ("xavier", "lecun") else []
    body += [*_fans(scheme, plan), *_fill(scheme)]
    body += ["if layer.bias is not None:", "    nn.init.zeros_(layer.bias)"]
    return [
        *_kept(plan),
        "with torch.no_grad():",
        "    for name, layer in model.named_modules():",
        f"        if {_condition(plan)}:",
        *(f"            {line}" for line in body),
    ]


def _fans(scheme: str, plan: Plan) -> list[str]:
    into, out = "layer.weight[0].numel()", "layer.weight.shape[0] * layer.weight[0][0].numel()"
    outwards = scheme in ("kaiming_fan_out", "xavier")
    odd = {n: f for n, f in plan.fans.items() if outwards or n in plan.transposed}
    if odd:
        return [f"fan_in, fan_out = {odd!r}.get(name, ({into}, {out}))"]
    lines = [f"fan_in = {into}"] if scheme != "kaiming_fan_out" else []
    return lines + ([f"fan_out = {out}"] if outwards else [])


def _fill(scheme: str) -> list[str]:
    if scheme == "orthogonal":
        return [
            "longer = max(layer.weight.shape[0], layer.weight[0].numel())",
            "nn.init.orthogonal_(layer.weight, gain * (longer / fan_in) ** 0.5)",
        ]
    deviation = {
        "xavier": "(2 / (fan_in + fan_out)) ** 0.5",
        "lecun": "fan_in**-0.5",
        "kaiming_fan_out": "gain / fan_out**0.5",
    }.get(scheme, "gain / fan_in**0.5")
    return [f"nn.init.normal_(layer.weight, std={deviation})"]


def data_driven_init(given: Given, readings: Readings | None) -> str:
    """LSUV, in plain hooks."""
    plan = plan_of(readings)
    kept = "".join(f"{line}\n" for line in _kept(plan))
    return f"""\
# LSUV (Mishkin and Matas 2016): orthogonal weights, scaled to unit output variance on one batch
settled = set()

def unit_variance(layer, args, output):
    if layer in settled:
        return output
    settled.add(layer)
    with torch.no_grad():
        for _ in range(10):
            std = output.std()
            if std == 0 or abs(std - 1) < 0.005:
                break
            layer.weight /= std
            output = layer.forward(*args)
    return output

{kept}hooks = []
for name, layer in model.named_modules():
    if {_condition(plan)}:
        nn.init.orthogonal_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        hooks.append(layer.register_forward_hook(unit_variance))
with torch.no_grad():
    model(first_batch)  # one batch of your training inputs
for hook in hooks:
    hook.remove()"""


def _kept(plan: Plan) -> list[str]:
    return [f"kept = {as_tuple(plan.kept)}"] if plan.kept else []


def _condition(plan: Plan) -> str:
    more = sorted({f"ConvTranspose{dimension}" for dimension in plan.transposed.values()})
    types = ", ".join(f"nn.{kind}" for kind in (*TYPES, *more))
    return f"isinstance(layer, ({types}))" + (" and name not in kept" if plan.kept else "")


def _choice(gains: dict[str, str]) -> str:
    """An expression in `name` for the gain: the most frequent one, and the exceptions from it."""
    by_gain: dict[str, list[str]] = defaultdict(list)
    for name, gain in gains.items():
        by_gain[gain].append(name)
    usual, *others = sorted(by_gain, key=lambda gain: -len(by_gain[gain])) or ["2**0.5"]
    if not others:
        return usual
    if len(others) == 1:
        return f"{others[0]} if name in {as_tuple(by_gain[others[0]])} else {usual}"
    pairs = (f"{name!r}: {gain}" for gain in others for name in by_gain[gain])
    return f"{{{', '.join(pairs)}}}.get(name, {usual})"


def plan_of(
    readings: Readings | None,
    new: str = "",
    replaced: Iterable[str] = (),
    *,
    zeros: bool = False,
) -> Plan:
    """The layers to draw; activations of the modules `replaced` are `new` ones by then."""
    if readings is None:
        return Plan({"": _gain(new or "relu", SLOPE.get(new, {}))})
    calls, chosen = readings.calls, _chosen(readings, zeros=zeros)
    gains = {}
    for index in chosen:
        after = follower(calls, index)
        kind, arguments = ("identity", {})
        if after >= 0 and new and calls[after].module in replaced:
            kind, arguments = new, SLOPE.get(new, {})
        elif after >= 0:
            kind, arguments = calls[after].operation, calls[after].arguments
        gains[_layer(calls[index])] = _gain(kind, arguments)
    # a tied weight has the name of its first owner, so the layer that uses it is kept by its own
    kept = dict.fromkeys(name for i in layers(calls) for name in _names(calls[i]))
    found = [calls[i] for i in chosen]
    return Plan(
        gains,
        tuple(name for name in kept if name not in gains),
        {_layer(c): (c.fan_in, c.fan_out) for c in found if c.operation.startswith("conv")},
        {_layer(c): c.operation[-2:] for c in found if "transpose" in c.operation},
    )


def _chosen(readings: Readings, *, zeros: bool) -> list[int]:
    """The calls that `reinitialise` would choose, as far as their layers have a name."""
    weights, gradients = readings.weights, readings.gradients
    moments = zip(weights.parameters, weights.second_moment, strict=True)
    zero = {name for name, moment in moments if moment == 0 and not zeros}
    trainable = set(gradients.parameters if gradients is not None else weights.parameters)
    chosen = selected(readings.calls, zero=zero, trainable=trainable)
    return [i for i in chosen if readings.calls[i].weight.endswith(".weight")]


def _gain(kind: str, arguments: dict[str, float]) -> str:
    named = {"identity": "1.0", "relu": "2**0.5"}
    return named.get(kind) or f"{required_gain(activation(kind, **arguments)):.6g}"


def _layer(call: Call) -> str:
    return call.weight.removesuffix(".weight")


def _names(call: Call) -> tuple[str, ...]:
    return (_layer(call),) if "#" in call.name else (_layer(call), call.module)


def as_list(names: Iterable[str]) -> str:
    """As Python writes a list."""
    return f"[{', '.join(map(repr, names)) or '...'}]"


def as_tuple(names: Iterable[str]) -> str:
    """As Python writes a tuple."""
    inside = [repr(name) for name in names]
    return f"({', '.join(inside)}{',' if len(inside) == 1 else ''})"
