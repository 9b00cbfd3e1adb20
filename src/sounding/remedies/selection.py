"""Which layers a remedy is meant for, read from the executed calls alone.

The calls may be those of a pass just recorded or those of saved readings, so that a remedy and the
code that is printed for it choose the same layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

DRAWN = ("linear", *(f"conv{t}{d}d" for t in ("", "_transpose") for d in (1, 2, 3)))
PRODUCTS = ("matmul", "bmm", "baddbmm", "einsum")


class Step(Protocol):
    """What is asked of a call."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def operation(self) -> str: ...  # noqa: D102
    @property
    def role(self) -> str: ...  # noqa: D102
    @property
    def inputs(self) -> Sequence[int]: ...  # noqa: D102
    @property
    def main(self) -> int: ...  # noqa: D102
    @property
    def arguments(self) -> Mapping[str, float]: ...  # noqa: D102
    @property
    def weight(self) -> str: ...  # noqa: D102
    @property
    def bias(self) -> str: ...  # noqa: D102
    @property
    def module(self) -> str: ...  # noqa: D102


Steps = Sequence[Step]


def selected(steps: Steps, *, zero: set[str], trainable: set[str]) -> list[int]:
    """The calls of linear layers and convolutions whose weights may be drawn anew, each once.

    Left alone: what is frozen, shared with an embedding, projects into or out of an attention, or
    is zero on purpose: at the end of a branch or of the net, where other weights are not zero.
    """
    tables = {step.weight for step in steps if step.operation.startswith("embedding")}
    free = trainable - tables - attention_weights(steps) - _zero_on_purpose(steps, zero)
    first: dict[str, int] = {}
    for index in layers(steps):
        if steps[index].weight in free:
            first.setdefault(steps[index].weight, index)
    return list(first.values())


def layers(steps: Steps) -> list[int]:
    """The calls of linear layers and convolutions."""
    return [i for i, s in enumerate(steps) if s.role == "weight" and s.operation in DRAWN]


def last_weight(steps: Steps) -> int:
    """The last weighted call; -1: none."""
    return max((i for i, step in enumerate(steps) if step.role == "weight"), default=-1)


def behind_last(steps: Steps) -> list[int]:
    """The model's own calls behind the last weighted one, without the loss."""
    at = last_weight(steps)
    return [] if at < 0 else [i for i in _onwards(steps, at) if i > at]


def tied(steps: Steps, index: int) -> bool:
    """Whether a call's weight is also a table of embeddings."""
    return any(
        step.weight == steps[index].weight and step.operation.startswith("embedding")
        for step in steps
    )


def entrances(steps: Steps) -> list[int]:
    """The weighted calls that the inputs reach first; none where they are normalised before."""
    found = []
    for index, step in enumerate(steps):
        if step.role != "weight" or step.operation.startswith("embedding"):
            continue
        at = step.main
        while at >= 0 and steps[at].role not in ("weight", "normalisation", "input"):
            at = steps[at].main
        if at >= 0 and steps[at].role == "input":
            found.append(index)
    return found


def foldable(steps: Steps) -> dict[int, int]:
    """The batch norms that are right behind a layer, alone, by the layer's call."""
    pairs = {}
    for index, step in enumerate(steps):
        at = step.main
        if step.operation != "batch_norm" or at not in layers(steps):
            continue
        modules = [s.module for s in steps]
        once = modules.count(step.module) == modules.count(steps[at].module) == 1
        alone = sum(at in s.inputs for s in steps) == 1
        shared = sum(s.weight == steps[at].weight for s in steps) > 1
        if once and alone and not shared and step.module and steps[at].module:
            pairs[at] = index
    return pairs


def linear_pairs(steps: Steps) -> list[tuple[int, int]]:
    """Layers whose next layer gets what they put out, and the normalisation between or themselves.

    Between the two are no activation, no sum of branches, and nothing else but normalisations:
    pooling and products are no linear maps.
    """
    found = []
    for at in layers(steps):
        before = steps[at].main
        end = before
        while before >= 0 and steps[before].role == "normalisation":
            before = steps[before].main
        if before >= 0 and before in layers(steps):
            found.append((before, end))
    return found


def follower(steps: Steps, index: int) -> int:
    """The first activation that a call's output reaches before another weight; -1: none.

    Looks through normalisations, additions, pooling and dropout, breadth first, so residual
    branches and functional activations count as they are executed.
    """
    for at in _onwards(steps, index):
        if steps[at].role == "activation":
            return at
    return -1


def unnormalised(steps: Steps, index: int) -> bool:
    """Whether a call's output reaches an activation with no normalisation on the way."""
    at = follower(steps, index)
    at = steps[at].main if at >= 0 else -1
    while at > index and steps[at].role != "normalisation":
        at = steps[at].main
    return at == index


def attention_weights(steps: Steps) -> set[str]:
    """Weights right before and right after an attention, torch's own or written out."""
    mixing = _mixing(steps)
    before = {steps[i].weight for at in mixing for i in _weights_behind(steps, steps[at].inputs)}
    after = {step.weight for step in steps if step.role == "weight" and _meets(steps, step, mixing)}
    return before | after


def _mixing(steps: Steps) -> set[int]:
    """Attentions: torch's own, and products with something that went through a softmax."""
    soft: set[int] = set()
    found = {i for i, step in enumerate(steps) if step.role == "attention"}
    for index, step in enumerate(steps):
        from_soft = not soft.isdisjoint(step.inputs)
        if from_soft and step.operation in PRODUCTS:
            found.add(index)
        elif step.operation == "softmax" or (from_soft and step.role == "other"):
            soft.add(index)
    return found


def _weights_behind(steps: Steps, calls: Sequence[int]) -> Iterator[int]:
    """The nearest weighted calls that these come from."""
    seen, waiting = set(), list(calls)
    while waiting:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        if steps[at].role == "weight":
            yield at
        else:
            waiting += steps[at].inputs


def _meets(steps: Steps, step: Step, calls: set[int]) -> bool:
    """Whether the signal of a weighted call comes from one of `calls`, with no weight between."""
    at = step.main
    while at >= 0 and steps[at].role not in ("weight", "skip"):
        if at in calls:
            return True
        at = steps[at].main
    return False


def _zero_on_purpose(steps: Steps, zero: set[str]) -> set[str]:
    weights = {step.weight for step in steps if step.role == "weight" and step.weight}
    if 2 * len(zero & weights) > len(weights):
        return set()
    return {
        step.weight
        for index, step in enumerate(steps)
        if step.weight in zero and _ends_branch(steps, index)
    }


def _ends_branch(steps: Steps, index: int) -> bool:
    """Whether the output is added to another stream, or feeds no further weight."""
    reached = list(_onwards(steps, index))
    if any(steps[at].role == "skip" for at in reached):
        return True
    return not any(
        step.role == "weight" and not {index, *reached}.isdisjoint(step.inputs) for step in steps
    )


def _onwards(steps: Steps, index: int) -> Iterator[int]:
    """The calls that the output reaches before another weight, attention or loss, nearest first."""
    level, seen = {index}, {index}
    while level:
        following = {
            i
            for i, step in enumerate(steps)
            if i not in seen
            and not level.isdisjoint(step.inputs)
            and step.role not in ("weight", "attention", "loss")
        }
        yield from sorted(following)
        seen |= following
        level = following
