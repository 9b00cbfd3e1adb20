"""From a recorded pass to readings: every measurement, put beside what theory predicts."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from sounding.capture.node import Node, following_activation
from sounding.capture.operations import is_loss
from sounding.capture.passes import Recording
from sounding.capture.sources import source_of
from sounding.measure import attribution
from sounding.measure.expectation import expectation
from sounding.measure.gradients import gradients
from sounding.measure.loss_call import loss_call
from sounding.measure.readings import Call, Optimiser, Readings
from sounding.measure.signal import signal
from sounding.measure.weights import weights
from sounding.result import Series

ADAPTIVE = ("Ada", "RMSprop", "Lion", "Rprop", "Muon", "NAdam", "RAdam", "SparseAdam")


def readings(
    model: nn.Module,
    recording: Recording,
    *,
    step: int = 0,
    optimizer: torch.optim.Optimizer | None = None,
    history: Series | None = None,
) -> Readings:
    """Everything that `recording` holds about `model`, reduced to numbers on the CPU."""
    nodes = recording.nodes
    calls = tuple(_call(node, nodes, model) for node in nodes)
    full = attribution.main_path(nodes, recording.end)
    back = gradients(recording)
    finite = np.ones(len(nodes), dtype=bool)
    finite[list(back.nonfinite)] = False
    forward = signal(nodes, finite)
    path = tuple(i for i in full if nodes[i].role == "weight")
    first = next(model.parameters(), torch.zeros(0))
    inputs = [n for n in nodes if n.role == "input"]
    names = [n.operation for n in nodes if n.role == "loss"]
    named = [name for name in names if is_loss(name)]
    return Readings(
        model=type(model).__name__,
        step=step,
        batch=inputs[0].rows if inputs else 0,
        device=str(first.device),
        dtype=str(first.dtype).removeprefix("torch."),
        loss=recording.loss,
        loss_name=(named or names[-1:] or [""])[0],
        calls=calls,
        path=path,
        signal=forward,
        gradients=None if recording.cut else back,
        weights=weights(recording, calls),
        forward=attribution.forward(nodes, full, forward.rms),
        backward=attribution.backward(nodes, full, back.rms),
        expectation=expectation(calls, full, forward, back),
        optimiser=None if optimizer is None else read_optimiser(optimizer),
        history=history,
        notes=recording.notes,
        loss_call=loss_call(recording.compared, nodes),
    )


def read_optimiser(optimizer: torch.optim.Optimizer) -> Optimiser:
    """Name, first group's learning rate, and whether steps are scaled by the gradient's size."""
    group = optimizer.param_groups[0]
    names = [c.__name__ for c in type(optimizer).__mro__]
    adaptive = any(name.startswith(ADAPTIVE) for name in names)
    return Optimiser(
        name=type(optimizer).__name__,
        lr=float(group.get("lr", math.nan)),
        adaptive=adaptive,
        eps=float(group.get("eps", math.nan)) if adaptive else math.nan,
    )


def _call(node: Node, nodes: list[Node], model: nn.Module) -> Call:
    follower = following_activation(node, nodes) if node.role == "weight" else None
    return Call(
        name=node.name,
        module=node.module,
        operation=node.operation,
        role=node.role,
        inputs=tuple(node.inputs),
        main=node.main,
        severed=node.severed,
        arguments=node.arguments,
        weight=node.weight,
        bias=node.bias,
        fan_in=node.fan_in,
        fan_out=node.fan_out,
        units=node.units,
        dtype=node.dtype,
        size=node.output.features if node.output else 0,
        weight_second_moment=node.weight_second_moment,
        bias_second_moment=node.bias_second_moment,
        activation=follower.operation if follower else "",
        activation_arguments=follower.arguments if follower else {},
        source=source_of(model, node.module) if node.role != "loss" else "",
    )
