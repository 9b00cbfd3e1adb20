"""Is this network, with this batch, something that can be trained? One sentence where it is not."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from sounding.objective import Batch, Objective, check_scalar
from sounding.train.seeding import random_state_given_back

FIRST_WORDS = 200  # characters of torch's own message that are passed on


def check_batch(model: nn.Module, objective: Objective, batch: Batch) -> None:
    """One forward pass, to say in one sentence why `batch` cannot be trained on.

    Buffers and random state are given back. Costs one forward pass; a caller that runs its own
    uses :func:`check_model`, :func:`check_numbers` and :func:`explained` around it instead.

    Raises:
        TypeError: If `model` is not a module.
        ValueError: If nothing can be trained, the batch holds NaN or infinity, the network or the
            loss cannot take it, or the loss is not one number that depends on a parameter.
    """
    check_model(model)
    check_numbers(batch)
    buffers = [(b, b.detach().clone()) for b in model.buffers()]
    with random_state_given_back(), torch.enable_grad():
        try:
            with explained(model, batch):
                loss = objective(model, batch)
            check_scalar(loss)
        finally:
            with torch.no_grad():
                for buffer, copy in buffers:
                    buffer.copy_(copy)


def check_model(model: Any) -> None:
    """Something in `model` can be trained.

    Raises:
        TypeError: If it is not a module.
        ValueError: If it has no parameters, only frozen ones, or some without a shape yet.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"the model is a {type(model).__name__}, but it must be a torch.nn.Module")
    parameters = list(model.parameters())
    name = type(model).__name__
    if not parameters:
        raise ValueError(
            f"{name} has no parameters, so there is nothing to train; layers in a plain list or "
            "dict are not found, so keep them in nn.ModuleList or nn.ModuleDict"
        )
    if any(isinstance(p, nn.UninitializedParameter) for p in parameters):
        raise ValueError(
            f"{name} has lazy parameters without a shape; run one batch through it in "
            "build, before it is returned"
        )
    if not any(p.requires_grad for p in parameters):
        raise ValueError(
            f"all {len(parameters)} parameters of {name} are frozen; unfreeze those that are to be "
            "trained: parameter.requires_grad_(True)"
        )


def check_numbers(batch: Batch) -> None:
    """The batch holds no NaN and no infinity.

    A tensor of nothing but 0 and -inf passes: it is an additive attention mask.

    Raises:
        ValueError: Names the tensor and counts.
    """
    for name, tensor in _named_tensors(batch):
        if _sound(tensor):
            continue
        bad, kind = tensor.isnan(), "NaN"
        if not bad.any():
            bad, kind = tensor.isinf(), "infinity"
        rows = bad.flatten(1).any(1).sum().item() if bad.ndim > 1 else bad.sum().item()
        raise ValueError(
            f"the {name} of the batch holds {kind} in {int(bad.sum())} of {bad.numel()} numbers "
            f"({int(rows)} samples); remove or fill in these samples before training"
        )


def only_numbers(batch: Batch) -> torch.Tensor:
    """Whether :func:`check_numbers` would pass, as a tensor on the batch's device: no waiting."""
    flags = [_sound(tensor) for _, tensor in _named_tensors(batch)]
    if not flags:
        return torch.tensor(True)
    return torch.stack([flag.to(flags[0].device) for flag in flags]).all()


def check_labels(output: Any, target: Any) -> None:
    """Class labels are below the number of classes: asked beforehand on CUDA only.

    There the loss's own check kills the whole process's use of the device; elsewhere it raises an
    exception, which :func:`explained` puts into words. Costs one wait for the device.

    Raises:
        ValueError: If a label is too large.
    """
    if not is_classification(output, target) or output.device.type != "cuda" or output.ndim != 2:
        return
    largest = int(target.max())
    if largest >= output.shape[1]:
        raise ValueError(_out_of_range(largest))


