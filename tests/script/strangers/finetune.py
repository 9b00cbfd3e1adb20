"""Pretrain on one task, freeze the body, train a new head on another, then unfreeze gently."""
import copy

import torch
from torch import nn

torch.manual_seed(5)
x = torch.randn(384, 16)
w = torch.randn(16, 8)
features = torch.tanh(x @ w)
y_old = (features @ torch.randn(8, 4)).argmax(1)
y_new = (features @ torch.randn(8, 3)).argmax(1)

model = nn.Sequential()
model.add_module("body", nn.Sequential(nn.Linear(16, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU()))
model.add_module("head", nn.Linear(32, 4))


def fit(y, params, lr, steps):
    opt = torch.optim.Adam(params, lr=lr)
    for _ in range(steps):
        idx = torch.randint(0, 384, (96,))
        loss = nn.functional.cross_entropy(model(x[idx]), y[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
    acc = (model(x).argmax(1) == y).float().mean()
    print(f"loss {loss.item():.7f} acc {acc.item():.4f}")


fit(y_old, model.parameters(), 3e-3, 60)
backup = copy.deepcopy(model.state_dict())
model.head = nn.Linear(32, 3)
for p in model.body.parameters():
    p.requires_grad = False
fit(y_new, model.head.parameters(), 1e-2, 50)
print("body untouched:", all(torch.equal(backup["body." + k], v) for k, v in model.body.state_dict().items()))
for p in model.body.parameters():
    p.requires_grad = True
fit(y_new, [{"params": model.body.parameters(), "lr": 3e-4}, {"params": model.head.parameters()}], 3e-3, 50)
