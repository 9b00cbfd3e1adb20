"""Batches: every sample once an epoch, the same for the same seed, and nobody else's randomness."""

import itertools

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from sounding.train.batches import check_batches, draw

X = torch.arange(10.0).view(10, 1)
Y = torch.arange(10)


def _take(batches, count, size=3, seed=0):
    return list(itertools.islice(draw(batches, size, seed), count))


def test_an_epoch_holds_every_sample_at_most_once_and_pairs_stay_together():
    epoch = _take((X, Y), 3)
    rows = torch.cat([y for _, y in epoch])
    assert len(set(rows.tolist())) == 9  # ten samples, batches of three: one waits
    assert all(torch.equal(x.ravel().long(), y) for x, y in epoch)


def test_epochs_differ_and_seeds_differ_but_a_seed_repeats():
    six = [y.tolist() for _, y in _take((X, Y), 6)]
    assert six[:3] != six[3:]
    assert [y.tolist() for _, y in _take((X, Y), 6)] == six
    assert [y.tolist() for _, y in _take((X, Y), 6, seed=1)] != six


def test_over_many_epochs_every_sample_comes_equally_often():
    """Each is left out of one epoch in ten: 400 epochs, 40 +- 6 times; five deviations, 1e-6."""
    counts = torch.bincount(torch.cat([y for _, y in _take((X, Y), 1200)]), minlength=10)
    assert counts.sum() == 3600
    assert ((400 - counts - 40).abs() < 30).all()


@pytest.mark.parametrize("size", [None, 10, 99])
def test_the_whole_set_is_one_batch(size):
    for x, y in _take((X, Y), 3, size):
        assert torch.equal(x, X)
        assert torch.equal(y, Y)


def test_a_list_is_cycled_through_as_it_is():
    assert _take(["a", "b", "c"], 7, None) == list("abcabca")


def test_a_shuffling_loader_depends_on_the_seed_alone():
    loader = DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True)
    plain = [y.tolist() for _, y in _take(loader, 6)]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    batches = draw(loader, None, 0)
    noisy = []
    for _ in range(6):
        noisy.append(next(batches)[1].tolist())
        torch.set_rng_state(before)
        torch.randn(7)  # the network draws something
    assert noisy == plain
    assert plain[:3] != plain[3:]  # epochs differ
    torch.set_rng_state(before)
    _take(loader, 6)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("batches", "error", "words"),
    [
        ((X, Y[:9]), ValueError, "both need the samples along their first dimension"),
        ((X[:0], Y[:0]), ValueError, "the data set is empty"),
        ((b for b in [(X, Y)]), ValueError, "read only once"),
        (7, TypeError, "pass a pair"),
    ],
)
def test_wrong_batches_are_named(batches, error, words):
    with pytest.raises(error, match=words):
        check_batches(batches)
