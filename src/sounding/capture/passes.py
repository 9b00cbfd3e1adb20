"""Record one forward and backward pass of a model on a batch, leaving no trace on it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from sounding.capture.compiled import is_compiled
from sounding.capture.keep import given_back
from sounding.capture.losses import Comparison
from sounding.capture.matrices import Matrix, matrices
from sounding.capture.node import Node
from sounding.capture.recorder import FAILURES, Recorder
from sounding.capture.sample import norms, share
from sounding.objective import check_scalar


@dataclasses.dataclass(eq=False)
class Recording:
    """What one pass left behind: reduced numbers only, no tensor of the pass itself."""

    nodes: list[Node]
    loss: float
    gradients: dict[str, float | None]  # parameter -> 2-norm of its gradient, None: none arrived
    sizes: dict[str, float]  # parameter -> its own 2-norm
    matrices: dict[str, Matrix]  # weight (two dimensions or more) -> what is left of it
    failures: tuple[str, ...]  # of the recorder itself
    end: int = -1  # the call that made the loss, -1 where it was not seen
    notes: tuple[str, ...] = ()  # what was not seen, a sentence each
    compared: Comparison | None = None  # how the loss was called
    cut: bool = False  # the model was called again before the loss was there


def record(
    model: nn.Module,
    compute: Callable[[], torch.Tensor],
    inputs: Any = (),
    *,
    also: tuple[nn.Module, ...] = (),
) -> Recording:
    """One forward and backward pass, recorded; the model is given back as it was.

    Costs about 1.3 plain passes for nets whose step takes 10 ms or more (benchmarks/checkup.py). A
    compiled model runs uncompiled for this pass, because hooks do not reach compiled code.

    Args:
        model: What is watched.
        compute: Runs it and returns the loss, a tensor with one element.
        inputs: The tensors that go in, for a model that takes them as keywords.
        also: Other modules with a state to be given back, such as a loss with buffers.

    Raises:
        ValueError: If the loss is not one number that depends on a trainable parameter.
    """
    with given_back(model, *also):
        recorder = Recorder(model)
        with torch.enable_grad():
            with recorder.watching():
                recorder.inputs(inputs)
                loss = check_scalar(compute())
                recorder.ends_with(loss)
            loss.backward()
        return finish(recorder, model, float(loss.detach()))


def finish(recorder: Recorder, model: nn.Module, loss: float) -> Recording:
    """Read what is left on the parameters after the backward pass: their gradients."""
    parameters = dict(model.named_parameters())
    nodes = recorder.nodes
    lookups = {n.weight for n in nodes if n.operation.startswith("embedding")}
    lookups -= {n.weight for n in nodes if not n.operation.startswith("embedding")}
    weights = matrices({n: p for n, p in parameters.items() if p.dim() >= 2}, lookups)
    sizes = {name: matrix.norm for name, matrix in weights.items()}
    sizes |= _norms({n: p for n, p in parameters.items() if p.dim() < 2})
    there = {n: p.grad for n, p in parameters.items() if p.requires_grad and p.grad is not None}
    lengths = _norms(there)
    gradients = {n: lengths.get(n) for n, p in parameters.items() if p.requires_grad}
    for node in nodes:
        if node.weight:
            node.weight_second_moment = sizes[node.weight] ** 2 / parameters[node.weight].numel()
        if node.bias:
            node.bias_second_moment = sizes[node.bias] ** 2 / parameters[node.bias].numel()
    return Recording(
        nodes=nodes,
        loss=loss,
        gradients=gradients,
        sizes=sizes,
        matrices=weights,
        failures=tuple(f"{type(f).__name__}: {f}" for f in recorder.failures),
        end=recorder.end,
        notes=_notes(recorder, model, gradients),
        compared=recorder.compared,
        cut=recorder.cut,
    )


def _norms(tensors: dict[str, torch.Tensor]) -> dict[str, float]:
    """2-norms; of a tensor that is spread over processes, by this one's part of it."""
    found = zip(tensors.items(), norms(list(tensors.values())), strict=True)
    return {name: size * math.sqrt(share(tensor)) for (name, tensor), size in found}


def _notes(
    recorder: Recorder, model: nn.Module, gradients: dict[str, float | None]
) -> tuple[str, ...]:
    """What this pass could not see, for the user to know."""
    notes = []
    if recorder.failures:
        first = recorder.failures[0]
        notes.append(
            f"the recorder failed on {_count(recorder.failures, 'call')}, which are missing "
            f"(first: {type(first).__name__}: {first})"
            + ("; it stopped there" if len(recorder.failures) >= FAILURES else "")
        )
    if recorder.cut:
        notes.append(
            "the model was called several times before backward; the first call was recorded, and "
            "its gradients are left out, for they come from all of them"
        )
    if is_compiled(model):
        notes.append("the model is compiled; it ran uncompiled for this pass")
    used = recorder.origins.used | {n for n, g in gradients.items() if g is not None}
    if idle := recorder.scope.never_ran(used):
        notes.append(f"{_count(idle, 'module')} with parameters never ran: {_some(idle)}")
    if recorder.graph.opaque:
        notes.append(
            f"{_count(recorder.graph.opaque, 'call')} seen from outside only (a script, a custom "
            f"function or kernel): {_some(recorder.graph.opaque)}"
        )
    blind = [
        n.name
        for n in recorder.nodes
        if n.gradient is None and n.consumers and gradients.get(n.weight)
    ]
    if blind:
        notes.append(
            f"no gradient seen at the output of {_count(blind, 'layer')}, though it reached the "
            f"weights (reentrant checkpointing does this): {_some(blind)}"
        )
    return tuple(notes)


def _count(names: Sequence[object], noun: str) -> str:
    return f"{len(names)} {noun}" + ("" if len(names) == 1 else "s")


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
