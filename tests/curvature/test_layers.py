"""Every layer, loss and idiom of the catalogue: the Hessian is right, or an error names the layer.

The other tests use a few plain networks. None would see that torch's second derivative of a layer
is wrong without a word (weight norm, functions with a constant slope, ...), is missing (cdist, CTC,
embedding bags, ...), or that looking moved a buffer, a random stream or a renormalised embedding.

The reference shares no code with the package: central differences of first derivatives at two step
sizes, in float64, each with the same random numbers and the same buffers.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import math
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from sounding.curvature.hessian import hessian
from sounding.objective import as_objective


def _load():
    spec = importlib.util.spec_from_file_location("layers", Path(__file__).parent / "layers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


layers = _load()

# Where the first derivative is not that of the loss, or there is none: no Hessian can be had. The
# tests below measure that this is so, of these and of no others.
MAY_BE_REFUSED = (
    "Embedding max_norm, active",
    "spectral_norm train",
    "spectral_norm train, old",
    "Function without backward",
    "detach",
    "x.data",
    "no_grad inside",
    "straight-through",
    "gradient reversal",
    "fake quantisation",
    "hook on a gradient",
    "hook on a layer's gradient",
    "own output as target",
)
SEED = 7  # of the noise inside the networks
EXACT = 1e-4  # relative, Frobenius: a few hundred roundings in float32
DIFFERENCES = 2e-3  # where the operator takes differences itself
COARSER = {"autocast bf16": 2e-2, "bfloat16 model": 2e-2}  # rounding 4e-3


# -- the reference ------------------------------------------------------------------------------

STEP = 2e-7  # rounding: 1e-16 / 2e-7 of the gradient; a kink is hardly ever this near
STEP_OF_LOSS = 1e-5
AGREE = 1e-5  # of a column at two step sizes, relative to the typical column
SAME_SLOPE = 1e-7  # of the loss and the gradient, relative
UNDECIDED = {"exactly on a kink": 4}  # columns where there is no second derivative; else none


@dataclasses.dataclass(frozen=True)
class Precision:
    step: float
    step_of_loss: float
    agree: float
    same_slope: float


DOUBLE = Precision(STEP, STEP_OF_LOSS, AGREE, SAME_SLOPE)
# Something inside rounds to float32, by 6e-8, so steps are long and the error of the formula, h^4,
# is as large as that of rounding; there is no kink.
SINGLE_INSIDE = Precision(3e-2, 1e-2, 3e-3, 1e-4)


class Float32Draws(TorchFunctionMode):
    """What is drawn in float64 are the numbers that float32 would be given."""

    def __torch_function__(self, function, types, arguments=(), named=None):
        named = dict(named or {})
        if function is torch.randn_like:
            return function(arguments[0].float()).double()
        if function is torch.rand and named.get("dtype") is torch.float64:
            return function(*arguments, **named | {"dtype": torch.float32}).double()
        return function(*arguments, **named)


def _double(thing):
    if isinstance(thing, torch.Tensor):
        return thing.double() if thing.is_floating_point() else thing
    if isinstance(thing, dict):
        return {key: _double(value) for key, value in thing.items()}
    return type(thing)(_double(part) for part in thing)


@contextlib.contextmanager
def plain_attention():
    """No fused kernels; the global generator is given back."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel([SDPBackend.MATH]), torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


class Field:
    """Loss and gradient of a case in float64, as functions of the flat parameters."""

    def __init__(self, name):
        case = layers.build(name)  # a fresh one: not every model can be copied
        self.model, self.batch = case.model.double(), _double(case.batch)
        self.objective = as_objective(case.loss)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.sizes = [p.numel() for p in self.parameters]
        self.buffers = [(b, b.clone()) for b in self.model.buffers()]
        self.start = torch.cat([p.detach().flatten() for p in self.parameters])
        self.precision = SINGLE_INSIDE if name == "RMSNorm in float32" else DOUBLE

    def loss(self, flat):
        """The loss with its graph, everything but the parameters as it was at first."""
        torch.manual_seed(SEED)
        with torch.no_grad():
            for buffer, value in self.buffers:
                buffer.copy_(value)
            for p, part in zip(self.parameters, flat.split(self.sizes), strict=True):
                p.copy_(part.view_as(p))
        with Float32Draws():
            return self.objective(self.model, self.batch)

    def gradient(self, flat):
        for p in self.parameters:
            p.grad = None
        self.loss(flat).backward()  # reentrant checkpoints refuse torch.autograd.grad
        return torch.cat([_flat(p.grad, p) for p in self.parameters])

    def double_backward(self, vectors):
        """(k, n): the derivative of the gradient's product with each of (k, n), as torch has it."""
        how = {"create_graph": True, "materialize_grads": True}
        gradient = torch.autograd.grad(self.loss(self.start), self.parameters, **how)
        flat = torch.cat([_flat(g, g) for g in gradient])
        how = {"retain_graph": True, "materialize_grads": True}
        rows = [torch.autograd.grad(flat @ v, self.parameters, **how) for v in vectors]
        return torch.stack([torch.cat([_flat(g, g) for g in row]) for row in rows])


