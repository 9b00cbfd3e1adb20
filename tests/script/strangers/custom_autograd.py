import torch
from torch import nn


class SignSTE(torch.autograd.Function):
    """Binarise forward, straight-through estimator backward."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * (x.abs() <= 1).to(grad_output.dtype)


class BinaryLinear(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(o, i).uniform_(-0.5, 0.5))
        self.scale = nn.Parameter(torch.full((o, 1), i**-0.5))

    def forward(self, x):
        return nn.functional.linear(x, SignSTE.apply(self.weight) * self.scale)


torch.manual_seed(2)
x = torch.randn(400, 16)
y = (x @ torch.randn(16, 3)).argmax(1)
model = nn.Sequential(BinaryLinear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 3))
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for epoch in range(10):
    for idx in torch.randperm(400).split(100):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[idx]), y[idx])
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
