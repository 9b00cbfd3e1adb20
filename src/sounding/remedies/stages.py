"""A net in layer groups, from the input to the output, read from the executed calls alone.

A group is what the names tell: the first part of a parameter's name and the numbers behind it
('stem', 'layer1.0', 'blocks.3'), in the order in which the groups run. Normalisations that stand
alone belong to the group before them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn

from sounding.remedies.selection import Step, Steps
from sounding.result import NotApplicable


def stage_names(steps: Steps) -> dict[str, int]:
    """The group's number by the beginning of its parameters' names."""
    named = [(step.role, _name(step)) for step in steps]
    named = [(r, name) for r, name in named if r in ("weight", "normalisation") and name[0] != "."]
    common = _common(name for role, name in named if role == "weight")
    weighted = {_beginning(name, common) for role, name in named if role == "weight"}
    found: dict[str, int] = {}
    for _, name in named:
        start = _beginning(name, common)
        new = len(set(found.values()))
        found.setdefault(start, new if start in weighted else max(new - 1, 0))
    for step in steps:  # a shared weight belongs where it is used last
        if step.role == "weight" and (start := _beginning(step.weight, common)) in found:
            found[start] = max(found[start], found[_beginning(_name(step), common)])
    ranks = sorted(set(found.values()))
    return {name: ranks.index(number) for name, number in found.items()}


def stages(model: nn.Module, steps: Steps) -> list[list[nn.Parameter]]:
    """The trainable parameters, group by group; a shared one belongs to its last group.

    What stands in no module with weights (positions, gates) belongs to the first group.

    Raises:
        NotApplicable: If there are fewer than two groups.
    """
    numbers = stage_names(steps)
    if len(set(numbers.values())) < 2:
        raise NotApplicable("there are fewer than two layer groups")
    owner: dict[nn.Parameter, int] = {}
    for name, p in model.named_parameters(remove_duplicate=False):
        if p.requires_grad:
            known = [number for start, number in numbers.items() if name.startswith(f"{start}.")]
            owner[p] = max(max(known, default=0), owner.get(p, 0))
    groups = [[p for p, at in owner.items() if at == number] for number in set(numbers.values())]
    groups = [group for group in groups if group]
    if len(groups) < 2:
        raise NotApplicable("fewer than two layer groups are trained")
    return groups


def _name(step: Step) -> str:
    """The weight's name; of a scale, and of one from elsewhere, what it would be called here."""
    inside = step.weight.startswith(f"{step.module}.") or not step.module
    return step.weight if step.weight and inside else f"{step.module}.weight"


def _common(names: Iterable[str]) -> str:
    """What all names begin with, as far as it tells nothing: the name of a wrapper."""
    parts = [name.split(".")[:-2] for name in names]
    common = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        common.append(level[0])
    return "".join(f"{part}." for part in common)


def _beginning(name: str, common: str) -> str:
    start = common if name.startswith(common) else ""
    found = re.match(r"[^.]+(\.\d+(?=\.))*", name[len(start) :])
    return start + (found[0] if found else "")
