"""Remedies for the optimiser's other settings, and for its kind."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.optim import Adam, AdamW, Optimizer

from sounding.remedies.live import Group, steps_of
from sounding.remedies.rate import scale_rates
from sounding.result import NotApplicable
from sounding.train.recipe import OPTIMISERS

KINDS = ("norms", "biases", "embeddings")


def set_momentum(optimizer: Optimizer, *, value: float = 0.9) -> None:
    """Momentum of SGD and RMSprop, or the first beta of the Adam family, in every group.

    Touches the recipe. With momentum m a steady gradient moves 1 / (1 - m) as far, and the stable
    limit of SGD rises to 2 (1 + m) / sharpness.

    Raises:
        ValueError: If `value` is not in [0, 1).
        NotApplicable: If the optimiser has no momentum.
    """
    if not 0 <= value < 1:
        raise ValueError(f"value is {value!r}; a momentum is at least 0 and below 1")
    for group in _having(optimizer, ("momentum", "betas"), "momentum"):
        if "betas" in group:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value
            group["nesterov"] = bool(value) and group.get("nesterov", False)


def set_weight_decay(optimizer: Optimizer, *, value: float = 0.0) -> None:
    """Weight decay of every group that has some; groups without decay are spared on purpose.

    Touches the recipe. Where no group has any, all of them get it.

    Raises:
        ValueError: If `value` is negative.
        NotApplicable: If the optimiser knows no weight decay.
    """
    if value < 0:
        raise ValueError(f"value is {value!r}; a weight decay cannot be negative")
    groups = _having(optimizer, ("weight_decay",), "weight decay")
    for group in [group for group in groups if group["weight_decay"]] or groups:
        group["weight_decay"] = value


def set_epsilon(optimizer: Optimizer, *, value: float = 1e-8) -> None:
    """The number that an adaptive optimiser adds to its divisor, in every group.

    Touches the recipe. Where it is above the root mean square of the gradients, it, and no longer
    the gradients' size, sets the step (Kingma and Ba 2015, algorithm 1).

    Raises:
        ValueError: If `value` is not positive.
        NotApplicable: If the optimiser has no epsilon.
    """
    if not value > 0:
        raise ValueError(f"value is {value!r}; epsilon must be positive")
    for group in _having(optimizer, ("eps",), "epsilon"):
        group["eps"] = value


def decouple_decay(optimizer: Optimizer) -> None:
    """Weight decay acts on the weights themselves and no longer through Adam's divisor: AdamW.

    Touches the recipe. Loshchilov and Hutter 2019. The numbers and moments so far stay.

    Raises:
        NotApplicable: If the optimiser is not of the Adam family, is decoupled, or has no decay.
    """
    if not any(group.get("weight_decay") for group in optimizer.param_groups):
        raise NotApplicable("there is no weight decay to decouple")
    groups = optimizer.param_groups
    if isinstance(optimizer, AdamW) or all(g.get("decoupled_weight_decay") for g in groups):
        raise NotApplicable("the weight decay is decoupled already")
    if type(optimizer) is Adam:
        _become(optimizer, AdamW)
    elif not all("decoupled_weight_decay" in group for group in groups):
        kind = type(optimizer).__name__
        raise NotApplicable(f"{kind} has no decoupled form; only the Adam family of torch has one")
    for group in groups:
        group["decoupled_weight_decay"] = True


def change_optimiser(optimizer: Optimizer, *, to: str = "adamw", lr: float = 1e-3) -> None:
    """The optimiser becomes one of another kind, in place, with learning rate `lr`.

    Touches the recipe. Groups keep their weight decay and the ratios of their learning rates; a
    schedule goes on, relative to its first value. Other settings are torch's defaults.

    Args:
        optimizer: What is changed.
        to: A name out of sounding.train.recipe.OPTIMISERS.
        lr: Of the first group, before any schedule.

    Raises:
        ValueError: If the name is unknown or `lr` is not positive.
        NotApplicable: If the optimiser is L-BFGS, or has no learning rate to compare with.
    """
    if to not in OPTIMISERS:
        raise ValueError(f"no optimiser is called {to!r}; there are {', '.join(OPTIMISERS)}")
    if not lr > 0:
        raise ValueError(f"lr is {lr!r}; a learning rate must be positive")
    steps_of(optimizer)
    groups = optimizer.param_groups
    first = float(groups[0].get("initial_lr", groups[0].get("lr", 0.0)))
    if not first > 0:
        raise NotApplicable("the optimiser has no learning rate that the new one could follow")
    # Made on the same parameters, for the settings and the state that such an optimiser begins with
    fresh = OPTIMISERS[to]([{"params": group["params"]} for group in groups], lr=lr)
    unknown = set(optimizer.defaults) - set(fresh.defaults)
    for group in groups:
        kept = {key: group[key] for key in ("lr", "weight_decay") if key in group}
        for key in unknown:
            group.pop(key, None)
        group.update({**fresh.defaults, **kept})
    optimizer.defaults, optimizer.state = fresh.defaults, fresh.state
    _become(optimizer, type(fresh))
    scale_rates(optimizer, lambda _: lr / first)


def no_decay_on(
    optimizer: Optimizer, model: nn.Module, *, kinds: str = "norms, biases, embeddings"
) -> None:
    """No weight decay on parameters of these `kinds`, at every step.

    Touches the recipe. Scales and shifts of normalisations and biases do not gain from decay
    (He et al. 2019, "Bag of tricks"); rows of an embedding shrink at every step, also at those
    without their token. A vector that is no bias counts as a scale.

    Raises:
        ValueError: If a kind is unknown.
        NotApplicable: If no such parameter is decayed.
    """
    chosen = [kind.strip() for kind in kinds.split(",")]
    if unknown := set(chosen) - set(KINDS):
        raise ValueError(f"no kind is called {min(unknown)!r}; there are {', '.join(KINDS)}")
    spared = {p for p, kind in _kinds(model) if kind in chosen}
    decayed = [g["params"] for g in optimizer.param_groups if g.get("weight_decay")]
    if not any(p in spared for parameters in decayed for p in parameters):
        raise NotApplicable(f"no weight decay acts on {' or '.join(chosen)}")

    def split(group: Group, own: Group, _: int) -> Iterator[Group]:
        parts = {False: [], True: []}
        for p in group["params"]:
            parts[p in spared].append(p)
        for apart, parameters in parts.items():
            if parameters:
                decay = {"weight_decay": 0.0} if apart and "weight_decay" in group else {}
                yield {**group, "params": parameters, **decay}

    steps_of(optimizer).edits.append(split)


def _kinds(model: nn.Module) -> Iterator[tuple[nn.Parameter, str]]:
    tables = {
        p
        for module in model.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag)
        for p in module.parameters()
    }
    for name, p in model.named_parameters():
        if p in tables:
            yield p, "embeddings"
        elif "bias" in name.rpartition(".")[2]:
            yield p, "biases"
        elif p.dim() < 2:
            yield p, "norms"


def _having(optimizer: Optimizer, keys: tuple[str, ...], what: str) -> list[Group]:
    found = [group for group in optimizer.param_groups if any(key in group for key in keys)]
    if not found:
        raise NotApplicable(f"{type(optimizer).__name__} has no {what}")
    return found


def _become(optimizer: Optimizer, kind: type[Optimizer]) -> None:
    """Another class for the same object, so that everybody who holds it goes on with it."""
    optimizer.__class__ = kind
    steps_of(optimizer).inner = None  # a scheduler's wrapper would call the old class
