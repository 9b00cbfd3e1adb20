import numpy as np
import torch
import torch.nn as nn
from torch.autograd import Variable

np.random.seed(8)
torch.manual_seed(8)

# toy dataset
x_train = np.random.uniform(-2, 2, (300, 2)).astype(np.float32)
y_train = np.expand_dims((x_train[:, 0] * x_train[:, 1] > 0).astype(np.float32), 1)

model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 1))
criterion = nn.BCEWithLogitsLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)

for epoch in range(20):
    order = np.random.permutation(300)
    for start in range(0, 300, 60):
        rows = order[start : start + 60]
        inputs = Variable(torch.from_numpy(x_train[rows]))
        targets = Variable(torch.from_numpy(y_train[rows]))
        optimizer.zero_grad()
        outputs = model(inputs)
        loss = criterion(outputs, targets)
        loss.backward()
        optimizer.step()
    if (epoch + 1) % 5 == 0:
        print("Epoch [{}/{}], Loss: {:.8f}".format(epoch + 1, 20, loss.data.item()))

predicted = model(torch.from_numpy(x_train)).data.numpy()
print("Accuracy:", ((predicted > 0) == (y_train > 0.5)).mean())
