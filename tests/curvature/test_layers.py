"""Every layer, loss and idiom of the catalogue: the Hessian is right, or an error names the layer.

The other tests use a few plain networks. None would see that torch's second derivative of a layer
is wrong without a word (weight norm, functions with a constant slope, ...), is missing (cdist, CTC,
embedding bags, ...), or that looking moved a buffer, a random stream or a renormalised embedding.

The reference shares no code with the package: differences of first derivatives ahead and behind, by
two step sizes, in float64, each with the same random numbers and the same buffers.
"""

import contextlib
import dataclasses
import functools
import math
import os
import re
import warnings
from collections import Counter

import catalogue
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from sounding.curvature.hessian import hessian
from sounding.objective import as_objective

# The first derivative is not that of the loss, or there is none, so no Hessian can be had of these;
# the tests below measure that this is so, of these and of no others.
NOT_A_GRADIENT = (
    "Embedding max_norm, active",
    "Embedding max_norm, active for the last sample",
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
    "gradient doubled by the loss",
    "own output as target",
)
# Double backward is wrong, and differences cannot be taken: a unit stands exactly on its kink.
MAY_BE_REFUSED = (*NOT_A_GRADIENT, "weight_norm on a kink")
SEED = 7  # of the noise inside the networks
EXACT = 1e-4  # relative, Frobenius: a few hundred roundings in float32
DIFFERENCES = 2e-3  # where the operator takes differences itself
COARSER = {
    "autocast bf16": 2e-2,  # rounding 4e-3
    "bfloat16 model": 2e-2,
    "weight_norm beside float32": 1e-2,
    "CTC in float32": 1e-2,  # differences of a float32 gradient, even in a copy in double precision
}


# -- the reference ------------------------------------------------------------------------------

STEP = 2e-7  # rounding: 1e-16 / 2e-7 of the gradient; error of the formula: 1e-14; few kinks
AGREE = 1e-5  # differences ahead and behind, relative to the typical column
STEP_OF_LOSS = 1e-5
SAME_SLOPE = 1e-7  # of the loss and the gradient, relative
UNDECIDED = {"exactly on a kink": 4, "weight_norm on a kink": 4}  # columns without an answer


class AllInDouble(TorchFunctionMode):
    """What a layer casts to float32 stays as it is; it draws the numbers that float32 would get."""

    def __torch_function__(self, function, types, arguments=(), named=None):
        named = dict(named or {})
        if function is torch.Tensor.float:
            return arguments[0].double()
        if function is torch.randn_like:
            return function(arguments[0].to(torch.float32)).double()
        if function is torch.rand:
            return function(*arguments, **named | {"dtype": torch.float32}).double()
        return function(*arguments, **named)


def _double(thing):
    if isinstance(thing, torch.Tensor):
        return thing.double() if thing.is_floating_point() else thing
    if isinstance(thing, dict):
        return {key: _double(value) for key, value in thing.items()}
    return type(thing)(_double(part) for part in thing)