def _flat(gradient, like):
    return (torch.zeros_like(like) if gradient is None else gradient.to_dense()).flatten()


@dataclasses.dataclass(frozen=True)
class Reference:
    field: Field
    jacobian: torch.Tensor  # (n, n) of the gradient
    decided: torch.Tensor  # (n,) of bool: columns in which two step sizes agree
    is_gradient: bool  # whether the first derivative is that of the loss, and its own symmetric

    def deviation(self, matrix):
        """Relative, in the columns that could be decided."""
        return _relative(matrix[:, self.decided].double(), self.jacobian[:, self.decided])

    def deviation_of_double_backward(self):
        """The same, from four random combinations of rows."""
        generator = torch.Generator().manual_seed(0)
        v = torch.randn(4, len(self.jacobian), generator=generator, dtype=torch.float64)
        with plain_attention():
            found = self.field.double_backward(v)
        return _relative(found[:, self.decided], (v @ self.jacobian)[:, self.decided])


def _relative(found, there):
    return float((found - there).norm() / there.norm())


def _column(field, i, step):
    """A column of the Jacobian, and by how much two step sizes disagree."""

    def central(h):
        shift = torch.zeros_like(field.start)
        shift[i] = h
        return (field.gradient(field.start + shift) - field.gradient(field.start - shift)) / (2 * h)

    wide, narrow = central(step), central(step / 2)
    return (4 * narrow - wide) / 3, (wide - narrow).norm()  # Richardson: the error is h^4


def _slopes_agree(field, gradient, decided):
    """Along three directions, the slope of the loss and that which the gradient gives."""
    generator, precision = torch.Generator().manual_seed(0), field.precision
    for _ in range(3):
        d = torch.randn(len(field.start), generator=generator, dtype=torch.float64) * decided
        shift = precision.step_of_loss * d / d.norm()
        steps = [field.loss(field.start + factor * shift).item() for factor in (1, -1, 0.5, -0.5)]
        wide, narrow = steps[0] - steps[1], 2 * (steps[2] - steps[3])
        slope = (4 * narrow - wide) / 3 / (2 * precision.step_of_loss)
        if abs(slope - (gradient @ d / d.norm()).item()) > precision.same_slope * gradient.norm():
            return False
    return True


@functools.cache
def reference(name):
    """By differences of first derivatives; None where there is none."""
    with plain_attention():
        field = Field(name)
        try:
            gradient = field.gradient(field.start)
        except NotImplementedError:
            return None
        step, agree = field.precision.step, field.precision.agree
        columns, doubts = zip(
            *(_column(field, i, step) for i in range(len(field.start))), strict=True
        )
        columns, doubts = torch.stack(columns, dim=1), torch.stack(doubts)
        limit = agree * columns.norm(dim=0).median().clamp(min=1e-3)
        for i in (doubts > limit).nonzero().flatten().tolist():
            columns[:, i], doubts[i] = _column(field, i, step / 30)
        decided = doubts <= limit
        block = columns[decided][:, decided]
        symmetric = (block - block.T).norm() <= 3 * agree * block.norm()
        slopes = _slopes_agree(field, gradient, decided)
        return Reference(field, columns, decided, bool(symmetric) and slopes)


def agrees_with_the_loss(field, matrix):
    """Whether v'Hv is the loss's own second difference, along eight directions."""
    generator, step = torch.Generator().manual_seed(0), 1e-3
    with plain_attention():
        here = field.loss(field.start).item()
        for _ in range(8):
            d = torch.randn(len(field.start), generator=generator, dtype=torch.float64)
            d *= step / d.norm()
            second = sum(field.loss(field.start + s * d).item() for s in (1, -1)) - 2 * here
            if abs(second - d @ matrix.double() @ d) > 1e-3 * step**2 * matrix.norm():
                return False
    return True


# -- the reference on its own -------------------------------------------------------------------

