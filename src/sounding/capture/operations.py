"""Which torch functions are weights, activations, normalisations, skips, or mere reshapes."""

from __future__ import annotations

import functools
from typing import Any

import torch

Args = tuple[Any, ...]
Kwargs = dict[str, Any]

# Weighted operations: position of the weight and of the bias among the arguments.
WEIGHTED = {
    "linear": (1, 2),
    "bilinear": (2, 3),
    "conv1d": (1, 2),
    "conv2d": (1, 2),
    "conv3d": (1, 2),
    "conv_transpose1d": (1, 2),
    "conv_transpose2d": (1, 2),
    "conv_transpose3d": (1, 2),
    "embedding": (1, None),
    "embedding_bag": (1, None),
}
PRODUCTS = {"matmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "mv", "addmv"}
SEQUENCES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}  # gates: blocks of rows of a matrix
RECURRENT = {*SEQUENCES, *(f"{name}_cell" for name in SEQUENCES)}
OPENED = {"multi_head_attention_forward"}  # written in Python: what they call is seen instead

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
    "special_expit": "sigmoid",
    "tanh": "tanh",
    "hardtanh": "hardtanh",
    "relu6": "relu6",
    "hardsigmoid": "hardsigmoid",
    "hardswish": "hardswish",
    "softsign": "softsign",
    "logsigmoid": "logsigmoid",
    "log_sigmoid": "logsigmoid",
    "erf": "erf",
}
RECTIFIERS = {"relu", "relu6"}  # exactly zero on a half line, so a unit can be dead
GATES = {"sigmoid": "silu", "hardsigmoid": "hardswish"}  # phi(x) x is an activation of its own

NORMALISATIONS = {
    "batch_norm",
    "layer_norm",
    "group_norm",
    "instance_norm",
    "rms_norm",
    "local_response_norm",
    "normalize",
}
JOINS = {"add", "cat", "concat", "concatenate"}  # where branches meet again
ATTENTION = {"scaled_dot_product_attention", "multi_head_attention_forward"}
LOSSES = {"cross_entropy", "binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div"}

# The same numbers in another shape or type: the call before them made these values.
PASSING = {
    "view", "reshape", "flatten", "unflatten", "ravel", "permute", "transpose", "t", "swapaxes",
    "swapdims", "movedim", "moveaxis", "unsqueeze", "squeeze", "contiguous", "clone", "to",
    "float", "double", "half", "bfloat16", "type", "type_as", "cpu", "cuda", "view_as",
    "reshape_as", "detach", "requires_grad", "channel_shuffle", "pixel_shuffle",
    "pixel_unshuffle", "view_as_real", "view_as_complex", "resolve_conj", "alias", "rename",
    "as_subclass", "refine_names", "get",
}  # fmt: skip
DROPOUTS = {
    "dropout",
    "alpha_dropout",
    "feature_alpha_dropout",
    "feature_dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
}
FRESH = {"zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like"}

# Questions about a tensor and switches: no numbers are made, nothing is recorded.
QUESTIONS = {
    "size", "dim", "numel", "nelement", "is_contiguous", "stride", "ndimension", "element_size",
    "data_ptr", "register_hook", "storage_offset", "len", "bool", "item", "tolist",
    "is_floating_point", "is_complex", "is_signed", "repr", "format", "backward", "set", "hash",
    "iter", "contains", "retain_grad", "_set_grad_enabled", "set_grad_enabled", "is_tensor",
    "get_device", "is_nonzero", "equal", "is_same_size", "_is_view", "is_inference", "numpy",
}  # fmt: skip

_DUNDERS = {"matmul", "add", "sub", "mul", "truediv", "pow", "floordiv", "mod", "and", "or", "xor"}
_WORDS = {
    "truediv": "div",
    "true_divide": "div",
    "divide": "div",
    "multiply": "mul",
    "_threshold": "threshold",
}


@functools.lru_cache(maxsize=4096)
def canonical(name: str) -> str:
    """The operation behind its spellings: ``relu_`` is relu, ``__iadd__`` and ``__radd__`` add."""
    if name.startswith("__") and name.endswith("__"):
        name = name[2:-2]
        if name[:1] in ("i", "r") and name[1:] in _DUNDERS:
            name = name[1:]
    elif name.endswith("_"):
        name = name[:-1]
    return _WORDS.get(name, name)


