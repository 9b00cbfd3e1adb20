"""The global generators, given back byte for byte. The oracle is what each of them draws next."""

import contextlib
import random

import numpy as np
import pytest
import torch

import sounding.capture.keep
import sounding.train.seeding
from sounding.randomness import random_state_given_back


def draws():
    return (
        random.random(),
        float(np.random.rand()),  # noqa: NPY002 - the global generator is what is tested
        float(torch.rand(())),
    )


def seed(value):
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002
    torch.manual_seed(value)


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_given_back_whatever_happens_inside(error):
    seed(5)
    expected = draws()
    seed(5)
    outcome = pytest.raises(error) if error is not None else contextlib.nullcontext()
    with outcome, random_state_given_back():
        seed(7)
        draws()
        if error is not None:
            raise error
    assert draws() == expected
    assert torch.initial_seed() == 5


class Cuda:
    """Stands for torch.cuda: a machine with two devices, of which nothing may have been used."""

    def __init__(self, initialized):
        self.initialized, self.states, self.seeded = initialized, ["a", "b"], None

    def is_available(self):
        return True

    def is_initialized(self):
        return self.initialized

    def get_rng_state_all(self):
        assert self.initialized, "this would start CUDA on every device"
        return list(self.states)

    def set_rng_state_all(self, states):
        self.states = states

    def manual_seed_all(self, value):
        self.seeded = value


def test_every_device_is_given_back(monkeypatch):
    cuda = Cuda(initialized=True)
    monkeypatch.setattr(torch, "cuda", cuda)
    with random_state_given_back():
        cuda.states = ["c", "d"]
    assert cuda.states == ["a", "b"]


def test_a_device_that_nobody_used_is_not_started(monkeypatch):
    torch.manual_seed(11)
    cuda = Cuda(initialized=False)
    monkeypatch.setattr(torch, "cuda", cuda)
    with random_state_given_back():
        pass
    assert cuda.seeded == 11  # from where it would have started, had nothing happened inside


@pytest.mark.gpu
def test_on_a_device():
    torch.cuda.manual_seed_all(3)
    expected = torch.rand(3, device="cuda").tolist()
    torch.cuda.manual_seed_all(3)
    with random_state_given_back():
        torch.rand(5, device="cuda")
    assert torch.rand(3, device="cuda").tolist() == expected


def test_there_is_one_of_it():
    assert sounding.capture.keep.random_state_given_back is random_state_given_back
    assert sounding.train.seeding.random_state_given_back is random_state_given_back