# Where torch's double backward is wrong or missing (torch 2.13, attention's fused kernels left out).
# Of the first it will always be wrong: it cannot see their second derivatives.
WRONG_FOR_EVER = ("Function, slope kept", "Function, once differentiable", "detach")
NOT_RIGHT_NOW = (
    *WRONG_FOR_EVER,
    *MAY_BE_REFUSED,
    "weight_norm",
    "weight_norm, old",
    "Function, backward in numpy",
    "EmbeddingBag mean",
    "EmbeddingBag sum",
    "EmbeddingBag max",
    "cdist",
    "cdist p=1",
    "CTC",
    "checkpoint reentrant",
)


@pytest.mark.parametrize("name", layers.CATALOGUE)
def test_the_reference_is_decided_and_agrees_with_double_backward_where_that_is_right(name):
    found = reference(name)
    if found is None:
        assert name == "Function without backward"
        return
    assert (~found.decided).sum() == UNDECIDED.get(name, 0), "THE REFERENCE CANNOT DECIDE THIS ROW"
    assert found.is_gradient == (name not in MAY_BE_REFUSED)
    if name not in NOT_RIGHT_NOW:
        limit = 1e-7 if found.field.precision is DOUBLE else 1e-3
        assert found.deviation_of_double_backward() < limit


@pytest.mark.parametrize("name", WRONG_FOR_EVER)
def test_the_reference_sees_what_double_backward_does_not(name):
    assert reference(name).deviation_of_double_backward() > 0.1


# -- the operator -------------------------------------------------------------------------------


def _bytes(tensor):
    if tensor is None:
        return None
    dense = tensor.detach().to_dense().contiguous()
    return (
        tensor.layout,
        dense.dtype,
        tuple(dense.shape),
        dense.reshape(-1).view(torch.uint8).numpy().tobytes(),
    )


def _state(model):
    """Whatever may not change."""
    return {
        "parameters": {n: (_bytes(p), p.requires_grad) for n, p in model.named_parameters()},
        "buffers": {n: _bytes(b) for n, b in model.named_buffers()},
        "gradients": {n: _bytes(p.grad) for n, p in model.named_parameters()},
        "modes": {n: m.training for n, m in model.named_modules()},
        "attributes": {n: sorted(vars(m)) for n, m in model.named_modules()},
        "random": torch.get_rng_state().tolist(),
    }


ADVICE = r"\b(call|freeze|leave|move|pass|replace|take|use)\b"


@dataclasses.dataclass(frozen=True)
class Outcome:
    kind: str  # 'right', 'refused', 'WRONG'
    words: str  # how the products are made, or the error
    deviation: float = math.nan


@functools.cache
def outcome(name):
    """What the operator is, and that it left no trace."""
    case = layers.build(name)
    before = _state(case.model)
    try:
        batches = [case.batch] if isinstance(case.batch, dict) else case.batch
        operator = hessian(case.model, case.loss, batches, seed=SEED)
        matrix = operator.to_dense()
    except ValueError as error:
        assert _state(case.model) == before
        return Outcome("refused", str(error))
    assert _state(case.model) == before
    return _compared(name, operator, matrix)


def _compared(name, operator, matrix):
    known = reference(name)
    if known is None:
        return Outcome("WRONG", "an operator, but there is no first derivative")
    if not known.is_gradient:
        right = agrees_with_the_loss(known.field, matrix)
        return Outcome("right" if right else "WRONG", operator.method)
    limit = DIFFERENCES if "differences" in operator.method else EXACT
    deviation = known.deviation(matrix)
    right = deviation <= COARSER.get(name, limit)
    return Outcome("right" if right else "WRONG", operator.method, deviation)


@pytest.mark.parametrize("name", layers.CATALOGUE)
def test_the_hessian_is_right_or_an_error_names_the_layer_and_what_to_do(name):
    found = outcome(name)
    assert found.kind != "WRONG", found
    if found.kind == "refused":
        assert name in MAY_BE_REFUSED, found.words
        assert any(word in found.words for word in layers.build(name).names), found.words
        assert re.search(ADVICE, found.words), found.words


def test_silently_wrong_none():
    """The table that the documentation shows; run with -s to see it."""
    found = {name: outcome(name) for name in layers.CATALOGUE}
    counts = Counter(one.kind for one in found.values())
    for name, one in found.items():
        print(f"{name:40s} {one.kind:8s} {one.deviation:8.1e} {one.words[:90]}")  # noqa: T201
    print(f"{len(found)} rows: {dict(counts)}; silently wrong: {counts['WRONG']}")  # noqa: T201
    assert counts["WRONG"] == 0
    assert counts["refused"] <= len(MAY_BE_REFUSED)
    assert counts["right"] + counts["refused"] == len(layers.CATALOGUE)
