"""One inhabitant of the zoo, and how it is visited."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import nn
from torch.optim import Optimizer

from sounding.objective import Batch
from sounding.train import Case, first_batch, make_optimiser, seeded, train

Look = Callable[[int, nn.Module, Batch, Optimizer], None]  # (steps trained, net, batch, optimiser)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A case whose diagnosis is known.

    Attributes:
        name: What reports call it.
        case: The net, its data and how it is trained.
        expected: Codes of which the first finding must have one; empty: a healthy net.
        note: What is wrong with it; of a healthy one, what a naive rule would find.
        after: The numbers of training steps after which it is examined.
    """

    name: str
    case: Case
    expected: tuple[str, ...]
    note: str
    after: tuple[int, ...] = (0,)


def visit(entry: Entry, look: Look, *, seed: int = 0) -> None:
    """Train the entry's case, and call `look` after each of the steps in `entry.after`.

    The batch that `look` is given is not the one of the last step. The global random state is given
    back.
    """
    nets: list[nn.Module] = []

    def build() -> nn.Module:
        nets.append(entry.case.build())
        return nets[-1]

    def stop(step: int) -> None:
        optimiser = make_optimiser(entry.case.recipe, nets[-1].parameters())
        look(step, nets[-1], first_batch(entry.case, seed + step), optimiser)

    def on_step(step: int, _: object) -> None:
        if step + 1 in entry.after:
            stop(step + 1)

    if 0 in entry.after:
        with seeded(seed):
            build()
            stop(0)
    if max(entry.after) > 0:
        case = entry.case.replace(build=build)
        train(case, seed, steps=max(entry.after), on_step=on_step)
