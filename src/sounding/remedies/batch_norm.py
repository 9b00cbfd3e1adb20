"""Remedies for the statistics of batch norms: taken anew, kept as they are, or folded away."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from sounding.remedies.calls import hearing
from sounding.remedies.norms import put
from sounding.remedies.selection import foldable
from sounding.remedies.weights import Forward, Trace
from sounding.result import NotApplicable

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)


def recalibrate_statistics(model: nn.Module, forward: Forward, *, batches: int = 16) -> None:
    """Running means and variances anew: the averages over so many batches in training mode.

    Touches the weights (their buffers). For statistics that are stale: of other data, of other
    weights, or of a momentum that forgets too slowly (Wu and Johnson 2021, "precise batch norm").

    Raises:
        ValueError: If `batches` is not at least 1.
        NotApplicable: If no batch norm with running statistics was called.
    """
    if batches < 1:
        raise ValueError(f"batches is {batches!r}; it must be at least 1")
    norms = _tracking(model)
    sums: dict[nn.Module, list[Any]] = {}

    def hear(norm: nn.Module, args: Any, _: Any) -> None:
        rows = args[0].detach().transpose(0, 1).flatten(1)  # (channels, samples x positions)
        mean, variance, count = sums.get(norm, (0, 0, 0))
        sums[norm] = [mean + rows.mean(1), variance + rows.var(1), count + 1]

    modes = [norm.training for norm in norms]
    try:
        for norm in norms:
            norm.training = True
        hearing(norms, hear, forward, times=batches)
    finally:
        for norm, mode in zip(norms, modes, strict=True):
            norm.training = mode
    if not sums:
        raise NotApplicable("no batch norm was called")
    for norm, (mean, variance, count) in sums.items():
        norm.get_buffer("running_mean").copy_(mean / count)
        norm.get_buffer("running_var").copy_(variance / count)


def freeze_norm(model: nn.Module) -> None:
    """Batch norms use their running statistics in training as well, for good; scales are trained.

    Touches the recipe. For fine-tuning on small batches, where the statistics of a batch are noise.

    Raises:
        NotApplicable: If there is no batch norm with running statistics.
    """
    for norm in _tracking(model):
        keep_still(norm)


def keep_still(norm: nn.Module, *, while_frozen: bool = False) -> None:
    """`norm` runs in evaluation mode whatever the model's mode is; or while its scales are frozen.

    By hooks, because `model.train()` comes again and again.
    """
    norm.register_forward_pre_hook(_still_while_frozen if while_frozen else _still)
    norm.register_forward_hook(_as_before, always_call=True)


def _still(norm: nn.Module, _: Any) -> None:
    vars(norm)["mode_outside"] = norm.training
    norm.training = False


def _still_while_frozen(norm: nn.Module, given: Any) -> None:
    if not any(p.requires_grad for p in norm.parameters()):
        _still(norm, given)


def _as_before(norm: nn.Module, _: Any, __: Any) -> None:
    norm.training = vars(norm).pop("mode_outside", norm.training)


def _tracking(model: nn.Module) -> list[_BatchNorm]:
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        raise NotApplicable("there is no batch norm with running statistics")
    return norms


# -- folding ---------------------------------------------------------------------------------------


@torch.no_grad()
def fold_batch_norm(model: nn.Module, trace: Trace, forward: Forward) -> None:
    """Each batch norm behind a linear layer or convolution is multiplied into its weights.

    Touches the architecture: the norm becomes an identity. In evaluation mode the function stays
    the same, which is checked on a batch; in training mode the batch's statistics are gone.

    Raises:
        NotApplicable: If there is no such pair, or the function changes; nothing is changed then.
    """
    nodes = trace()
    found = {nodes[at].module: nodes[norm].module for at, norm in foldable(nodes).items()}
    pairs = {layer: norm for layer, norm in found.items() if _fold_fits(model, layer, norm)}
    if not pairs:
        raise NotApplicable("no batch norm stands right behind a layer of its own")
    layers = {model.get_submodule(a): model.get_submodule(b) for a, b in pairs.items()}
    saved = [_parameters(layer) for layer in layers]
    given, wanted = _evaluated(model, layers, forward)
    for (layer, norm), name in zip(layers.items(), pairs.values(), strict=True):
        _fold(layer, norm)
        put(model, name, nn.Identity().train(norm.training))
    if all(_same(layer.forward(given[layer]), wanted[norm]) for layer, norm in layers.items()):
        return
    for (layer, norm), name, values in zip(layers.items(), pairs.values(), saved, strict=True):
        put(model, name, norm)
        _restore(layer, values)
    raise NotApplicable("folded, the function is not the same on this batch")


def _fold_fits(model: nn.Module, layer: str, norm: str) -> bool:
    first, second = model.get_submodule(layer), model.get_submodule(norm)
    computed = hasattr(first, "parametrizations")
    tracks = isinstance(second, _BatchNorm) and second.running_mean is not None
    return isinstance(first, (nn.Linear, *CONVOLUTIONS)) and tracks and not computed


def _fold(layer: Any, norm: Any) -> None:
    scale = torch.ones_like(norm.running_mean) if norm.weight is None else norm.weight
    shift = torch.zeros_like(norm.running_mean) if norm.bias is None else norm.bias
    given = (norm.running_mean, norm.running_var, norm.eps, scale, shift)
    if isinstance(layer, nn.Linear):
        weight, bias = fuse_linear_bn_weights(layer.weight, layer.bias, *given)
    else:
        transposed = isinstance(layer, TRANSPOSED)
        weight, bias = fuse_conv_bn_weights(layer.weight, layer.bias, *given, transposed)
    layer.weight.copy_(weight)
    if layer.bias is None:
        layer.bias = nn.Parameter(bias.detach())
    else:
        layer.bias.copy_(bias)


def _parameters(layer: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    return layer.weight.clone(), None if layer.bias is None else layer.bias.clone()


def _restore(layer: Any, saved: tuple[torch.Tensor, torch.Tensor | None]) -> None:
    layer.weight.copy_(saved[0])
    if saved[1] is None:
        layer.bias = None
    else:
        layer.bias.copy_(saved[1])


def _evaluated(
    model: nn.Module, layers: dict[nn.Module, nn.Module], forward: Forward
) -> tuple[dict[nn.Module, torch.Tensor], dict[nn.Module, torch.Tensor]]:
    """In evaluation mode: what the layers are given, and what comes out of the norms."""
    given: dict[nn.Module, torch.Tensor] = {}
    outputs: dict[nn.Module, torch.Tensor] = {}

    def hear(module: nn.Module, args: Any, output: torch.Tensor) -> None:
        given[module], outputs[module] = args[0].clone(), output.clone()

    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        hearing([*layers, *layers.values()], hear, forward)
    finally:
        for module, mode in modes:
            module.training = mode
    return given, outputs


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Up to rounding: the square root of the type's resolution."""
    close = torch.finfo(one.dtype).eps ** 0.5 * (1 + float(one.abs().max()))
    return one.shape == other.shape and bool((one - other).abs().max() <= close)
