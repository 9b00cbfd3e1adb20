"""Bad input: one sentence that names the cause and says what to do, and no trace on the model."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.objective import Objective, as_objective
from sounding.train.inputs import (
    check_batch,
    check_labels,
    check_model,
    check_numbers,
    explained,
    is_classification,
    only_numbers,
)

X, Y = torch.randn(16, 8), torch.arange(16) % 3
LOSS = as_objective(functional.cross_entropy)


def _net():
    return nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))


def test_a_good_batch_passes_and_leaves_no_trace():
    model = _net()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    state = torch.get_rng_state()
    check_batch(model, LOSS, (X, Y))
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_a_bad_batch_leaves_no_trace_either():
    model = _net()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"label \d is out"):
        check_batch(model, LOSS, (X, Y + 7))  # the batch norm has seen the batch by then
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ((X[:, :7], Y), r"input float32 \(16, 7\), target int64 \(16,\)\): mat1 and mat2 shapes"),
        ((X, Y + 7), r"label \d is out of range .* widen the last layer"),
        ((X, Y - 1), "label -1 is out of range"),
        ((X, Y[:5]), "Expected input batch_size"),
        ((X.double(), Y), r"convert the input: \.to\(torch\.float32\)"),
        ((X, Y.float()), "convert the batch to the type that is asked for"),
        ((X.to("meta"), Y), r"the input of the batch is on meta, but the network on cpu"),
        ((X, Y, Y), "a batch must be a pair"),
        ((X.index_fill(1, torch.tensor([2]), torch.nan), Y), r"input .* NaN in 16 of 128 .*16 sam"),
        (
            (X.index_put((torch.tensor(0), torch.tensor(1)), torch.tensor(torch.inf)), Y),
            r"infinity in 1 of 128 numbers \(1 samples",
        ),
    ],
)
def test_the_cause_is_named(batch, words):
    with pytest.raises(ValueError, match=words) as caught:
        check_batch(_net(), LOSS, batch)
    assert "\n" not in str(caught.value)


def test_an_index_beyond_the_embedding_is_named():
    model = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(8, 3))
    with pytest.raises(ValueError, match="compare the largest index"):
        check_batch(model, LOSS, (torch.tensor([[1, 10]]), torch.tensor([0])))


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (
            lambda o, t: functional.cross_entropy(o, t, reduction="none"),
            r"shape \(16,\).*reduction",
        ),
        (lambda o, t: functional.cross_entropy(o.detach(), t), "does not depend on any trainable"),
        (lambda o, t: 1.0, "the loss is a float"),
    ],
)
def test_a_loss_that_is_no_scalar_is_named(loss, words):
    with pytest.raises(ValueError, match=words):
        check_batch(_net(), as_objective(loss), (X, Y))


def test_models_without_anything_to_train():
    frozen = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ValueError, match=r"ReLU has no parameters.*nn\.ModuleList"):
        check_model(nn.ReLU())
    with pytest.raises(ValueError, match="all 2 parameters of Linear are frozen"):
        check_model(frozen)
    with pytest.raises(TypeError, match="the model is a function"):
        check_model(lambda x: x)


@pytest.mark.filterwarnings("ignore:Lazy modules")  # torch's own notice that they are new
def test_lazy_parameters_are_named():
    with pytest.raises(ValueError, match="run one batch through it"):
        check_model(nn.LazyLinear(3))


def test_an_attention_mask_of_minus_infinity_is_no_fault():
    mask = torch.triu(torch.full((4, 4), -torch.inf), 1)
    check_numbers(({"tokens": torch.ones(4), "mask": mask}, Y))
    assert only_numbers(({"mask": mask}, Y))
    mask[0, 1] = torch.nan
    assert not only_numbers(({"mask": mask}, Y))
    with pytest.raises(ValueError, match="the input mask of the batch holds NaN"):
        check_numbers(({"mask": mask}, Y))


def test_out_of_memory_keeps_its_own_words():
    with pytest.raises(torch.OutOfMemoryError), explained(_net(), (X, Y)):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_the_original_error_is_the_cause():
    with pytest.raises(ValueError, match="bang") as caught:
        check_batch(_net(), Objective(_bang), (X, Y))
    assert isinstance(caught.value.__cause__, RuntimeError)


def _bang(model, batch):
    raise RuntimeError("bang\nand a long story")


@pytest.mark.parametrize(
    ("output", "target", "expected"),
    [
        (torch.rand(4, 3), torch.zeros(4, dtype=torch.long), True),
        (torch.rand(4, 3, 5, 5), torch.zeros(4, 5, 5, dtype=torch.long), True),
        (torch.rand(4, 1), torch.zeros(4, dtype=torch.long), False),
        (torch.rand(4, 3), torch.zeros(4), False),
        (torch.rand(4, 3), torch.zeros(4, 3, dtype=torch.long), False),
        (torch.rand(4, 3), torch.zeros(4, dtype=torch.bool), False),
        ({"logits": torch.rand(4, 3)}, torch.zeros(4, dtype=torch.long), False),
    ],
)
def test_what_counts_as_classification(output, target, expected):
    assert is_classification(output, target) is expected


def test_labels_are_asked_for_beforehand_on_cuda_only():
    check_labels(torch.rand(4, 3), torch.full((4,), 9))


@pytest.mark.gpu
def test_labels_on_cuda_are_refused_before_the_device_is_lost():
    with pytest.raises(ValueError, match="label 9"):
        check_labels(torch.rand(4, 3, device="cuda"), torch.full((4,), 9, device="cuda"))
