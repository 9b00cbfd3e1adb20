"""Train until the target is met, tell the scheduler of the cluster by the exit code."""
import os
import sys

import torch

torch.manual_seed(4)
x = torch.randn(256, 6)
y = x @ torch.randn(6, 2) + 0.01 * torch.randn(256, 2)
model = torch.nn.Linear(6, 2)
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for step in range(200):
    loss = torch.nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("final", loss.item(), file=sys.stdout)
if loss.item() > float(os.environ.get("TARGET", "1e-9")):
    print("target missed, asking for more time", file=sys.stderr)
    sys.exit(85)
