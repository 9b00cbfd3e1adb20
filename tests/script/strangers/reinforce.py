"""REINFORCE with a running baseline on a small corridor: walk right to the goal."""
import random

import torch
import torch.nn as nn
from torch.distributions import Categorical

random.seed(0)
torch.manual_seed(0)
LENGTH, LIMIT = 6, 20


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1 = nn.Linear(LENGTH, 24)
        self.affine2 = nn.Linear(24, 2)

    def forward(self, x):
        return torch.softmax(self.affine2(torch.tanh(self.affine1(x))), dim=-1)


policy = Policy()
optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
baseline = 0.0
for episode in range(60):
    position, log_probs, rewards = 0, [], []
    for t in range(LIMIT):
        state = nn.functional.one_hot(torch.tensor(position), LENGTH).float()
        m = Categorical(policy(state))
        action = m.sample()
        log_probs.append(m.log_prob(action))
        slip = random.random() < 0.1
        move = 1 if (action.item() == 1) != slip else -1
        position = max(0, position + move)
        done = position == LENGTH - 1
        rewards.append(1.0 if done else -0.05)
        if done:
            break
    R, returns = 0.0, []
    for r in reversed(rewards):
        R = r + 0.97 * R
        returns.insert(0, R)
    returns = torch.tensor(returns)
    baseline = 0.9 * baseline + 0.1 * returns[0].item()
    loss = -(torch.stack(log_probs) * (returns - baseline)).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if episode % 10 == 9:
        print(f"Episode {episode + 1}\tlength {len(rewards):3d}\treturn {sum(rewards):.4f}\tloss {loss.item():.7f}")
