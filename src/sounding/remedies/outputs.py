"""Remedies for both ends of a net's weights: the output's bias and scale, the embeddings' scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from sounding.capture.losses import Comparison
from sounding.capture.node import Node
from sounding.remedies.selection import behind_last, last_weight, tied
from sounding.remedies.weights import Trace
from sounding.result import NotApplicable

Compare = Callable[[], tuple[list[Node], Comparison | None]]  # runs a batch; the loss's call

LABELS = ("cross_entropy", "nll_loss")
BINARY = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
DISTANCES = ("", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")  # '': by hand
LINKS = {"binary_cross_entropy": "sigmoid", "nll_loss": "log_softmax"}  # between bias and loss
PSEUDO = 0.5  # samples added to every class, so that one which is not in the batches is not banned


@torch.no_grad()
def set_output_bias(model: nn.Module, compare: Compare, *, batches: int = 32) -> None:
    """The last bias becomes that of the best constant prediction on the first batches.

    They are counted until the first one comes again. Touches the weights. The logarithm of the
    classes' shares for cross-entropy, log(p / (1 - p)) for binary cross-entropy, the targets' mean
    for a distance (Karpathy 2019, "A recipe for training neural networks"; Lin et al. 2017, section
    4.1).

    Raises:
        ValueError: If `batches` is not at least 1.
        NotApplicable: If the loss is not seen where the remedy is applied (in a script), if it is
            another one, or if no bias stands right before it.
    """
    if batches < 1:
        raise ValueError(f"batches is {batches!r}; it must be at least 1")
    nodes, compared = compare()
    if compared is None or compared.target is None:
        raise NotApplicable("the loss and its targets are not seen here")
    bias, along = _last_bias(model, nodes, compared)
    first, (total, count) = compared, _counted(compared, bias, along)
    for _ in range(batches - 1):
        _, compared = compare()
        if compared is None or compared.target is None or _same(compared, first):
            break
        more, rows = _counted(compared, bias, along)
        total, count = total + more, count + rows
    bias.copy_(_prior(first.function, total, count))


@torch.no_grad()
def scale_last_layer(model: nn.Module, trace: Trace, *, factor: float = 0.1) -> None:
    """The weights and the bias of the last layer times `factor`.

    Touches the weights. For an untrained net whose outputs are too large.

    Raises:
        ValueError: If `factor` is not positive and finite.
        NotApplicable: If the last weights are shared with an embedding, or are no parameters.
    """
    if not 0 < factor < math.inf:
        raise ValueError(f"factor is {factor!r}; it must be positive and finite")
    nodes = trace()
    at, own = last_weight(nodes), dict(model.named_parameters(remove_duplicate=False))
    if at < 0 or nodes[at].weight not in own:
        raise NotApplicable("the last weights are no parameters of the model")
    if tied(nodes, at):
        raise NotApplicable("the last weights are a table of embeddings too; scale those")
    for name in (nodes[at].weight, nodes[at].bias):
        if name in own:
            own[name].mul_(factor)


def scale_output(model: nn.Module, trace: Trace, *, mean: float = 0.0, std: float = 1.0) -> None:
    """What the last layer puts out is multiplied by `std`, and `mean` is added, at every pass.

    Touches the architecture; no weight changes, so embeddings that are shared with the last layer
    keep their size. Gradients are multiplied by `std` as well.

    Raises:
        ValueError: If `std` is not positive or a number is not finite.
        NotApplicable: If something follows the last layer within the model.
    """
    layer = _last_layer(model, trace, mean, std)
    layer.register_forward_hook(_scaled)


def standardise_targets(
    model: nn.Module, trace: Trace, *, mean: float = 0.0, std: float = 1.0
) -> None:
    """The net learns (target - mean) / std, and puts out mean + std times what it has learned.

    Touches the architecture. For targets that are far from zero or from one in size. Gradients are
    those of the squared error of the standardised targets: the loss keeps its unit, and the
    learning rate its meaning.

    Raises:
        ValueError: If `std` is not positive or a number is not finite.
        NotApplicable: If something follows the last layer within the model.
    """
    layer = _last_layer(model, trace, mean, std)
    layer.register_forward_hook(_destandardised)


@torch.no_grad()
def scale_embeddings(model: nn.Module, trace: Trace, *, std: float = 0.02) -> None:
    """Every table of embeddings is multiplied so that its entries have the deviation `std`.

    Touches the weights. Torch draws them from N(0, 1); a language model whose head is its table
    then begins with logits of size sqrt(width) (GPT-2 takes 0.02). Rows of padding stay zero.

    Raises:
        ValueError: If `std` is not positive and finite.
        NotApplicable: If no table of embeddings with values was called.
    """
    if not 0 < std < math.inf:
        raise ValueError(f"std is {std!r}; it must be positive and finite")
    own = dict(model.named_parameters(remove_duplicate=False))
    found = [n.weight for n in trace() if n.operation.startswith("embedding") and n.weight in own]
    tables = [own[name] for name in dict.fromkeys(found) if own[name].any()]
    if not tables:
        raise NotApplicable("no table of embeddings was called")
    for table in tables:
        table.mul_(std / table[table.any(1)].std())


# -- the last layer --------------------------------------------------------------------------------


def _last_layer(model: nn.Module, trace: Trace, mean: float, std: float) -> nn.Module:
    if not (0 < std < math.inf and math.isfinite(mean)):
        raise ValueError(f"mean is {mean!r}, std is {std!r}; both must be finite, std positive")
    nodes = trace()
    at = last_weight(nodes)
    after = [nodes[index] for index in behind_last(nodes)]
    layer = model.get_submodule(nodes[at].module) if at >= 0 else None
    plain = isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
    if layer is None or not plain or after:
        then = after[0].name if after else "something else"
        raise NotApplicable(f"the last layer's output goes through {then}")
    place = next(layer.parameters())
    for name, value in (("output_mean", mean), ("output_deviation", std)):
        layer.register_buffer(name, torch.tensor(value, dtype=place.dtype, device=place.device))
    return layer


def _scaled(layer: nn.Module, _: Any, output: torch.Tensor) -> torch.Tensor:
    return layer.get_buffer("output_mean") + layer.get_buffer("output_deviation") * output


def _destandardised(layer: nn.Module, given: Any, output: torch.Tensor) -> torch.Tensor:
    variance = layer.get_buffer("output_deviation") ** 2
    if output.requires_grad:
        output = output * 1.0  # a tensor of its own for the hook
        output.register_hook(lambda gradient: gradient / variance)
    return _scaled(layer, given, output)


# -- the last bias ---------------------------------------------------------------------------------


def _last_bias(
    model: nn.Module, nodes: list[Node], compared: Comparison
) -> tuple[nn.Parameter, int]:
    """The bias, and the dimension of its units in the output."""
    own = dict(model.named_parameters(remove_duplicate=False))
    maker, function = nodes[compared.maker], compared.function
    if function not in (*LABELS, *BINARY, *DISTANCES):
        raise NotApplicable(f"the best constant under {function} is not known")
    if LINKS.get(function) == maker.operation and maker.main >= 0:
        maker = nodes[maker.main]
    elif function in LINKS:
        raise NotApplicable(f"{function} is not given what a {LINKS[function]} puts out")
    if maker.bias not in own:
        raise NotApplicable("no layer with a bias stands right before the loss")
    return own[maker.bias], 1 if maker.operation.startswith("conv") else -1


def _counted(compared: Comparison, bias: torch.Tensor, along: int) -> tuple[torch.Tensor, float]:
    """The sum over the targets, one number a unit, and how many were summed.

    Raises:
        NotApplicable: If the targets do not fit the bias.
    """
    target, units = compared.target, bias.numel()
    assert target is not None
    if compared.function in LABELS and not target.is_floating_point():
        kept = target[(target >= 0) & (target < units)].flatten()
        return torch.bincount(kept, minlength=units).to(bias), float(kept.numel())
    if units > 1 and (target.shape != compared.output.shape or target.shape[along] != units):
        raise NotApplicable(f"targets of shape {tuple(target.shape)} do not fit {units} biases")
    rows = target.to(bias).movedim(along, -1).reshape(-1, units)
    return rows.sum(0), float(len(rows))


def _same(one: Comparison, other: Comparison) -> bool:
    """Whether it is the same batch: equal labels alone may be chance."""
    pairs = ((one.output, other.output), (one.target, other.target))
    return all(a is not None and b is not None and torch.equal(a, b) for a, b in pairs)


def _prior(function: str, total: torch.Tensor, count: float) -> torch.Tensor:
    if function in LABELS:
        return ((total + PSEUDO) / (count + PSEUDO * total.numel())).log()
    if function in BINARY:
        return ((total + PSEUDO) / (count - total + PSEUDO)).log()
    return total / count
