"""A small ReLU net on handwritten digits that trains well: nothing should be found."""

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
digits = load_digits()
x = torch.tensor(digits.data, dtype=torch.float32) / 16
y = torch.tensor(digits.target)

model = nn.Sequential(
    nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

for epoch in range(10):
    correct = 0
    for rows in torch.randperm(len(x)).split(64):
        output = model(x[rows])
        loss = nn.functional.cross_entropy(output, y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        correct += (output.argmax(1) == y[rows]).sum().item()
    print(f"epoch {epoch}: loss {loss.item():.3f}, accuracy {correct / len(x):.3f}")
