"""Changes of a model that last as long as a fork: inputs, activations, dropout, normalisation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import TorchFunctionMode

from sounding.capture.nested import with_tensors
from sounding.capture.operations import activation_of, argument, canonical
from sounding.measure.intervene.scene import Scene

HALF_KINDS = (torch.bfloat16, torch.float16)
LEAK = 0.1  # slope below 0 of what takes a ReLU's place, as in the remedy
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@contextlib.contextmanager
def standardised(scene: Scene) -> Iterator[None]:
    """Every feature of the inputs has mean 0 and deviation 1 over the stored batches.

    Of images it is every channel, of sequences every feature, as in the remedy.

    Raises:
        ValueError: If no input is a floating point array.
    """
    first = next((a for a in scene.steps[0].args if _array(a)), None)
    if first is None:
        raise ValueError("the inputs are no floating point arrays")
    at = next(i for i, a in enumerate(scene.steps[0].args) if a is first)
    along = _features(scene, first)
    rows = torch.cat([step.args[at].movedim(along, -1).flatten(0, -2) for step in scene.steps])
    shape = [1] * first.dim()
    shape[along] = -1
    mean, std = rows.mean(0).view(shape), rows.std(0).view(shape)
    std = torch.where(std > 0, std, torch.ones_like(std))

    def hook(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple((a - mean) / std if i == at else a for i, a in enumerate(args))

    handle = scene.called.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _features(scene: Scene, given: torch.Tensor) -> int:
    """The dimension along which the inputs' features, or channels, stand."""
    layers = (m for m in scene.called.modules() if isinstance(m, (*WEIGHTED, nn.RNNBase)))
    channels = given.dim() > 3 or isinstance(next(layers, None), nn.Conv1d)
    return 1 if given.dim() > 2 and channels else -1