def is_loss(name: str) -> bool:
    """Whether torch calls this a loss."""
    return name in LOSSES or name.endswith("_loss")


def activation_of(name: str, args: Args, kwargs: Kwargs) -> str | None:
    """The theory's name of an activation, ``None`` for everything else."""
    if name in ("clamp", "clamp_min", "clip"):
        low = kwargs.get("min", args[1] if len(args) > 1 else None)
        high = kwargs.get("max", args[2] if len(args) > 2 else None)
        return "relu" if high is None and isinstance(low, int | float) and low == 0 else None
    if name == "threshold":
        below = argument("threshold", 1, None, args, kwargs)
        return "relu" if below == argument("value", 2, None, args, kwargs) == 0 else None
    if name == "hardtanh" and _number("min_val", 1, -1.0, args, kwargs) == 0.0:
        return "relu6" if _number("max_val", 2, 1.0, args, kwargs) == 6.0 else "hardtanh"
    if name == "gelu" and kwargs.get("approximate") == "tanh":
        return "gelu_tanh"
    if name == "softplus" and _number("beta", 1, 1.0, args, kwargs) != 1.0:
        return None  # another function, which the theory does not know
    return ACTIVATIONS.get(name)


def activation_arguments(name: str, args: Args, kwargs: Kwargs) -> dict[str, float]:
    """The numbers that shape the activation, under the theory's parameter names."""
    if name == "leaky_relu":
        return {"slope": _number("negative_slope", 1, 0.01, args, kwargs)}
    if name == "rrelu":
        low = _number("lower", 1, 1 / 8, args, kwargs)
        return {"slope": (low + _number("upper", 2, 1 / 3, args, kwargs)) / 2}
    if name == "prelu":
        weight = argument("weight", 1, None, args, kwargs)
        return {"slope": float(weight.detach().float().mean())}
    if name == "hardtanh":
        low = _number("min_val", 1, -1.0, args, kwargs)
        high = _number("max_val", 2, 1.0, args, kwargs)
        return {} if (low, high) == (0.0, 6.0) else {"low": low, "high": high}
    if name in ("elu", "celu"):
        return {"alpha": _number("alpha", 1, 1.0, args, kwargs)}
    return {}


def settings(name: str, args: Args, kwargs: Kwargs) -> dict[str, float]:
    """The numbers that say what a softmax, dropout, batch norm or attention does."""
    if name in ("softmax", "log_softmax"):
        return {"dimension": softmax_dimension(args, kwargs)}
    if name in DROPOUTS:
        return {"p": _number("p", 1, 0.5, args, kwargs)}
    if name == "scaled_dot_product_attention":
        return {"p": _number("dropout_p", 4, 0.0, args, kwargs)}
    if name == "batch_norm":
        channels = args[0].shape[1] if args[0].dim() > 1 else 1
        return {
            "training": float(bool(argument("training", 5, False, args, kwargs))),
            "tracked": float(argument("running_mean", 1, None, args, kwargs) is not None),
            "momentum": _number("momentum", 6, 0.1, args, kwargs),
            "samples": args[0].numel() / max(channels, 1),
        }
    return {}


def softmax_dimension(args: Args, kwargs: Kwargs) -> float:
    """The dimension that a softmax runs along, from 0; torch chooses where none is given."""
    count = args[0].dim()
    given = argument("dim", 1, None, args, kwargs)
    if given is None:
        given = 0 if count in (0, 1, 3) else 1
    return float(given % max(count, 1))


def passes(name: str, args: Args, kwargs: Kwargs) -> bool:
    """Whether the output holds the values of the first argument, only arranged otherwise."""
    if name in DROPOUTS:
        probability = _number("p", 1, 0.5, args, kwargs)
        return probability == 0 or not argument("training", 2, True, args, kwargs)
    return name in PASSING


def argument(key: str, position: int, default: Any, args: Args, kwargs: Kwargs) -> Any:
    """An argument that may be given by position or by name."""
    return kwargs.get(key, args[position] if len(args) > position else default)


def _number(key: str, position: int, default: float, args: Args, kwargs: Kwargs) -> float:
    value = argument(key, position, default, args, kwargs)
    if isinstance(value, torch.Tensor):
        value = value.detach().float().mean()
    return float(default if value is None else value)
