"""Watch a loop of your own, which stays as it is, and read what was recorded.

While it runs, and afterwards: `sounding live run.sounding`.
"""

import torch
from torch import nn

import sounding as sd

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
teacher = torch.randn(16, 4)

with sd.watch(net, optimizer, "run.sounding", overwrite=True) as seen:
    for _ in range(200):
        x = torch.randn(64, 16)
        loss = nn.functional.cross_entropy(net(x), (x @ teacher).argmax(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

training = sd.load("run.sounding").trainings[0]
print(f"{seen.steps} steps, of which {len(seen.examined)} examined; {len(seen.findings)} findings")
print(f"loss {training.loss[0]:.3f} -> {training.loss[-1]:.3f}")
for name, ratio in zip(training.parameters, training.ratio[0], strict=True):
    print(f"{name:10} moved by {ratio:.1e} of its size in the first step")
