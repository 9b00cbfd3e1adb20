"""State dicts from files that hold numbers only: safetensors, or torch's format without pickle."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

NESTED = ("state_dict", "model_state_dict", "model", "module", "net", "weights")


def load_state(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """The state dict in a checkpoint: of the model alone, or under a usual name beside others.

    A prefix that wrappers add to every name (``module.``, ``_orig_mod.``) is taken off.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, holds no state dict, or can only be read by pickle, which runs
            whatever program the file contains.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    found = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    state = _state_in(found, path)
    for prefix in ("module.", "_orig_mod."):
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def set_state(model: nn.Module, state: Mapping[str, torch.Tensor], path: object) -> None:
    """Load `state` into `model`, whole or not at all.

    Raises:
        ValueError: If names or shapes do not fit; names the first ones.
    """
    own = model.state_dict()
    missing, extra = [n for n in own if n not in state], [n for n in state if n not in own]
    if missing or extra:
        said = [
            f"lacks {missing[0]}" + (f" and {len(missing) - 1} more" * (len(missing) > 1))
        ] * bool(missing)
        said += [f"has {extra[0]}, which the model does not"] * bool(extra)
        raise ValueError(f"{path} is of another architecture: it {' and '.join(said)}")
    for name, value in own.items():
        if value.shape != state[name].shape:
            raise ValueError(
                f"{path} is of another architecture: {name} is {tuple(state[name].shape)} there, "
                f"{tuple(value.shape)} in the model"
            )
    model.load_state_dict(dict(state))


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no whole safetensors file: {error}") from error


def _torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than numbers, or is no checkpoint: reading it would need pickle, "
            "which runs any program that the file contains, so it is refused; save the weights "
            "alone: safetensors.torch.save_file(model.state_dict(), 'model.safetensors')"
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{path} is no whole checkpoint: {str(error).splitlines()[0]}") from error


def _state_in(found: Any, path: Path) -> dict[str, torch.Tensor]:
    """The names with tensors, one level down where they are not at the top."""
    for candidate in [found, *(found.get(k) for k in NESTED if isinstance(found, Mapping))]:
        if isinstance(candidate, Mapping) and candidate:
            tensors = {str(k): v for k, v in candidate.items() if isinstance(v, torch.Tensor)}
            if tensors and len(tensors) == len(candidate):
                return tensors
    raise ValueError(
        f"{path} holds no state dict; save one with torch.save(model.state_dict(), ...) or "
        "safetensors.torch.save_file"
    )
