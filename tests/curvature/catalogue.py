"""Small networks, one for each layer, loss and idiom whose second derivatives torch may get wrong.

``build(name)`` makes one: always the same, in float32, with gradients from a first backward pass.
In most of them ``middle`` is the thing, between two linear layers, so that no derivative of it is
missed; the ``names`` of a case are the words of which an error about it has to hold one.
"""

import torch
from catalogue_idioms import IDIOMS
from catalogue_layers import LAYERS
from catalogue_losses import LOSSES
from catalogue_networks import Case

from sounding.objective import as_objective

CATALOGUE = LAYERS | IDIOMS | LOSSES

# One cannot; in the others it would shorten the rows that are too long.
NO_FIRST_PASS = (
    "Function without backward",
    "Embedding max_norm, active",
    "Embedding max_norm, active for the last sample",
)


def build(name: str) -> Case:
    """The case of this name, the same every time; its gradients are those of a first pass."""
    with torch.random.fork_rng(devices=[]), torch.compiler.set_stance("force_eager"):
        torch.manual_seed(0)
        case = CATALOGUE[name]()
        if name not in NO_FIRST_PASS:
            as_objective(case.loss)(case.model, case.batch).backward()
    return case
