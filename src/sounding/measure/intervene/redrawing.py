"""Weights drawn anew the usual way, for the time of a fork."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from sounding.measure.intervene.scene import Scene
from sounding.train import seeded

TABLES = (nn.Embedding, nn.EmbeddingBag)


@contextlib.contextmanager
def redrawn(scene: Scene) -> Iterator[None]:
    """Every trainable layer of torch starts from the weights that torch draws for it.

    But vectors of tables have length 1 or so, where torch draws N(0, 1): a table may serve as the
    head too, and its products with anything are then of size 1 in every width. Scales of
    normalisations are 1 again. Parameters of the user's own modules stay as they are.

    Raises:
        ValueError: If there is no such layer.
    """
    layers = [m for m in scene.model.modules() if _drawable(m)]
    if not layers:
        raise ValueError("no layer knows how to draw its own weights")
    layers.sort(key=lambda m: isinstance(m, TABLES))  # last: a head may share its weights with one
    with seeded(0), torch.no_grad():
        for layer in layers:
            draw: Any = getattr(layer, "reset_parameters", None) or layer._reset_parameters
            draw()
            if isinstance(layer, TABLES):
                layer.weight /= layer.embedding_dim**0.5
    yield


def _drawable(module: nn.Module) -> bool:
    own = list(module.parameters(recurse=False))
    return (
        bool(own)
        and all(p.requires_grad for p in own)
        and type(module).__module__.startswith("torch.nn.")
        and (hasattr(module, "reset_parameters") or hasattr(module, "_reset_parameters"))
        and not parametrize.is_parametrized(module)
    )
