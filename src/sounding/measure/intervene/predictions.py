"""What the model predicts, against a constant, against itself, and against other samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from sounding.capture.nested import tensors, with_tensors
from sounding.measure.intervene.changes import exchanged, undropped
from sounding.measure.intervene.scene import Scene, Step

BATCHES = 16  # of the stored ones that are looked at
SHOWN = 16  # classes up to which each has its recall
GREY = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
SHAPES = {
    "softmax": lambda c, d: torch.softmax(c, d),
    "log_softmax": lambda c, d: torch.log_softmax(c, d),
    "sigmoid": lambda c, d: torch.sigmoid(c),
    "logsigmoid": lambda c, d: torch.nn.functional.logsigmoid(c),
    "tanh": lambda c, d: torch.tanh(c),
    "relu": lambda c, d: torch.relu(c),
    "softplus": lambda c, d: torch.nn.functional.softplus(c),
    "exp": lambda c, d: torch.exp(c),
}


def constant(scene: Scene) -> dict[str, float]:
    """The loss of the best constant prediction, beside the model's first and last.

    The constant (one number an output unit, before the output's own softmax, sigmoid or the like)
    is fitted through the user's own loss on the stored batches, by L-BFGS. Where that is a binary
    cross-entropy with grey targets, `floor` is what the targets themselves leave as predictions.
    """
    steps = _some(scene)
    fitted = fitted_constant(scene, steps)
    with torch.no_grad():
        now = np.array([float(scene.loss(step)) for step in steps])
    values = {
        "constant_loss": float(np.mean(fitted)),
        "constant_error": _error(fitted),
        "now_loss": float(now.mean()),
        "now_error": _error(now),
        "batches": float(len(steps)),
    }
    values["floor"] = _floor(scene, steps)
    gaps = fitted - now
    values["learned"] = float(gaps.mean() / _error(gaps)) if _error(gaps) > 0 else math.nan
    values["start_loss"] = math.nan
    if scene.begin is not None:
        with scene.begun_again(), torch.no_grad():
            values["start_loss"] = float(np.mean([float(scene.loss(step)) for step in steps]))
    return values


def mirrored(scene: Scene) -> dict[str, float]:
    """The best constant prediction for the negative of a loss that has none itself.

    Raises:
        ValueError: If a constant minimises the loss as it is, or not even its negative.
    """
    steps = _some(scene)
    try:
        fitted_constant(scene, steps)
    except ValueError:
        fitted = fitted_constant(scene, steps, sign=-1.0)
        return {"mirrored_loss": float(-fitted.mean()), "mirrored_error": _error(fitted)}
    raise ValueError("the loss of a constant prediction has a minimum")


def fitted_constant(scene: Scene, steps: list[Step], *, sign: float = 1.0) -> np.ndarray:
    """The losses of the best constant prediction on `steps`; of the worst one with a sign of -1.

    Raises:
        ValueError: If the loss of a constant has no minimum.
    """
    outputs = []
    with torch.no_grad():
        outputs = [scene.output(step) for step in steps]
    shape, along, operation = _form(scene, scene.tensor(outputs[0]))
    free = torch.full(shape, 0.1, requires_grad=True)  # above 0, where a ReLU has a slope

    def losses() -> list[torch.Tensor]:
        value = SHAPES[operation](free, along) if operation in SHAPES else free
        return [
            step.tape.replay(step.given, _filled(output, value), exchanged=scene.exchanged)
            for step, output in zip(steps, outputs, strict=True)
        ]

    optimiser = torch.optim.LBFGS([free], lr=1.0, max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        total = torch.stack([loss.reshape(()) for loss in losses()]).mean()
        (sign * total).backward()
        return sign * total

    with torch.enable_grad():
        optimiser.step(closure)
    found = np.array([float(loss.detach()) for loss in losses()])
    if not np.isfinite(found).all() or free.detach().abs().max() > 1e4 * (1 + _size(steps)):
        raise ValueError("the loss of a constant prediction has no minimum")
    return found


def _floor(scene: Scene, steps: list[Step]) -> float:
    """The loss of perfect predictions, where these can be said and do not bring it to 0; else 0.

    Grey targets t leave a binary cross-entropy of -t log t - (1 - t) log(1 - t) each. Whatever else
    the model puts out is 0, which is what a divergence is least at.
    """
    call = scene.call
    if call is None or call.function not in GREY or call.target is None:
        return 0.0
    left = []
    for step in steps:
        with torch.no_grad():
            output = scene.output(step)
        first, target = scene.tensor(output), _compared(step, call.target.shape[1:])
        if target is None or target.numel() != first.numel():
            return 0.0
        scores = call.function == GREY[1] or "sigmoid" in step.tape.operations
        perfect = target.to(first).reshape(first.shape)
        perfect = torch.logit(perfect, eps=1e-6) if scores else perfect
        bare = with_tensors(output, lambda t: torch.zeros_like(t) if t.is_floating_point() else t)
        replaced = _filled(bare, perfect)
        left.append(float(step.tape.replay(step.given, replaced, exchanged=scene.exchanged)))
    return max(0.0, float(np.mean(left)))


def _compared(step: Step, shape: tuple[int, ...]) -> torch.Tensor | None:
    """The target of a stored batch, which may be what the model was given."""
    target = target_of(step, shape, "float")
    given = (t for t in tensors(step.given) if t.is_floating_point() and t.shape[1:] == shape)
    return next(given, None) if target is None else target


def _form(scene: Scene, output: torch.Tensor) -> tuple[list[int], int, str]:
    """Shape of the constant, the dimension of its units, and what stands behind it."""
    call, later = scene.call, scene.steps[0].tape.operations
    labels = call is not None and call.function in ("cross_entropy", "nll_loss")
    along = 1 if labels and output.dim() > 1 else output.dim() - 1
    shape = [1] * output.dim()
    if output.dim() > 1:
        shape[along] = output.shape[along]
    same = call is not None and call.output.shape == tuple(output.shape)
    inside = call is not None and same and call.operation not in later
    return shape, along, call.operation if call is not None and inside else ""


def _filled(output: Any, value: torch.Tensor) -> Any:
    done = False

    def fill(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal done
        if done or not tensor.is_floating_point() or not tensor.dim():
            return tensor
        done = True
        return value.to(tensor.dtype).expand(tensor.shape)

    return with_tensors(output, fill)


def _size(steps: list[Step]) -> float:
    found = [
        float(t.detach().float().abs().max()) for s in steps for t in s.tape.constants if t.numel()
    ]
    return max(found, default=1.0)


def repeat(scene: Scene) -> dict[str, float]:
    """Two passes in evaluation mode, and five in training mode, on the same batches.

    Where the script evaluates fewer samples at a time, and a batch norm would take its statistics
    from these, `parts_gap` is what a pass in training mode on so few at a time adds to the loss.
    """
    steps = _some(scene)
    with torch.no_grad():
        scene.model.eval()
        first, second = (torch.cat([_flat(scene, s) for s in steps]) for _ in range(2))
        evaluated = np.array([float(scene.loss(s)) for s in steps])
        with undropped(scene):
            third, fourth = (torch.cat([_flat(scene, s) for s in steps]) for _ in range(2))
        scene.model.train()  # last, because it moves running statistics
        trained = np.array([[float(scene.loss(s)) for s in steps] for _ in range(5)])
        parts = np.array([_in_parts(scene, s) for s in steps]) - evaluated
    spread = float(first.std())
    difference = float((first - second).pow(2).mean().sqrt())
    gaps = trained.mean(0) - evaluated
    values = {
        "difference": difference / spread if spread > 0 else float(difference > 0),
        "undropped": float((third - fourth).pow(2).mean().sqrt()),
        "eval_loss": float(evaluated.mean()),
        "train_loss": float(trained.mean()),
        "train_error": _error(trained.mean(0)),
        "gap": float(gaps.mean()),
        "gap_error": _error(gaps),
    }
    if np.isfinite(parts).all():
        values |= {"parts_gap": float(parts.mean()), "parts_error": _error(parts)}
    return values


def _in_parts(scene: Scene, step: Step) -> float:
    """The loss of a batch that goes through the model as few samples at a time as in evaluation.

    nan where they are no fewer, no batch norm would tell, or so few are not possible: one number
    has no deviation, and a model may be given more of the batch later.
    """
    normed = any(isinstance(module, _BatchNorm) for module in scene.model.modules())
    if not normed or not 0 < scene.evaluated < step.rows:
        return math.nan
    firsts = range(0, step.rows, scene.evaluated)
    parts = [torch.arange(first, first + scene.evaluated) % step.rows for first in firsts]
    try:
        outputs = [scene.answer(step, _rows(step, rows)) for rows in parts]
    except (ValueError, RuntimeError):
        return math.nan
    if not all(isinstance(output, torch.Tensor) for output in outputs):
        return math.nan
    output = torch.cat(outputs)[: step.rows]
    with step.casts():
        return float(step.tape.replay(step.given, output, exchanged=scene.exchanged))


def _rows(step: Step, rows: torch.Tensor) -> Any:
    """Some samples of what the model is given."""
    count = step.rows
    return with_tensors(step.given, lambda t: t[rows] if t.dim() and len(t) == count else t)


def mixing(scene: Scene) -> dict[str, float]:
    """How much the outputs of one half of a batch change when the other half is another one.

    The larger change of the two halves: what runs along the batch goes one way only.
    """
    step = scene.steps[0]
    if step.rows < 4:
        raise ValueError(f"a batch of {step.rows} cannot be exchanged in part")
    values = {}
    for name in ("eval", "train"):
        scene.model.train(name == "train")
        values[name] = max(_mixed(scene, step, first=first) for first in (True, False))
    return values


@torch.no_grad()
def _mixed(scene: Scene, step: Step, *, first: bool) -> float:
    """The change in one half, over its deviation, when the other half repeats this one."""
    half = step.rows // 2
    own = torch.arange(half) if first else torch.arange(step.rows - half, step.rows)
    choice = torch.arange(step.rows)
    others = [row for row in range(step.rows) if row not in set(own.tolist())]
    choice[others] = own[torch.arange(len(others)) % half]
    given = exchanged(step.given, choice)
    torch.manual_seed(0)
    before = scene.tensor(scene.output(step))[own]
    torch.manual_seed(0)
    after = scene.tensor(scene.answer(step, given))[own]
    spread = float(before.std())
    change = float((before - after).pow(2).mean().sqrt())
    return change / spread if spread > 0 else float(change > 0)


def classes(scene: Scene) -> dict[str, float]:
    """Recall of every class on the stored batches; labels of classes only.

    Raises:
        ValueError: If the targets are no labels.
    """
    call = scene.call
    if call is None or call.counts is None or call.target is None:
        raise ValueError("the targets are no labels of classes")
    shape = call.target.shape[1:]
    right: dict[int, list[bool]] = {}
    scene.model.eval()
    with torch.no_grad():
        for step in scene.steps:
            target = target_of(step, shape, call.target.kind)
            output = scene.tensor(scene.output(step))
            if target is None:
                continue
            middle = 0.5 if call.function == "binary_cross_entropy" else 0.0
            binary = call.classes == 1
            guess = (output > middle).long() if binary else output.argmax(1)
            for label, hit in zip(
                target.long().flatten().tolist(), (guess == target).flatten().tolist(), strict=True
            ):
                right.setdefault(label, []).append(hit)
    if len(right) < 2:
        raise ValueError("fewer than two classes are among the stored labels")
    count = sum(map(len, right.values()))
    rare = min(right, key=lambda label: len(right[label]))
    often = max(right, key=lambda label: len(right[label]))
    values = {
        "classes": float(len(right)),
        "labels": float(count),
        "minority_share": len(right[rare]) / count,
        "minority_count": float(len(right[rare])),
        "minority_recall": float(np.mean(right[rare])),
        "majority_share": len(right[often]) / count,
        "majority_recall": float(np.mean(right[often])),
    }
    if len(right) <= SHOWN:
        values |= {f"recall_{label}": float(np.mean(hits)) for label, hits in right.items()}
    return values


def target_of(step: Step, shape: tuple[int, ...], kind: str) -> torch.Tensor | None:
    """The stored target: the constant of the loss's form."""
    for tensor in step.tape.constants:
        fits = tensor.dim() and tensor.shape[1:] == shape and tensor.shape[0] == step.rows
        if fits and tensor.is_floating_point() == (kind == "float"):
            return tensor
    return None


def _flat(scene: Scene, step: Step) -> torch.Tensor:
    return scene.tensor(scene.output(step)).float().flatten()


def _some(scene: Scene) -> list[Step]:
    chosen = scene.steps[:: max(1, len(scene.steps) // BATCHES)][:BATCHES]
    if not chosen:
        raise ValueError("no batch of the training was kept")
    return chosen


def _error(values: np.ndarray) -> float:
    """Standard error of the mean; 0 for a single value, which is then the whole."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0
