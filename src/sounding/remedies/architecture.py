"""Remedies that touch what stands between and behind the layers: activations and dropout."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from sounding.remedies.norms import put
from sounding.remedies.selection import Steps, attention_weights, behind_last, linear_pairs
from sounding.remedies.weights import Trace, draw, drawable
from sounding.result import NotApplicable

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.1),
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
}
REPLACED = (nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardsigmoid, nn.Softsign, nn.ReLU, nn.ReLU6)
OUTPUTS = (nn.Softmax, nn.Softmax2d, nn.Softplus, *REPLACED)  # that a loss may not want
OPERATIONS = (
    *("softmax", "softplus", "sigmoid", "tanh", "hardtanh", "hardsigmoid", "softsign"),
    *("relu", "relu6"),
)


def change_activation(model: nn.Module, trace: Trace, *, to: str = "relu") -> None:
    """Replace activation modules between layers, in place, and fit the weights before them.

    Touches the architecture. An output activation behind the last weights stays. The weights of the
    layers are drawn anew with the gain that the new activation needs (as `reinitialise` does),
    because another slope asks for another scale.

    Raises:
        ValueError: If `to` is unknown.
        NotApplicable: If the activations are functional calls: only the code can change those.
    """
    _check_activation(to)
    nodes = trace()
    last = max((n.index for n in nodes if n.role == "weight"), default=-1)
    hidden = {n.module for n in nodes if n.role == "activation" and n.index < last}
    replaced = [n for n in sorted(hidden) if isinstance(model.get_submodule(n), REPLACED)]
    if not replaced:
        raise NotApplicable("the activations are functional calls; change them in the code")
    for name in replaced:
        put(model, name, ACTIVATIONS[to]().train(model.get_submodule(name).training))
    for found in drawable(model, trace()):
        draw(found, "kaiming")


def add_activations(model: nn.Module, trace: Trace, *, kind: str = "relu") -> None:
    """Put an activation between layers that follow each other with nothing but linear maps between.

    Touches the architecture. Such a stack is one linear map, however deep. Where a normalisation
    follows a layer the activation goes behind it. Layers around an attention, at the end of a
    residual branch, or without a module that could be wrapped are left alone.

    Raises:
        ValueError: If `kind` is unknown.
        NotApplicable: If there is no such pair of layers.
    """
    _check_activation(kind)
    places = linear_places(trace())
    places = [name for name in places if not isinstance(model.get_submodule(name), nn.Sequential)]
    if not places:
        raise NotApplicable("no layer follows another with nothing but linear maps between")
    for name in places:
        layer = model.get_submodule(name)
        put(model, name, nn.Sequential(layer, ACTIVATIONS[kind]()).train(layer.training))


def linear_places(steps: Steps) -> list[str]:
    """The modules behind which an activation is missing."""
    around = attention_weights(steps)
    found = {}
    for index, end in linear_pairs(steps):
        alone = "#" not in steps[index].name and "#" not in steps[end].name
        if steps[index].weight not in around and steps[end].module and alone:
            found[steps[end].module] = None
    return list(found)


def remove_output_activation(model: nn.Module, trace: Trace) -> None:
    """The softmax, sigmoid, ReLU or the like behind the last weights becomes an identity.

    Touches the architecture. For losses that apply their own (cross-entropy, the one with logits),
    and for targets outside of the activation's range. A log-softmax stays: the losses that follow
    it want it, or are not changed by it.

    Raises:
        NotApplicable: If there is none, or it is a functional call: only the code can change that.
    """
    nodes = trace()
    found = [name for name in output_activations(nodes) if _is(model, name, OUTPUTS)]
    if not found:
        raise NotApplicable("no activation module stands behind the last weights")
    for name in found:
        put(model, name, nn.Identity().train(model.get_submodule(name).training))


def output_activations(steps: Steps) -> list[str]:
    """The modules of activations behind the last weights, each once."""
    behind = [steps[index] for index in behind_last(steps)]
    own = (s for s in behind if s.operation in OPERATIONS and s.module and "#" not in s.name)
    return list(dict.fromkeys(step.module for step in own))


def set_dropout(model: nn.Module, *, p: float = 0.1) -> None:
    """Every dropout that drops something drops this share.

    Touches the architecture. Modules of dropout, and the dropout inside recurrent layers and
    attentions of torch's.

    Raises:
        ValueError: If `p` is not in [0, 1].
        NotApplicable: If there is none, or it is a functional call.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p is {p!r}; a share of dropped units lies between 0 and 1")
    modules = [m for m in model.modules() if isinstance(m, _DropoutNd) and m.p > 0]
    inner = [m for m in model.modules() if isinstance(m, nn.RNNBase | nn.MultiheadAttention)]
    inner = [m for m in inner if m.dropout > 0]
    for module in modules:
        module.p = p
    for module in inner:
        module.dropout = p
    if not modules and not inner:
        raise NotApplicable("no dropout module drops anything; look for functional calls")


def _check_activation(kind: str) -> None:
    if kind not in ACTIVATIONS:
        raise ValueError(f"no activation is called {kind!r}; there are {', '.join(ACTIVATIONS)}")


def _is(model: nn.Module, name: str, kinds: tuple[type, ...]) -> bool:
    return isinstance(model.get_submodule(name), kinds)