def is_classification(output: Any, target: Any) -> bool:
    """Whether `output` scores two or more classes along dimension 1, and `target` names one."""
    return (
        isinstance(output, torch.Tensor)
        and isinstance(target, torch.Tensor)
        and output.is_floating_point()
        and not (target.is_floating_point() or target.is_complex() or target.dtype == torch.bool)
        and output.ndim >= 2
        and output.shape[1] >= 2
        and output.shape[:1] + output.shape[2:] == target.shape
    )


@contextlib.contextmanager
def explained(model: nn.Module, batch: Batch, step: int | None = None) -> Iterator[None]:
    """What a network or loss raises about its batch inside becomes one sentence about the batch.

    Raises:
        ValueError: From the RuntimeError, IndexError or ValueError that was raised.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise  # the size is at fault, not the batch's kind, and torch's own words say what to do
    except (RuntimeError, IndexError, ValueError) as error:
        when = "" if step is None else f" at step {step}"
        raise ValueError(_sentence(model, batch, str(error), when)) from error


def _sentence(model: nn.Module, batch: Batch, words: str, when: str) -> str:
    label = re.search(r"Target (-?\d+) is out of bounds", words)
    if label:
        return _out_of_range(int(label[1])) + when
    tensors = _named_tensors(batch, floating=False)
    homes = {p.device for p in model.parameters()} | {b.device for b in model.buffers()}
    away = [(name, t.device) for name, t in tensors if t.device not in homes]
    if away and len(homes) == 1:
        home = next(iter(homes))
        return (
            f"the {away[0][0]} of the batch is on {away[0][1]}, but the network on {home}{when}; "
            f"move the batch there: .to('{home}')"
        )
    shapes = ", ".join(f"{name} {_described(tensor)}" for name, tensor in tensors)
    first = next((line for line in words.splitlines() if line.strip()), "no message")
    first = first.strip().rstrip(".")[:FIRST_WORDS]
    advice = "" if ";" in first else f"; {_advice(model, tensors, words)}"  # ours advise already
    return f"the network or its loss cannot take the batch ({shapes}){when}: {first}{advice}"


def _advice(model: nn.Module, tensors: list[tuple[str, torch.Tensor]], words: str) -> str:
    if "index out of range" in words:
        return "compare the largest index in the batch with the embedding's size"
    own = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    if "dtype" in words or "scalar type" in words:
        other = [name for name, t in tensors if t.is_floating_point() and t.dtype != own]
        if other:
            return f"the network computes in {_short(own)}, so convert the {other[0]}: .to({own})"
        return "convert the batch to the type that is asked for"
    return "compare the batch's shape with what the first layer and the loss expect"


def _out_of_range(label: int) -> str:
    return (
        f"label {label} is out of range for the network's outputs; labels run from 0 to one less "
        "than the number of outputs, so relabel the data or widen the last layer"
    )


def _named_tensors(batch: Any, floating: bool = True) -> list[tuple[str, torch.Tensor]]:
    """The tensors of a batch with a name each: 'input', 'target', 'input mask', ..."""
    found: list[tuple[str, torch.Tensor]] = []

    def visit(name: str, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            if not floating or (value.is_floating_point() and not value.is_meta):
                found.append((name, value))
        elif isinstance(value, dict):
            for key, item in value.items():
                visit(f"{name} {key}".strip(), item)
        elif isinstance(value, tuple | list):
            for index, item in enumerate(value):
                visit(f"{name} {index}".strip(), item)

    if isinstance(batch, tuple | list) and len(batch) == 2:
        visit("input", batch[0])
        visit("target", batch[1])
    else:
        visit("" if isinstance(batch, dict | tuple | list) else "tensor", batch)
    return found


def _sound(tensor: torch.Tensor) -> torch.Tensor:
    """Whether `tensor` is finite or an additive mask, without waiting for its device."""
    return tensor.isfinite().all() | ((tensor == 0) | (tensor == -torch.inf)).all()


def _described(tensor: torch.Tensor) -> str:
    return f"{_short(tensor.dtype)} {tuple(tensor.shape)}"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
