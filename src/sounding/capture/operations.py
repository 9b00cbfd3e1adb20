"""Which torch functions are weights, activations, normalisations, skips, or mere reshapes."""

from __future__ import annotations

from typing import Any

import torch

# Weighted operations: position of the weight and of the bias among the arguments.
WEIGHTED = {
    "linear": (1, 2),
    "conv1d": (1, 2),
    "conv2d": (1, 2),
    "conv3d": (1, 2),
    "conv_transpose1d": (1, 2),
    "conv_transpose2d": (1, 2),
    "conv_transpose3d": (1, 2),
    "embedding": (1, None),
    "embedding_bag": (1, None),
}
PRODUCTS = {"matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "addmm", "einsum"}

# Activations by torch's function name; the values are names known to sounding.theory.
ACTIVATIONS = {
    "relu": "relu",
    "leaky_relu": "leaky_relu",
    "rrelu": "leaky_relu",
    "prelu": "leaky_relu",
    "elu": "elu",
    "selu": "selu",
    "celu": "celu",
    "gelu": "gelu",
    "silu": "silu",
    "mish": "mish",
    "softplus": "softplus",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "hardtanh": "hardtanh",
    "relu6": "relu6",
    "hardsigmoid": "hardsigmoid",
    "hardswish": "hardswish",
    "softsign": "softsign",
    "logsigmoid": "logsigmoid",
    "erf": "erf",
}
RECTIFIERS = {"relu", "relu6"}  # exactly zero on a half line, so a unit can be dead

NORMALISATIONS = {
    "batch_norm",
    "layer_norm",
    "group_norm",
    "instance_norm",
    "rms_norm",
    "local_response_norm",
    "normalize",
}
ADDITIONS = {"add", "__add__", "__radd__", "__iadd__"}
ATTENTION = {"scaled_dot_product_attention", "multi_head_attention_forward"}

# The same numbers in another shape or type: the call before them made these values.
PASSING = {
    "view",
    "reshape",
    "flatten",
    "unflatten",
    "permute",
    "transpose",
    "t",
    "swapaxes",
    "swapdims",
    "movedim",
    "unsqueeze",
    "squeeze",
    "contiguous",
    "clone",
    "to",
    "float",
    "double",
    "half",
    "bfloat16",
    "type",
    "type_as",
    "cpu",
    "cuda",
    "view_as",
    "reshape_as",
    "detach",
    "requires_grad_",
    "channel_shuffle",
    "pixel_shuffle",
    "pixel_unshuffle",
    "__get__",
}
DROPOUTS = {"dropout", "alpha_dropout", "feature_alpha_dropout", "dropout1d", "dropout2d", "dropout3d"}

# Questions about a tensor, answered without making one: nothing to record.
QUESTIONS = {
    "size",
    "dim",
    "numel",
    "is_contiguous",
    "stride",
    "ndimension",
    "element_size",
    "data_ptr",
    "register_hook",
    "__len__",
    "__bool__",
    "item",
    "tolist",
    "is_floating_point",
    "is_complex",
    "__repr__",
    "__format__",
    "backward",
}


def base_name(name: str) -> str:
    """The operation behind its in-place form: ``relu_`` is a relu, ``__iadd__`` an addition."""
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def activation_of(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """The theory's name of an activation, ``None`` for everything else."""
    if name in ("clamp", "clamp_min", "clip"):
        low = kwargs.get("min", args[1] if len(args) > 1 else None)
        high = kwargs.get("max", args[2] if len(args) > 2 else None)
        return "relu" if high is None and isinstance(low, int | float) and low == 0 else None
    if name == "hardtanh" and _value("min_val", 1, -1.0, args, kwargs) == 0.0:
        return "relu6" if _value("max_val", 2, 1.0, args, kwargs) == 6.0 else "hardtanh"
    if name == "gelu" and kwargs.get("approximate") == "tanh":
        return "gelu_tanh"
    return ACTIVATIONS.get(name)


def activation_arguments(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, float]:
    """The numbers that shape the activation, under the theory's parameter names."""
    if name == "leaky_relu":
        return {"slope": _value("negative_slope", 1, 0.01, args, kwargs)}
    if name == "rrelu":
        low = _value("lower", 1, 1 / 8, args, kwargs)
        return {"slope": (low + _value("upper", 2, 1 / 3, args, kwargs)) / 2}
    if name == "prelu":
        weight = args[1] if len(args) > 1 else kwargs["weight"]
        return {"slope": float(weight.detach().float().mean())}
    if name == "hardtanh":
        low, high = _value("min_val", 1, -1.0, args, kwargs), _value("max_val", 2, 1.0, args, kwargs)
        return {} if (low, high) == (0.0, 6.0) else {"low": low, "high": high}
    if name in ("elu", "celu"):
        return {"alpha": _value("alpha", 1, 1.0, args, kwargs)}
    return {}


def passes(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the output holds the values of the first argument, only arranged otherwise."""
    if name in DROPOUTS:
        probability = _value("p", 1, 0.5, args, kwargs)
        training = kwargs.get("training", args[2] if len(args) > 2 else True)
        return probability == 0 or not training
    return name in PASSING


def weight_of(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The weight and bias tensors of a weighted operation."""
    where, where_bias = WEIGHTED[name]
    weight = args[where] if len(args) > where else kwargs.get("weight")
    bias = kwargs.get("bias")
    if where_bias is not None and len(args) > where_bias:
        bias = args[where_bias]
    return weight, bias


def _value(
    key: str, position: int, default: float, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> float:
    value = kwargs.get(key, args[position] if len(args) > position else default)
    return float(default if value is None else value)
