"""Noise at saddles: when it comes, how long it is, and that `prove` sees what it does."""

import math

import pytest
import torch
from torch import nn

import sounding as sd
from sounding.remedies import code, prescribe, treat
from sounding.remedies.saddles import ball


def product(start=1e-6):
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    for p in net.parameters():
        nn.init.constant_(p, start)
    return net


X = torch.ones(16, 1)


def trained(net, optimizer, steps):
    moves = []
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(net(X), X).backward()
        before = torch.cat([p.detach().flatten() for p in net.parameters()])
        optimizer.step()
        after = torch.cat([p.detach().flatten() for p in net.parameters()])
        moves.append(float((after - before).norm()))
    return moves


def treated(net, **arguments):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    treat(prescribe("escape", **arguments), net, lambda: net(X), optimizer)
    return optimizer


def test_noise_comes_at_small_gradients_only_and_not_more_often_than_the_interval():
    net = product()
    moves = trained(net, treated(net, radius=0.01, interval=7, gradient_threshold=10.0), 30)
    noisy = [at for at, move in enumerate(moves) if move > 1e-3]
    assert noisy[:2] == [0, 7]
    calm = product(0.3)
    without = product(0.3)
    trained(calm, treated(calm, gradient_threshold=1e-9), 10)
    trained(without, torch.optim.SGD(without.parameters(), lr=0.05), 10)
    assert all(map(torch.equal, calm.parameters(), without.parameters()))


def test_the_noise_is_uniform_in_the_ball():
    """(length / radius)^n is uniform on [0, 1]: mean 1/2, here to 4 standard errors."""
    like = [torch.empty(2), torch.empty(1, 3)]
    lengths = torch.tensor(
        [float(torch.cat([p.flatten() for p in ball(like, 2.0, s)]).norm()) for s in range(400)]
    )
    shares = (lengths / 2) ** 5
    assert float(lengths.max()) <= 2
    assert float(shares.mean()) == pytest.approx(0.5, abs=4 / math.sqrt(12 * 400))


def test_the_training_resumes_with_the_same_noise_and_draws_no_global_number():
    net, random = product(), torch.get_rng_state()
    optimizer = treated(net, interval=5, gradient_threshold=10.0)
    trained(net, optimizer, 8)
    assert torch.equal(torch.get_rng_state(), random)
    state, weights = optimizer.state_dict(), [p.detach().clone() for p in net.parameters()]
    trained(net, optimizer, 12)
    again = product()
    with torch.no_grad():
        for p, w in zip(again.parameters(), weights, strict=True):
            p.copy_(w)
    other = treated(again, interval=5, gradient_threshold=10.0)
    other.load_state_dict(state)
    trained(again, other, 12)
    assert all(map(torch.equal, again.parameters(), net.parameters()))


def test_prove_supports_it_at_a_saddle():
    def build():
        net = product()
        for p in net.parameters():
            nn.init.normal_(p, std=1e-6)
        return net

    case = sd.Case(
        build, nn.functional.mse_loss, (X, X), sd.Recipe(lr=0.05, steps=150, batch_size=None)
    )
    proof = sd.prove(prescribe("escape"), case, seeds=4)
    assert proof.verdict.outcome == "supported"


def test_its_code_runs_where_it_says():
    net = product()
    once, _, each = code(prescribe("escape")).partition("\n\n")
    names = {"torch": torch, "model": net}
    exec(once, names)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(net(X), X)
        loss.backward()
        optimizer.step()
        exec(each, names)
    assert float(loss.detach()) < 0.1


@pytest.mark.parametrize("wrong", [{"radius": 0.0}, {"gradient_threshold": -1}, {"interval": 0}])
def test_wrong_numbers_are_refused(wrong):
    net = product()
    with pytest.raises(ValueError, match=next(iter(wrong))):
        treated(net, **wrong)
