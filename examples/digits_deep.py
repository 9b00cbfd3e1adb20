"""A 30-layer ReLU net on handwritten digits, as one would first write it. It does not train."""

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
digits = load_digits()
x = torch.tensor(digits.data, dtype=torch.float32) / 16
y = torch.tensor(digits.target)


class DeepNet(nn.Module):
    def __init__(self, width=128, depth=30):
        super().__init__()
        self.first = nn.Linear(64, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 2))
        self.last = nn.Linear(width, 10)

    def forward(self, x):
        x = torch.relu(self.first(x))
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return self.last(x)


model = DeepNet()
optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)

for epoch in range(20):
    correct = 0
    for rows in torch.randperm(len(x)).split(32):
        output = model(x[rows])
        loss = nn.functional.cross_entropy(output, y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        correct += (output.argmax(1) == y[rows]).sum().item()
    print(f"epoch {epoch}: loss {loss.item():.3f}, accuracy {correct / len(x):.3f}")