@contextlib.contextmanager
def plain():
    """Neither fused attention nor compiled code; the global generator is given back."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            sdpa_kernel([SDPBackend.MATH]),
            torch.compiler.set_stance("force_eager"),
            torch.random.fork_rng(devices=[]),
        ):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


class Field:
    """Loss and gradient of a case in float64, as functions of the flat parameters."""

    def __init__(self, name):
        case = catalogue.build(name)  # a fresh one: not every model can be copied
        self.model, self.batch = case.model.double(), _double(case.batch)
        self.objective = as_objective(case.loss)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.sizes = [p.numel() for p in self.parameters]
        self.buffers = [(b, b.clone()) for b in self.model.buffers()]
        self.start = torch.cat([p.detach().flatten() for p in self.parameters])
        special = name in (
            "DropPath",
            "reparametrisation",
            "RMSNorm in float32",
            "CTC in float32",
            "weight_norm beside float32",
        )
        self.mode = AllInDouble if special else contextlib.nullcontext  # it is slow

    def loss(self, flat):
        """The loss with its graph, everything but the parameters as it was at first."""
        torch.manual_seed(SEED)
        with torch.no_grad():
            for buffer, value in self.buffers:
                buffer.copy_(value)
            for p, part in zip(self.parameters, flat.split(self.sizes), strict=True):
                p.copy_(part.view_as(p))
        with self.mode():
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
    decided: torch.Tensor  # (n,) of bool: columns in which the two differences agree
    is_gradient: bool  # whether the first derivative is that of the loss, and its own symmetric

    def deviation(self, matrix):
        """Relative, in the columns that could be decided."""
        return _relative(matrix[:, self.decided].double(), self.jacobian[:, self.decided])

    def deviation_of_double_backward(self):
        """The same, from four random combinations of rows."""
        generator = torch.Generator().manual_seed(0)
        v = torch.randn(4, len(self.jacobian), generator=generator, dtype=torch.float64)
        with plain():
            found = self.field.double_backward(v)
        return _relative(found[:, self.decided], (v @ self.jacobian)[:, self.decided])


def _relative(found, there):
    return float((found - there).norm() / there.norm())


def _column(field, gradient, i, step):
    """A column of the Jacobian, and by how much two differences disagree.

    One ahead, one behind by half as much, so that kinks show; the slope in the middle of the
    parabola through all three is right but for step^2.
    """

    def difference(h):
        shifted = field.start.clone()
        shifted[i] += h
        return (field.gradient(shifted) - gradient) / h

    ahead, behind = difference(step), difference(-step / 2)
    return (ahead + 2 * behind) / 3, (ahead - behind).norm()


def _slopes_agree(field, gradient, decided):
    """Along three directions, the slope of the loss and that which the gradient gives."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        d = torch.randn(len(field.start), generator=generator, dtype=torch.float64) * decided
        shift = STEP_OF_LOSS * d / d.norm()
        ends = [field.loss(field.start + s * shift).item() for s in (2, 1, -1, -2)]
        slope = (8 * (ends[1] - ends[2]) - (ends[0] - ends[3])) / (12 * STEP_OF_LOSS)
        if abs(slope - (gradient @ d / d.norm()).item()) > SAME_SLOPE * gradient.norm():
            return False
    return True


@functools.cache
def reference(name):
    """By differences of first derivatives; None where there is none."""
    with plain():
        field = Field(name)
        try:
            gradient = field.gradient(field.start)
        except NotImplementedError:
            return None
        each = [_column(field, gradient, i, STEP) for i in range(len(field.start))]
        columns, doubts = zip(*each, strict=True)
        columns, doubts = torch.stack(columns, dim=1), torch.stack(doubts)
        limit = AGREE * columns.norm(dim=0).median().clamp(min=1e-3)
        for i in (doubts > limit).nonzero().flatten().tolist():
            columns[:, i], doubts[i] = _column(field, gradient, i, STEP / 30)
        decided = doubts <= limit
        block = columns[decided][:, decided]
        symmetric = (block - block.T).norm() <= AGREE * block.norm()
        slopes = _slopes_agree(field, gradient, decided)
        return Reference(field, columns, decided, bool(symmetric) and slopes)


def hessian_of_the_loss(field):
    """(n, n) second differences of the loss alone; error 1e-6, but n^2 passes."""
    step, size = 1e-3, len(field.start)
    units = step * torch.eye(size, dtype=torch.float64)
    found = torch.zeros(size, size, dtype=torch.float64)
    with plain(), torch.no_grad():
        for i in range(size):
            for j in range(i + 1):
                corners = [
                    s * t * field.loss(field.start + s * units[i] + t * units[j]).item()
                    for s in (1, -1)
                    for t in (1, -1)
                ]
                found[i, j] = found[j, i] = sum(corners) / (4 * step**2)
    return found


# -- the reference on its own -------------------------------------------------------------------

