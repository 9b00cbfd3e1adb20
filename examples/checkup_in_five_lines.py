"""Examine a network on one batch; nothing about it is changed."""

import torch
from torch import nn

import sounding as sd

torch.manual_seed(0)
net = nn.Sequential(
    *[m for _ in range(20) for m in (nn.Linear(32, 32), nn.Tanh())], nn.Linear(32, 4)
)
batch = torch.randn(64, 32), torch.randint(0, 4, (64,))

exam = sd.checkup(net, nn.functional.cross_entropy, batch)
for finding in exam.findings:
    print(finding.severity, finding.code, finding.message)
print(exam.findings[0].remedies[0])