def _array(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() > 1


@contextlib.contextmanager
def undropped(scene: Scene) -> Iterator[None]:
    """No dropout acts: neither modules nor functional calls."""
    originals = {
        name: getattr(functional, name) for name in vars(functional) if name.endswith("dropout")
    }
    modules = [m for m in scene.model.modules() if isinstance(m, _DropoutNd)]
    rates = [m.p for m in modules]

    attention: Any = functional.scaled_dot_product_attention

    def same(input: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        return input

    def whole(*args: Any, **kwargs: Any) -> torch.Tensor:
        kwargs |= dict(zip(("attn_mask", "dropout_p", "is_causal"), args[3:], strict=False))
        return attention(*args[:3], **kwargs | {"dropout_p": 0.0})

    try:
        functional.scaled_dot_product_attention = whole
        for module in modules:
            module.p = 0.0
        for name in originals:
            setattr(functional, name, same)
        yield
    finally:
        functional.scaled_dot_product_attention = attention
        for name, original in originals.items():
            setattr(functional, name, original)
        for module, rate in zip(modules, rates, strict=True):
            module.p = rate


@contextlib.contextmanager
def rectified(scene: Scene) -> Iterator[None]:
    """A ReLU stands behind every linear layer or convolution but the one that ran last."""
    layers = [m for m in scene.model.modules() if isinstance(m, WEIGHTED)]
    order: list[nn.Module] = []
    handles = [m.register_forward_hook(lambda m, a, o: order.append(m)) for m in layers]
    try:
        with torch.no_grad():
            scene.output(scene.steps[0])
    finally:
        for handle in handles:
            handle.remove()
    hidden = [m for m in layers if m in order and m is not order[-1]]
    rectify: Any = lambda m, a, o: functional.relu(o)  # noqa: E731 - a hook
    handles = [m.register_forward_hook(rectify) for m in hidden]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Leaks(TorchFunctionMode):
    """Every ReLU is a leaky one."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if activation_of(canonical(name), args, kwargs) != "relu":
            return func(*args, **kwargs)
        x = args[0] if args else kwargs["input"]
        in_place = name.endswith("_") or argument("inplace", 1, False, args, kwargs) is True
        return functional.leaky_relu(x, LEAK, inplace=in_place)


@contextlib.contextmanager
def leaking(scene: Scene) -> Iterator[None]:
    """Inside the model a ReLU lets LEAK of what is negative through, so that no unit is dead."""
    model = scene.called
    forward = model.forward

    def leaks(*args: Any, **kwargs: Any) -> Any:
        with _Leaks():
            return forward(*args, **kwargs)

    own = model.__dict__.get("forward")
    model.forward = leaks
    try:
        yield
    finally:
        model.__dict__.pop("forward")
        if own is not None:
            model.forward = own


@contextlib.contextmanager
def adopted(scene: Scene) -> Iterator[None]:
    """The trainable parameters that no group of the optimiser holds are in its first one.

    Raises:
        ValueError: If it holds them all.
    """
    optimizer = scene.optimizer
    assert optimizer is not None
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    missing = [p for p in scene.model.parameters() if p.requires_grad and id(p) not in held]
    if not missing:
        raise ValueError("the optimiser holds every parameter")
    first = optimizer.param_groups[0]
    optimizer.add_param_group({**first, "params": missing})
    try:
        yield
    finally:
        optimizer.param_groups.pop()


@contextlib.contextmanager
def _in_mode(modules: list[nn.Module], *, training: bool) -> Iterator[None]:
    modes = [m.training for m in modules]
    for module in modules:
        module.training = training
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


@contextlib.contextmanager
def settled(scene: Scene) -> Iterator[None]:
    """Batch norms whose weights are frozen act as in evaluation."""
    found: list[nn.Module] = [
        m
        for m in scene.model.modules()
        if isinstance(m, _BatchNorm) and not any(p.requires_grad for p in m.parameters())
    ]
    with _in_mode(found, training=False):
        yield


@contextlib.contextmanager
def in_training(scene: Scene) -> Iterator[None]:
    """Batch norms with weights that learn act as in training, whatever mode the loop chose."""
    found: list[nn.Module] = [
        m
        for m in scene.model.modules()
        if isinstance(m, _BatchNorm) and all(p.requires_grad for p in m.parameters())
    ]
    with _in_mode(found, training=True):
        yield


@contextlib.contextmanager
def unbatched(scene: Scene) -> Iterator[None]:
    """Batch norms normalise each sample over its own channels instead (one group)."""
    found = [m for m in scene.model.modules() if isinstance(m, _BatchNorm)]
    if not found:
        raise ValueError("the model has no batch norm")

    def alone(module: Any, args: tuple[Any, ...], _: Any) -> torch.Tensor:
        return functional.group_norm(args[0], 1, module.weight, module.bias, module.eps)

    handles = [m.register_forward_hook(alone) for m in found]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def widened(scene: Scene) -> Iterator[None]:
    """Weights, buffers and inputs in half precision are in float32.

    Raises:
        ValueError: If no weight is in half precision.
    """
    tensors = [*scene.model.parameters(), *scene.model.buffers()]
    small = [(t, t.dtype) for t in tensors if t.dtype in HALF_KINDS]
    if not any(isinstance(t, nn.Parameter) for t, _ in small):
        raise ValueError("no weight is in half precision")

    def widen(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.float() if tensor.dtype in HALF_KINDS else tensor

    handle = scene.called.register_forward_pre_hook(
        lambda _, args, kwargs: (with_tensors(args, widen), with_tensors(kwargs, widen)),
        with_kwargs=True,
    )
    try:
        for tensor, _ in small:
            tensor.grad, tensor.data = None, tensor.data.float()
        yield
    finally:
        handle.remove()
        for tensor, kind in small:
            tensor.grad, tensor.data = None, tensor.data.to(kind)


def exchanged(given: Any, rows: torch.Tensor) -> Any:
    """The same batch with its samples in another order or choice."""
    count = int(rows.numel())
    return with_tensors(given, lambda t: t[rows] if t.dim() and t.shape[0] == count else t)