# Where torch's double backward is wrong or missing (torch 2.13, without fused attention kernels).
# Of the first it will always be wrong: it cannot see their second derivatives.
WRONG_FOR_EVER = ("Function, slope kept", "Function, once differentiable", "detach")
NOT_RIGHT_NOW = (
    *WRONG_FOR_EVER,
    *NOT_A_GRADIENT,
    "weight_norm",
    "weight_norm, old",
    "weight_norm beside float32",
    "weight_norm on a kink",
    "Function, backward in numpy",
    "EmbeddingBag mean",
    "EmbeddingBag sum",
    "EmbeddingBag max",
    "cdist",
    "cdist p=1",
    "CTC",
    "CTC in float32",
    "checkpoint reentrant",
)


@pytest.fixture(scope="module", params=catalogue.CATALOGUE)
def name(request):
    """Of a module, so that the tests of one row follow one another and share its reference."""
    return request.param


def test_the_reference_is_decided_and_agrees_with_double_backward_where_that_is_right(name):
    found = reference(name)
    if found is None:
        assert name == "Function without backward"
        return
    assert (~found.decided).sum() == UNDECIDED.get(name, 0), "THE REFERENCE CANNOT DECIDE THIS ROW"
    assert found.is_gradient == (name not in NOT_A_GRADIENT)
    if name not in NOT_RIGHT_NOW:
        assert found.deviation_of_double_backward() < 1e-7


@pytest.mark.parametrize("wrong", WRONG_FOR_EVER)
def test_the_reference_sees_what_double_backward_does_not(wrong):
    assert reference(wrong).deviation_of_double_backward() > 0.1


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
    kind: str  # 'right', 'refused', 'crashed', 'WRONG'
    words: str  # how the products are made, or the error
    deviation: float = math.nan
    changed: tuple[str, ...] = ()  # what was not given back
    warned: tuple[str, ...] = ()


DONE = []  # rows that this process has looked at


@functools.cache
def outcome(name):
    """What becomes of a row."""
    DONE.append(name)
    case = catalogue.build(name)
    before = _state(case.model)
    batches = [case.batch] if isinstance(case.batch, dict) else case.batch
    with warnings.catch_warnings(record=True) as warned:  # as errors they would change the course
        warnings.simplefilter("always")
        try:
            operator = hessian(case.model, case.loss, batches, seed=SEED)
            found = _compared(name, operator, operator.to_dense())
        except ValueError as error:
            found = Outcome("refused", str(error))
        except Exception as error:
            found = Outcome("crashed", repr(error))
    after = _state(case.model)
    return dataclasses.replace(
        found,
        changed=tuple(part for part in before if after[part] != before[part]),
        warned=tuple(str(one.message) for one in warned),
    )


def _compared(name, operator, matrix):
    known = reference(name)
    if known is None:
        return Outcome("WRONG", "an operator, but there is no first derivative")
    limit = DIFFERENCES if "differences" in operator.method else EXACT
    if known.is_gradient:
        deviation = known.deviation(matrix)
    else:
        deviation = _relative(matrix.double(), hessian_of_the_loss(known.field))
    right = deviation <= COARSER.get(name, limit)
    return Outcome("right" if right else "WRONG", operator.method, deviation)


def test_the_hessian_is_right_or_an_error_names_the_layer_and_what_to_do(name):
    found = outcome(name)
    assert found.kind in ("right", "refused"), found
    assert found.changed == (), found
    assert found.warned == (), found
    if found.kind == "refused":
        assert name in MAY_BE_REFUSED, found.words
        assert any(word in found.words for word in catalogue.build(name).names), found.words
        assert re.search(ADVICE, found.words), found.words


def test_silently_wrong_none():
    """The counts over all rows, or over those of this process where there are several; -s shows."""
    several = "PYTEST_XDIST_WORKER" in os.environ
    found = {row: outcome(row) for row in (DONE if several else catalogue.CATALOGUE)}
    counts = Counter(one.kind for one in found.values())
    for row, one in found.items():
        print(f"{row:40s} {one.kind:8s} {one.deviation:8.1e} {one.words[:90]}")  # noqa: T201
    print(f"{len(found)} rows {dict(counts)}, silently wrong {counts['WRONG']}")  # noqa: T201
    assert counts["WRONG"] == counts["crashed"] == 0
    assert {row for row, one in found.items() if one.kind == "refused"} <= set(MAY_BE_REFUSED)
