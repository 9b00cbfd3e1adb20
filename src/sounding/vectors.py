"""The trainable parameters of a model as one flat vector, and back; random vectors from a seed.

Letters: n parameters in all, k vectors. Vectors are rows, (k, n), so that each lies in one piece.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

Pattern = str | Sequence[str] | None  # 'layers.0.*', several of these, or None for everything


def trainable(model: nn.Module, pattern: Pattern = None) -> dict[str, nn.Parameter]:
    """The parameters that are trained, by name: tied ones once, frozen ones left out.

    Args:
        model: Any module.
        pattern: Shell-style patterns of names (``'layers.0.*'``); a name of a module stands for
            all that is in it.

    Raises:
        ValueError: If nothing is left; says which names there are.
    """
    everything = {n: p for n, p in model.named_parameters() if p.requires_grad}
    patterns = [pattern] if isinstance(pattern, str) else pattern
    chosen = everything if patterns is None else matching(everything, patterns)
    if not chosen:
        if not everything:
            raise ValueError(
                f"{type(model).__name__} has no trainable parameters; unfreeze those that are to "
                "be looked at: parameter.requires_grad_(True)"
            )
        known = ", ".join(list(everything)[:8]) + (", ..." if len(everything) > 8 else "")
        raise ValueError(f"no trainable parameter matches {pattern!r}; there are {known}")
    for name, parameter in chosen.items():
        if not parameter.is_floating_point():
            raise ValueError(
                f"{name} is {parameter.dtype}; curvature is defined for real numbers, so freeze "
                "it or keep real and imaginary parts as two parameters"
            )
    return chosen


def matching(parameters: dict[str, nn.Parameter], patterns: Sequence[str]) -> dict:
    """Those whose name, or a module's above them, matches one of the shell-style patterns."""
    return {
        name: value
        for name, value in parameters.items()
        if any(fnmatch.fnmatchcase(name, p) or name.startswith(f"{p}.") for p in patterns)
    }


def local(tensor: torch.Tensor) -> torch.Tensor:
    """What this process holds of a sharded tensor (a DTensor); any other tensor as it is."""
    with torch.no_grad():
        return tensor.to_local() if hasattr(tensor, "to_local") else tensor  # type: ignore[operator]


class Layout:
    """Where each parameter lies in the flat vector of all of them; of sharded ones, the shards."""

    def __init__(self, parameters: dict[str, torch.Tensor]) -> None:
        self.shapes = {name: local(p).shape for name, p in parameters.items()}
        self.sizes = [shape.numel() for shape in self.shapes.values()]
        self.size = sum(self.sizes)

    def split(self, vector: torch.Tensor) -> list[torch.Tensor]:
        """(..., n) -> one view (..., *shape) for each parameter."""
        parts = vector.split(self.sizes, dim=-1)
        ahead = vector.shape[:-1]
        shapes = self.shapes.values()
        return [part.view((*ahead, *shape)) for part, shape in zip(parts, shapes, strict=True)]

    def join(self, tensors: Sequence[torch.Tensor], *, ahead: int = 0) -> torch.Tensor:
        """The inverse of `split`; `ahead` dimensions in front are kept."""
        parts = [local(t) for t in tensors]
        rows = [t.reshape(*t.shape[:ahead], t.shape[ahead:].numel()) for t in parts]
        return torch.cat(rows, dim=-1)

    def slices(self) -> dict[str, slice]:
        """Where each parameter lies."""
        found, start = {}, 0
        for name, size in zip(self.shapes, self.sizes, strict=True):
            found[name] = slice(start, start + size)
            start += size
        return found


def normal(
    count: int,
    size: int,
    *,
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
    part: int = 0,
) -> torch.Tensor:
    """(count, size) standard normal numbers from a generator of their own, the same anywhere.

    Drawn on the CPU, so that a GPU gets the same ones; the global generators do not move. Where
    each process holds a part of every vector, `part` says which: others draw other numbers.
    """
    if (
        part
    ):  # mixed, as seed + part would repeat one part's numbers in the next one's other vectors
        seed = int(np.random.SeedSequence((seed % 2**32, part)).generate_state(1)[0])
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, size, generator=generator, dtype=torch.float32)
    return drawn.to(device, dtype)
