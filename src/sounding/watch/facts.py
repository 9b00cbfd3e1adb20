"""What is known of how a loop treats the parameters: who holds, uses, moves and forgets them."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.optim import Optimizer

from sounding.capture.recorder import Recorder
from sounding.capture.sample import dense
from sounding.capture.sources import source_of
from sounding.measure.loop import Evaluations, Group, Loop

NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.InstanceNorm2d)
HALF = (torch.bfloat16, torch.float16)
SPREAD = 256  # entries of a parameter that are watched for a change


@dataclasses.dataclass
class Facts:
    """Collected over the steps that are looked at; `names` are those of the models' parameters."""

    names: dict[int, str] = dataclasses.field(default_factory=dict)
    trainable: set[str] = dataclasses.field(default_factory=set)
    used: set[str] = dataclasses.field(default_factory=set)
    reached: set[str] = dataclasses.field(default_factory=set)  # were given a gradient
    missing: set[str] = dataclasses.field(default_factory=set)
    strangers: dict[str, set[int]] = dataclasses.field(default_factory=dict)
    training: bool = True
    unstepped: int = 0  # calls of backward in a run without any step
    clipped_late: int = 0  # calls of clipping behind the step
    remade: int = 0  # times that an optimiser took over from one that had made a single step
    frozen: tuple[str, ...] = ()
    overwritten: tuple[str, ...] = ()  # norms whose statistics a later training moves
    alive: set[int] = dataclasses.field(default_factory=set)  # held, and had a gradient
    # half-precision parameters: some values before the step, where they have a gradient
    _before: dict[str, tuple[torch.Tensor, ...]] = dataclasses.field(default_factory=dict)
    _moves: dict[str, list[int]] = dataclasses.field(default_factory=dict)  # left alone, of these
    # parameters that no step has moved so far, with some of their first values
    _watched: dict[str, tuple[torch.Tensor, torch.Tensor]] = dataclasses.field(default_factory=dict)

    def meet(self, model: nn.Module) -> None:
        """`model` belongs to this training."""
        for name, p in model.named_parameters():
            self.names[id(p)] = name
            if p.requires_grad:
                self.trainable.add(name)

    def look(
        self, recorder: Recorder, model: nn.Module, optimizer: Optimizer, held: set[int]
    ) -> None:
        """Gradients are ready; `held` are the parameters of all optimisers."""
        own = [p for group in optimizer.param_groups for p in group["params"]]
        self.alive |= {id(p) for p in own if p.grad is not None}
        self.training = model.training
        self.frozen = tuple(n for n, p in model.named_parameters() if not p.requires_grad)
        self.used |= recorder.origins.used
        sharded = any(hasattr(p, "to_local") for p in own)  # used as copies that are put together
        for name, identity in () if sharded else recorder.strangers.items():
            if identity not in held and identity not in self.names:
                self.strangers.setdefault(name, set()).add(identity)
        for p in model.parameters():
            name = self.names.get(id(p))
            if name is not None and (p.grad is None or id(p) not in held):
                self._watched.setdefault(name, (p, _some(p)))
            if name is None or p.grad is None:
                continue
            self.reached.add(name)
            if p.dtype in HALF and p.dim() > 1 and id(p) in held:
                self._before[name] = (p, _some(p), _some(p.grad) != 0)
            if id(p) not in held and p.requires_grad:
                self.missing.add(name)

    def stepped(self) -> None:
        """A step has been made, or some: gradients that are there now count, looked at or not."""
        if self._watched:
            self.reached |= {n for n, (p, _) in self._watched.items() if p.grad is not None}
        for name, (p, before, wanted) in self._before.items():
            counts = self._moves.setdefault(name, [0, 0])
            counts[0] += int(((_some(p) == before) & wanted).sum())
            counts[1] += int(wanted.sum())
        self._before.clear()

    def _changed(self) -> set[str]:
        """Moved by no optimiser, and moved all the same: an average, a step by hand."""
        return {n for n, (p, first) in self._watched.items() if not torch.equal(_some(p), first)}

    def loop(self, model: nn.Module, optimizer: Optimizer | None, evaluations: Evaluations) -> Loop:
        """All of it, as a result."""
        groups = [] if optimizer is None else optimizer.param_groups
        own = {self.names.get(id(p), "") for group in groups for p in group["params"]}
        foreign = {id(p) for group in groups for p in group["params"]} - self.names.keys()
        changed = self._changed()
        cut = sorted(self.trainable & own & self.used - self.reached - changed)
        ids = list(self.strangers.values())
        first = cut[0].rpartition(".")[0] if cut else ""
        return Loop(
            groups=tuple(self._group(group) for group in groups),
            decoupled=_decoupled(optimizer),
            foreign=len(foreign),
            missing=tuple(sorted(self.missing - changed)),
            cut=tuple(cut),
            frozen=self.frozen,
            unregistered=tuple(sorted(self.strangers)),
            fresh=any(len(seen) > 1 for seen in ids),
            cut_source=source_of(model, first) if cut else "",
            evaluations=evaluations,
            modes=modes(model),
            training=self.training,
            stale=len(foreign - self.alive),
            scales=_scales(model),
            unstepped=self.unstepped,
            clipped_late=self.clipped_late,
            remade=self.remade,
            overwritten=self.overwritten,
            rounded={n: left / of for n, (left, of) in self._moves.items() if of},
        )

    def _group(self, group: dict[str, Any]) -> Group:
        settings = {}
        for key, value in group.items():
            if key == "betas":
                settings["beta1"], settings["beta2"] = map(float, value)
            elif isinstance(value, int | float):
                settings[key] = float(value)
        names = tuple(self.names.get(id(p), "") for p in group["params"])
        return Group(parameters=names, settings=settings)


def _some(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of at most about SPREAD entries."""
    flat = dense(tensor.detach()).flatten()
    return flat[:: max(1, len(flat) // SPREAD)].clone()


def modes(model: nn.Module) -> tuple[str, ...]:
    """The modules that act otherwise in training than in evaluation."""
    found = []
    for name, module in model.named_modules():
        kind = type(module).__name__
        if isinstance(module, _DropoutNd) and module.p > 0:
            found.append(f"{name} ({kind}, p={module.p:g})")
        elif isinstance(module, _BatchNorm) and module.track_running_stats:
            found.append(f"{name} ({kind})")
        elif isinstance(rate := getattr(module, "dropout", None), float) and rate > 0:
            found.append(f"{name} ({kind}, dropout={rate:g})")
    return tuple(found)


def _scales(model: nn.Module) -> dict[str, float]:
    found = {}
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, NORMS) and isinstance(weight, torch.Tensor):
            weight = dense(weight.detach())
            found[f"{name}.weight" if name else "weight"] = float(weight.abs().max())
    return found


def _decoupled(optimizer: Optimizer | None) -> bool:
    if optimizer is None:
        return False
    flagged = any(group.get("decoupled_weight_decay") for group in optimizer.param_groups)
    names = collections.Counter(c.__name__ for c in type(optimizer).__mro__)
    return flagged or bool(names["AdamW"]) or type(optimizer).__name__ in ("Lion", "Muon")
