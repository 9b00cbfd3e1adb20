"""Healthy trainings from rewards, from equations, and of learning itself."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import mlp
from sounding.zoo.program import Program
from sounding.zoo.programs.usual import ending

MOVES = torch.tensor([-1.0, 0.0, 1.0])
EPISODE = 12


class Track:
    """Points on a line that may go left, stay or go right; each step costs their distance to 0."""

    def __init__(self, count: int) -> None:
        self.place = torch.randint(-4, 5, (count,)).float()

    def seen(self) -> torch.Tensor:
        """(count, 2)."""
        return torch.stack([self.place / 4, self.place.sign()], 1)

    def go(self, move: torch.Tensor) -> torch.Tensor:
        """The reward of each, (count,)."""
        self.place = (self.place + MOVES[move]).clamp(-5, 5)
        return -self.place.abs()


def policy_gradient(_: bool) -> float:
    """Williams 1992: the loss is no measure of anything, the reward is; it is what comes back."""
    policy = mlp(2, 32, 3, activation=nn.Tanh)
    optimiser = torch.optim.Adam(policy.parameters(), lr=1e-2)
    costs = []
    for _episode in range(80):
        track, logs, rewards = Track(32), [], []
        for _step in range(EPISODE):
            choice = torch.distributions.Categorical(logits=policy(track.seen()))
            move = choice.sample()
            logs.append(choice.log_prob(move))
            rewards.append(track.go(move))
        reward = torch.stack(rewards)
        to_come = reward.flip(0).cumsum(0).flip(0)
        advantage = (to_come - to_come.mean(1, keepdim=True)) / (to_come.std() + 1e-6)
        loss = -(torch.stack(logs) * advantage).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        costs.append(-reward.mean().item())
    return -ending(costs)


class ActorCritic(nn.Module):
    """One body, a policy that ends in a softmax, and a value."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 32), nn.Tanh())
        self.policy = nn.Sequential(nn.Linear(32, 3), nn.Softmax(1))
        self.value = nn.Linear(32, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Probabilities (N, 3), values (N,)."""
        x = self.body(x)
        return self.policy(x), self.value(x)[:, 0]


def actor_and_critic(_: bool) -> float:
    """Each step is a batch; clipped, with an entropy bonus, and Adam's epsilon as is usual."""
    net = ActorCritic()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2, eps=1e-5)
    costs = []
    for _episode in range(60):
        track = Track(32)
        for _step in range(EPISODE):
            p, value = net(track.seen())
            choice = torch.distributions.Categorical(p)
            move = choice.sample()
            reward = track.go(move)
            with torch.no_grad():
                target = reward + 0.8 * net(track.seen())[1]
            advantage = (target - value).detach()
            loss = -(choice.log_prob(move) * advantage).mean() - 0.01 * choice.entropy().mean()
            loss = loss + 0.5 * functional.mse_loss(value, target)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            optimiser.step()
            costs.append(-reward.mean().item())
    return -ending(costs)


def values_of_moves(_: bool) -> float:
    """Mnih et al. 2015: the target is a copy of the net, taken now and then; greedy at the end."""
    net, target = mlp(2, 32, 3), mlp(2, 32, 3)
    target.load_state_dict(net.state_dict())
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    costs = []
    for episode in range(60):
        track = Track(32)
        for _step in range(EPISODE):
            seen = track.seen()
            with torch.no_grad():  # in training mode, which makes no difference here
                best = net(seen).argmax(1)
            move = torch.where(torch.rand(32) < 0.2, torch.randint(0, 3, (32,)), best)
            reward = track.go(move)
            with torch.no_grad():
                wanted = reward + 0.8 * target(track.seen()).max(1).values
            chosen = net(seen).gather(1, move[:, None])[:, 0]
            loss = functional.smooth_l1_loss(chosen, wanted)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            costs.append(-reward.mean().item())
        if episode % 4 == 3:
            target.load_state_dict(net.state_dict())
    return -ending(costs)


def equation(_: bool) -> float:
    """Raissi et al. 2019: u'' = -pi^2 sin(pi x), u = 0 at both ends; gradients in the loss."""
    net = mlp(1, 32, 32, 1, activation=nn.Tanh)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    ends = torch.tensor([[0.0], [1.0]])
    losses = []
    for _step in range(500):
        x = torch.rand(64, 1).requires_grad_()
        u = net(x)
        (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
        residual = bend + math.pi**2 * torch.sin(math.pi * x)
        loss = residual.square().mean() + 10 * net(ends).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return -ending(losses)


def learning_to_learn(_: bool) -> float:
    """Finn et al. 2017: after one step on ten points of a new line the net should know it."""
    net = mlp(1, 32, 32, 1, activation=nn.Tanh)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _step in range(250):
        optimiser.zero_grad()
        total = torch.zeros(())
        for _task in range(4):
            slope, shift = torch.randn(2)
            x = torch.randn(20, 1)
            y = slope * x + shift
            weights: dict[str, torch.Tensor] = dict(net.named_parameters())
            before = functional.mse_loss(functional_call(net, weights, (x[:10],)), y[:10])
            slopes = torch.autograd.grad(before, list(weights.values()), create_graph=True)
            weights = {
                name: w - 0.1 * g for (name, w), g in zip(weights.items(), slopes, strict=True)
            }
            after = functional_call(net, weights, (x[10:],))
            total = total + functional.mse_loss(after, y[10:]) / 4
        total.backward()
        optimiser.step()
        losses.append(total.item())
    return -ending(losses)


def fitted_input(_: bool) -> float:
    """Not the weights learn but an image, until the net's features of it are those wanted."""
    net = mlp(64, 128, 64).requires_grad_(False).eval()
    wanted = net(samples.flat_digits()[0][:8])
    image = torch.zeros(8, 64, requires_grad=True)
    optimiser = torch.optim.Adam([image], lr=0.05)
    losses = []
    for _step in range(300):
        optimiser.zero_grad()
        loss = functional.mse_loss(net(image), wanted)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return -ending(losses)


AGENTS: tuple[Program, ...] = (
    Program(
        "policy gradient",
        policy_gradient,
        (),
        "loss does not fall, ascent: only the reward counts, and it rises",
    ),
    Program(
        "actor and critic",
        actor_and_critic,
        (),
        "softmax before the loss, blocked gradient, clipping: all three belong to the method",
    ),
    Program(
        "values of moves",
        values_of_moves,
        (),
        "evaluated in training mode, loss rises: nothing in the net knows modes; targets move",
    ),
    Program(
        "equation",
        equation,
        (),
        "no target, repeated backward: gradients of gradients are the loss",
    ),
    Program(
        "learning to learn",
        learning_to_learn,
        (),
        "missing from the optimiser: the weights of the inner loop are computed, not held",
    ),
    Program(
        "fitted input",
        fitted_input,
        (),
        "frozen net, foreign tensor in the optimiser: an image is what learns",
    ),
)
