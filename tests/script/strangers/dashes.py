#!/usr/bin/env python
import argparse
import sys

import torch

ap = argparse.ArgumentParser()
ap.add_argument("--lr", type=float, default=1e-1)
ap.add_argument("--json", action="store_true")
ap.add_argument("--offset", type=float)
ap.add_argument("-m", "--momentum", type=float)
ap.add_argument("--every", type=int)
ap.add_argument("rest", nargs="*")
opt = ap.parse_args()
print(sys.argv, opt, __name__)

torch.manual_seed(0)
x = torch.rand(100, 3)
y = x.sum(1, keepdim=True) * 2 + opt.offset
lin = torch.nn.Linear(3, 1)
sgd = torch.optim.SGD(lin.parameters(), lr=opt.lr, momentum=opt.momentum)
for step in range(100):
    sgd.zero_grad()
    err = (lin(x) - y).pow(2).mean()
    err.backward()
    sgd.step()
    if step % opt.every == 0:
        print(step, err.item())
print(lin.weight.tolist(), lin.bias.item())
