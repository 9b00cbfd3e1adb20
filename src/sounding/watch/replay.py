"""Make the last steps of a training again, up to the one in which a number stopped being one."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from sounding.capture.nested import tensors
from sounding.capture.outermost import ModelCall
from sounding.capture.passes import finish, record
from sounding.capture.recorder import Recorder
from sounding.measure.course import Course
from sounding.measure.examination import readings
from sounding.measure.intervene import Scene
from sounding.measure.readings import Readings
from sounding.watch.ring import Generation, Past, Ring

SECONDS = 10.0  # that one replay may take


def provenance(ring: Ring, scene: Scene) -> Readings | None:
    """The pass in which NaN or Inf first appeared, read as an examined step is; None: not found.

    The steps of the ring are made again from its snapshot, each with the inputs, random numbers,
    learning rates and output gradients that it had; model and optimiser are given back. Where the
    model's own numbers are finite and the gradient of its output is not, the loss made it: the
    stored batches whose loss can be computed are then tried with the weights of that moment. It
    must come to the same step as the run did, or nothing is said.
    """
    if not ring.broken:
        return None
    for generation in ring.generations:
        with scene.kept(), torch.enable_grad():
            generation.begin.restore()
            found = _until(ring, generation, scene)
        if found is not None:
            return found if found.step in _possible(scene.course) else None
    return None


def _possible(course: Course) -> tuple[int, int]:
    """The step of the first loss that is no number and stays so, and the one before it."""
    finite = np.isfinite(course.loss)
    first = len(finite) - int(np.argmax(finite[::-1])) if finite.any() else 0
    return first, first - 1


def _until(ring: Ring, generation: Generation, scene: Scene) -> Readings | None:
    """The first bad step of a generation, read; the steps before it are made."""
    began = time.perf_counter()
    optimizer = ring.optimizer
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if not _finite(parameters):  # after the very first step, whose gradients were examined
        first = generation.steps[0] if generation.steps else None
        return _moved(ring, first) if first and first.number == 1 and first.calls else None
    for past in generation.steps:
        if not past.whole:
            return None
        outputs = passes(ring, past)
        gradients = [p.grad for p in parameters if p.grad is not None]
        made = [t for output in outputs for t in tensors(output)]
        if not _finite(made) or not _finite(gradients):
            return _read(ring, past, scene)
        step(optimizer, parameters, past)
        if not _finite(parameters):
            following = generation.steps[past.number + 1 - generation.steps[0].number :]
            return _moved(ring, following[0]) if following and following[0].calls else None
        if time.perf_counter() - began > SECONDS:
            return None
    return None


def passes(ring: Ring, past: Past) -> list[object]:
    """The forward and backward passes of a step again; the outputs, and gradients in their place.

    A whole step is meant.
    """
    ring.optimizer.zero_grad()
    outputs = [forward(ring.model, call) for call in past.calls]
    for output, call in zip(outputs, past.calls, strict=True):
        backward(output, call)
    return outputs


def step(optimizer: Optimizer, parameters: list[torch.Tensor], past: Past) -> None:
    """The step itself, with the clipping and the rates that it had."""
    if math.isfinite(past.clip):
        nn.utils.clip_grad_norm_(parameters, past.clip)
    for group, rate in zip(optimizer.param_groups, past.rates, strict=True):
        group["lr"] = rate
    optimizer.step()


def _moved(ring: Ring, past: Past) -> Readings:
    """The first pass with parameters that the step before it has itself made NaN or Inf."""
    named = ring.model.named_parameters()
    broken = tuple(name for name, p in named if not _finite([p]))
    found = _recorded(ring, past, past.calls[-1])
    return dataclasses.replace(found, overflowed=broken)


def _read(ring: Ring, past: Past, scene: Scene) -> Readings | None:
    """The guilty step under the recorder: its own calls, or a stored batch with its loss."""
    took = None
    for call in past.calls:
        took = _recorded(ring, past, call)
        if took.signal.nonfinite:
            return took
    sent = [g for call in past.calls for g in call.gradients if g is not None]
    return took if _finite(sent) else _with_its_loss(ring, past, scene) or took


def _recorded(ring: Ring, past: Past, call: ModelCall) -> Readings:
    ring.optimizer.zero_grad()
    recorder = Recorder(ring.model)
    with recorder.watching():
        recorder.inputs((call.args, call.kwargs))
        output = forward(ring.model, call)
    backward(output, call)
    taken = finish(recorder, ring.model, math.nan)
    return readings(ring.model, taken, step=past.number, optimizer=ring.optimizer)


def _with_its_loss(ring: Ring, past: Past, scene: Scene) -> Readings | None:
    """A stored batch whose loss, or its gradient, is no number with the weights of this moment."""
    for step in scene.steps:
        if not step.tape.whole:
            continue
        with contextlib.suppress(ValueError, RuntimeError):
            taken = record(ring.model, lambda step=step: scene.loss(step), step.given)
            found = readings(ring.model, taken, step=past.number, optimizer=ring.optimizer)
            if found.signal.nonfinite or (found.gradients and found.gradients.nonfinite):
                return found
    return None


def forward(model: nn.Module, call: ModelCall) -> object:
    """The call again, with the random numbers that it drew."""
    with _drawing(call):
        kind = next((t.device.type for t in tensors((call.args, call.kwargs))), "cpu")
        with torch.autocast(kind, call.autocast, enabled=call.autocast is not None):
            return model(*call.args, **call.kwargs)


def backward(output: object, call: ModelCall) -> None:
    """Send the gradients that came to the output back again."""
    made = [t for t in tensors(output) if t.requires_grad]
    pairs = [(t, g) for t, g in zip(made, call.gradients, strict=False) if g is not None]
    if pairs:
        torch.autograd.backward([t for t, _ in pairs], [g for _, g in pairs])


@contextlib.contextmanager
def _drawing(call: ModelCall) -> Iterator[None]:
    cpu, cuda = call.random
    torch.set_rng_state(cpu)
    if cuda is not None:
        torch.cuda.set_rng_state(cuda)
    yield


def _finite(every: list[torch.Tensor]) -> bool:
    held = [t.detach() for t in every if t.is_floating_point() and t.numel()]
    held = [t.coalesce().values() if t.is_sparse else t for t in held]
    return all(bool(torch.isfinite(t).all()) for t in held)
