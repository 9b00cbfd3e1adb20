"""A reduced tensor against the tensor itself, in every shape, layout and precision that comes up.

The oracle is the plain computation in double precision. The other tests use small contiguous
tensors, which are copied whole: they can't see a stride that misses rows, a copy that is not one,
or a norm that over- or underflows.
"""

import math

import pytest
import torch

from sounding.capture.sample import FEATURES, ROWS, WHOLE, norm, norms, reduce, sample

BIG = (40, 8, 6, 10)  # 19,200 entries: more than are copied whole


def _layouts():
    big = torch.randn(BIG)
    return {
        "contiguous": big,
        "channels last": big.contiguous(memory_format=torch.channels_last),
        "transposed": torch.randn(8, 40, 6, 10).transpose(0, 1),
        "permuted": big.permute(0, 2, 3, 1),
        "sliced": torch.randn(80, 16, 12, 10)[::2, ::2, ::2],
        "odd strides": torch.randn(40, 8, 6, 30)[:, :, :, ::3],
        "expanded": torch.randn(40, 1, 6, 10).expand(BIG),
        "batch of one": torch.randn(1, 19200),
        "many rows": torch.randn(19200, 1),
        "vector": torch.randn(19200),
        "double": torch.randn(BIG, dtype=torch.float64),
        "half": big.half(),
        "bfloat16": big.bfloat16(),
        "complex": torch.randn(20, 8, 6, 10, dtype=torch.cfloat),
    }


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def _rows(tensor):
    """(B, F) in double precision, whatever it was."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    rows = tensor.shape[0] if tensor.dim() > 1 else -1
    return tensor.double().reshape(rows, -1) if rows > 0 else tensor.double().reshape(-1, 1)


@pytest.mark.parametrize("layout", list(_layouts()))
def test_norms_of_rows_are_exact(layout):
    tensor = _layouts()[layout]
    reduced, rows = reduce(tensor), _rows(tensor)
    assert (reduced.rows, reduced.features) == tuple(rows.shape)
    assert reduced.numel == rows.numel()
    assert reduced.norms.double().numpy() == pytest.approx(rows.norm(dim=1).numpy(), rel=1e-5)
    assert float(norm(tensor)) == pytest.approx(float(rows.norm()), rel=1e-5)


@pytest.mark.parametrize("layout", list(_layouts()))
def test_samples_are_entries_of_evenly_spaced_rows(layout):
    tensor = _layouts()[layout]
    kept, rows = sample(tensor), _rows(tensor)
    assert kept.shape[0] == min(ROWS, math.ceil(len(rows) / math.ceil(len(rows) / ROWS)))
    assert kept.shape[1] <= FEATURES
    assert kept.is_contiguous()
    step = math.ceil(len(rows) / ROWS)
    for some, row in zip(kept.double(), rows[::step], strict=True):
        assert torch.isin(some, row).all()


def test_a_sample_is_a_copy():
    for tensor in (torch.zeros(4, 4), torch.zeros(BIG), torch.zeros(BIG).transpose(1, 3)):
        kept = sample(tensor)
        tensor.fill_(1.0)
        assert not kept.any()


def test_small_tensors_are_kept_whole():
    small = torch.randn(WHOLE // 64, 8, 8).transpose(1, 2)
    reduced = reduce(small)
    assert reduced.norms is None
    assert torch.equal(reduced.sample.sort(1)[0], small.reshape(-1, 64).sort(1)[0])


def test_the_features_do_not_stay_on_the_channels_of_a_power_of_two():
    """With stride 8, all samples of a (B, 8) grid of channels would come from one channel."""
    channels = torch.arange(8.0).repeat(64, 256)  # (64, 2048): channel of each entry
    assert set(sample(channels)[0].tolist()) == set(range(8))


@pytest.mark.parametrize("shape", [(), (3,), (1,), (0,), (0, 4), (4, 0), (1, 1), (2, 0, 3)])
def test_scalars_vectors_and_empty_tensors(shape):
    tensor = torch.ones(shape)
    reduced = reduce(tensor)
    assert reduced.numel == tensor.numel()
    assert float(norm(tensor)) == pytest.approx(tensor.numel() ** 0.5)


@pytest.mark.parametrize("size", [1e-25, 1e-40, 1e-20, 1e25, 1e37])
@pytest.mark.parametrize("shape", [(4, 4), BIG])
def test_squares_that_do_not_fit_into_single_precision(size, shape):
    tensor = torch.full(shape, size)
    size = float(tensor.double().flatten()[0])  # 1e-40 is rounded: a denormal
    assert float(norm(tensor)) == pytest.approx(size * tensor.numel() ** 0.5, rel=1e-6)
    assert norms([tensor, torch.ones(3)]) == pytest.approx(
        [size * tensor.numel() ** 0.5, 3**0.5], rel=1e-6
    )
    reduced = reduce(tensor)
    if reduced.norms is not None:
        expected = size * (tensor.numel() / len(tensor)) ** 0.5
        assert reduced.norms.double().numpy() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_bad_entry_of_many_is_seen(bad):
    tensor = torch.zeros(BIG)
    tensor[37, 5, 3, 7] = bad  # in no sample
    assert not math.isfinite(float(norm(tensor)))
    assert not torch.isfinite(reduce(tensor).norms).all()


def test_sparse_gradients_count_repeated_rows_once():
    indices = torch.tensor([[0, 0, 2]])
    gradient = torch.sparse_coo_tensor(indices, torch.ones(3, 4), (5, 4), check_invariants=True)
    assert float(norm(gradient)) == pytest.approx(float(gradient.to_dense().norm()))


def test_a_reduction_costs_little_memory_whatever_the_layout():
    """An odd layout is read entry by entry: flattening it would copy the whole."""
    odd = torch.randn(64, 64, 32, 64)[:, :, :, ::2].transpose(1, 2)
    with torch.profiler.profile(profile_memory=True) as profile:
        sample(odd)
    used = sum(max(event.self_cpu_memory_usage, 0) for event in profile.events())
    assert used < 0.05 * odd.numel() * odd.element_size()
