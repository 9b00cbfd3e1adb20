"""A remedy as code to paste: plain PyTorch, with the numbers that it would use here."""

from __future__ import annotations

from sounding.measure.readings import Readings
from sounding.remedies.remedy import Remedy

GAINS = {"relu": "relu", "leaky_relu": "leaky_relu", "tanh": "tanh", "sigmoid": "sigmoid"}


def code(remedy: Remedy, readings: Readings | None = None) -> str:
    """Lines of PyTorch that do what `remedy` does, to be pasted after the model is built.

    With `readings` the activation of the examined model decides the gain; without, ReLU.
    """
    writer = {
        "reinitialise": _reinitialise,
        "data_driven_init": _data_driven_init,
        "change_activation": _change_activation,
        "insert_norm": _insert_norm,
    }.get(remedy.name)
    return writer(remedy, readings) if writer else f"# {remedy}"


def _reinitialise(remedy: Remedy, readings: Readings | None) -> str:
    scheme = str(remedy.arguments.get("scheme", "kaiming"))
    following = _activations(readings)
    lines = [f"# {scheme}, with the gain of the activation behind each layer; biases 0"]
    output = _output_weights(readings)
    lines += ["with torch.no_grad():", "    for name, layer in model.named_modules():"]
    lines += ["        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):"]
    gain = _gain(following)
    if output:
        names = ", ".join(repr(name) for name in output)
        trail = "," if len(output) == 1 else ""
        lines += [f"            gain = 1.0 if name in ({names}{trail}) else {gain}"]
    else:
        lines += [f"            gain = {gain}"]
    lines += [f"            {line}" for line in _fill(scheme)]
    lines += ["            if layer.bias is not None:"]
    lines += ["                nn.init.zeros_(layer.bias)"]
    return "\n".join(lines)


def _fill(scheme: str) -> list[str]:
    if scheme == "orthogonal":
        return [
            "fan_in = layer.weight[0].numel()",
            "wide = max(layer.weight.shape[0] / fan_in, 1)",
            "nn.init.orthogonal_(layer.weight, gain * wide**0.5)",
        ]
    if scheme == "xavier":
        return ["nn.init.xavier_normal_(layer.weight)"]
    if scheme == "lecun":
        return ["nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)"]
    if scheme == "kaiming_fan_out":
        return [
            "fan_out = layer.weight.shape[0] * layer.weight[0][0].numel()",
            "nn.init.normal_(layer.weight, std=gain * fan_out**-0.5)",
        ]
    return [
        "fan_in = layer.weight[0].numel()",
        "nn.init.normal_(layer.weight, std=gain / fan_in**0.5)",
    ]


def _data_driven_init(remedy: Remedy, readings: Readings | None) -> str:
    return """\
# LSUV (Mishkin and Matas 2016): orthogonal weights, scaled to unit output variance on one batch
def unit_variance(layer, args, output):
    with torch.no_grad():
        for _ in range(10):
            std = output.std()
            if std == 0 or abs(std - 1) < 0.005:
                break
            layer.weight /= std
            output = layer.forward(*args)
    return output

hooks = []
for layer in model.modules():
    if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        nn.init.orthogonal_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        hooks.append(layer.register_forward_hook(unit_variance))
with torch.no_grad():
    model(first_batch)  # one batch of your training inputs
for hook in hooks:
    hook.remove()"""


def _change_activation(remedy: Remedy, readings: Readings | None) -> str:
    new = {
        "relu": "nn.ReLU()",
        "leaky_relu": "nn.LeakyReLU(0.1)",
        "gelu": "nn.GELU()",
        "silu": "nn.SiLU()",
        "tanh": "nn.Tanh()",
        "elu": "nn.ELU()",
    }[str(remedy.arguments.get("to", "relu"))]
    modules = _activation_modules(readings)
    named = f"[{', '.join(repr(m) for m in modules)}]" if modules else "[...]  # the hidden ones"
    head = (
        f"for name in {named}:\n"
        "    parent, _, child = name.rpartition('.')\n"
        f"    setattr(model.get_submodule(parent), child, {new})\n"
    )
    kaiming = Remedy(name="reinitialise", arguments={"scheme": "kaiming"}, touches="weights")
    return head + _reinitialise(kaiming, None)


def _insert_norm(remedy: Remedy, readings: Readings | None) -> str:
    kind = str(remedy.arguments.get("kind", "batch"))
    layers = _normed_layers(readings)
    named = f"[{', '.join(repr(m) for m in layers)}]" if layers else "[...]  # before activations"
    norm = {
        "batch": "nn.BatchNorm1d(layer.out_features)",
        "layer": "nn.LayerNorm(layer.out_features)",
    }.get(kind, "nn.GroupNorm(8, layer.out_channels)")
    if readings is not None and any(c.operation == "conv2d" for c in readings.path_calls()):
        norm = {
            "batch": "nn.BatchNorm2d(layer.out_channels)",
            "instance": "nn.InstanceNorm2d(layer.out_channels, affine=True)",
        }.get(kind, "nn.GroupNorm(1, layer.out_channels)")
    return (
        f"for name in {named}:\n"
        "    layer = model.get_submodule(name)\n"
        "    parent, _, child = name.rpartition('.')\n"
        f"    setattr(model.get_submodule(parent), child, nn.Sequential(layer, {norm}))"
    )


def _activations(readings: Readings | None) -> set[str]:
    if readings is None:
        return {"relu"}
    return {c.activation for c in readings.path_calls() if c.activation} or {"identity"}


def _gain(following: set[str]) -> str:
    """The gain's expression; one activation in the common case, else the first by name."""
    from sounding.theory.activations import activation
    from sounding.theory.initialisation import required_gain

    name = sorted(following)[0]
    if name == "relu":
        return "2**0.5"
    return f"{required_gain(activation(name)):.4g}"


def _output_weights(readings: Readings | None) -> list[str]:
    if readings is None:
        return []
    calls = [c for c in readings.calls if c.role == "weight" and c.weight.endswith(".weight")]
    plain = [c for c in calls if not c.activation and c.operation in ("linear", "conv2d")]
    return list(dict.fromkeys(c.module for c in plain))


def _activation_modules(readings: Readings | None) -> list[str]:
    if readings is None or not readings.path:
        return []
    last = readings.path[-1]
    hidden = [c for i, c in enumerate(readings.calls) if c.role == "activation" and i < last]
    return list(dict.fromkeys(c.module for c in hidden if "#" not in c.name))


def _normed_layers(readings: Readings | None) -> list[str]:
    if readings is None:
        return []
    calls = [c for c in readings.path_calls() if c.activation and c.module]
    return list(dict.fromkeys(c.module for c in calls))
