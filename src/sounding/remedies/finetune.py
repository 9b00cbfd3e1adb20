"""Remedies for fine-tuning: which layers are trained when, and how fast."""

from __future__ import annotations

import math

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from sounding.capture.node import Node
from sounding.remedies.batch_norm import keep_still
from sounding.remedies.live import Group, steps_of
from sounding.remedies.stages import stages
from sounding.remedies.weights import Trace
from sounding.result import NotApplicable


def freeze(model: nn.Module, trace: Trace, *, upto: str = "", share: float = 0.0) -> None:
    """The layers from the input up to the module `upto`, or this `share` of them, are not trained.

    Touches the recipe. Without arguments all but the last layer group is frozen: a linear probe
    (Yosinski et al. 2014, Kumar et al. 2022). The statistics of frozen batch norms stay as well.

    Args:
        model: What is changed.
        trace: Runs it once.
        upto: The last module that is frozen, by its name; what ran before it is frozen too.
        share: Of the layer groups, counted from the input; not together with `upto`.

    Raises:
        ValueError: If there is no such module, or the share is not in [0, 1).
        NotApplicable: If there is nothing to freeze, or nothing would be left to train.
    """
    if not 0 <= share < 1 or (upto and share):
        raise ValueError(f"share is {share!r}; it is at least 0, below 1, and not beside upto")
    nodes = trace()
    if upto:
        still = _up_to(model, nodes, upto)
    else:
        groups = stages(model, nodes)
        count = math.ceil(share * len(groups)) if share else len(groups) - 1
        still = [p for group in groups[: min(count, len(groups) - 1)] for p in group]
    trained = {p for p in model.parameters() if p.requires_grad}
    if not trained.difference(still):
        raise NotApplicable("nothing would be left to train")
    for p in still:
        p.requires_grad_(False)
        p.grad = None
    _keep_statistics(model, still)


def linear_probe_then_finetune(
    optimizer: Optimizer, model: nn.Module, trace: Trace, *, steps: int = 100
) -> None:
    """For the first `steps` steps only the last layer group is trained, then all of them.

    Touches the recipe. Kumar et al. 2022: fine-tuning from a random head changes the pre-trained
    features within the training data alone, and so distorts them; a fitted head asks for less.
    Batch norms of a group that waits keep their statistics.

    Raises:
        ValueError: If `steps` is not at least 1.
        NotApplicable: If there are fewer than two layer groups.
    """
    _at_least_one(steps)
    groups = stages(model, trace())
    waiting = [p for group in groups[:-1] for p in group]
    _wait(optimizer, model, [(steps, waiting)])


def gradual_unfreezing(
    optimizer: Optimizer, model: nn.Module, trace: Trace, *, steps: int = 100
) -> None:
    """The last layer group is trained first; every `steps` steps the one before it joins in.

    Touches the recipe. Howard and Ruder 2018, section 3.3. Batch norms of a group that waits keep
    their statistics.

    Raises:
        ValueError: If `steps` is not at least 1.
        NotApplicable: If there are fewer than two layer groups.
    """
    _at_least_one(steps)
    groups = stages(model, trace())[::-1]
    _wait(optimizer, model, [(at * steps, group) for at, group in enumerate(groups)][1:])


def discriminative_lr(
    optimizer: Optimizer, model: nn.Module, trace: Trace, *, factor: float = 2.6
) -> None:
    """The learning rate falls by `factor` from each layer group to the one before it.

    Touches the recipe. Howard and Ruder 2018, section 3.2: lower layers hold what is general. The
    last group keeps the rate that is set.

    Raises:
        ValueError: If `factor` is not positive and finite.
        NotApplicable: If there are fewer than two layer groups.
    """
    if not 0 < factor < math.inf:
        raise ValueError(f"factor is {factor!r}; it must be positive and finite")
    groups = stages(model, trace())
    depth = {p: len(groups) - 1 - at for at, group in enumerate(groups) for p in group}

    def split(group: Group, own: Group, _: int) -> list[Group]:
        parts: dict[int, list[nn.Parameter]] = {}
        for p in group["params"]:
            parts.setdefault(depth.get(p, 0), []).append(p)
        return [
            {**group, "params": parameters, "lr": group["lr"] / factor**down}
            for down, parameters in parts.items()
        ]

    steps_of(optimizer).edits.append(split)


def _wait(
    optimizer: Optimizer, model: nn.Module, joining: list[tuple[int, list[nn.Parameter]]]
) -> None:
    """Parameters are trained from the step on that stands before them.

    They want no gradient until then, so that whoever looks sees frozen ones.
    """
    steps = steps_of(optimizer)

    def settle(optimizer: Optimizer) -> None:
        for step, parameters in joining:
            for p in parameters:
                p.requires_grad_(steps.count(optimizer) >= step)

    def forget(optimizer: Optimizer) -> None:
        for step, parameters in joining:
            for p in parameters if steps.count(optimizer) < step else ():
                p.grad = None

    settle(optimizer)
    steps.gradients.append(forget)
    steps.after.append(settle)
    _keep_statistics(model, [p for _, parameters in joining for p in parameters])


def _keep_statistics(model: nn.Module, frozen: list[nn.Parameter]) -> None:
    """While their scales are frozen, batch norms keep their running statistics as well."""
    among = set(frozen)
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.weight in among:
            keep_still(module, while_frozen=True)


def _up_to(model: nn.Module, nodes: list[Node], upto: str) -> list[nn.Parameter]:
    """The trainable parameters of all calls up to the last one inside of `upto`."""
    parts = dict(model.named_modules())
    if upto not in parts or not upto:
        raise ValueError(f"there is no module {upto!r}; its name is as in model.named_modules()")
    inside = [n.index for n in nodes if f"{n.module}.".startswith(f"{upto}.")]
    if not inside:
        raise NotApplicable(f"the module {upto!r} was not called")
    own = dict(model.named_parameters(remove_duplicate=False))
    found: dict[nn.Parameter, None] = {}
    for node in nodes[: max(inside) + 1]:
        names = [name for name in (node.weight, node.bias, *node.others) if name in own]
        direct = parts[node.module].parameters(recurse=False) if node.module else ()
        found |= dict.fromkeys((*(own[name] for name in names), *direct))
    return [p for p in found if p.requires_grad]


def _at_least_one(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"steps is {steps!r}; it must be at least 1")
