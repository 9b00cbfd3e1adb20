# Metric learning with a triplet loss; one network, three calls a step.
import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(3)
centres = torch.randn(6, 10) * 2


def sample(cls):
    return centres[cls] + torch.randn(len(cls), 10)


class EmbeddingNet(nn.Module):
    def __init__(self):
        super(EmbeddingNet, self).__init__()
        self.fc = nn.Sequential(nn.Linear(10, 32), nn.PReLU(), nn.Linear(32, 8))

    def forward(self, x):
        return F.normalize(self.fc(x), dim=1)


net = EmbeddingNet()
loss_fn = nn.TripletMarginLoss(margin=0.5)
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
for step in range(120):
    a = torch.randint(0, 6, (48,))
    b = (a + torch.randint(1, 6, (48,))) % 6
    anchor, positive, negative = net(sample(a)), net(sample(a)), net(sample(b))
    loss = loss_fn(anchor, positive, negative)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 30 == 0:
        print(step, loss.item())
classes = torch.arange(6).repeat(20)
with torch.no_grad():
    e = net(sample(classes))
    nearest = (torch.cdist(e, e) + 10 * torch.eye(120)).argmin(1)
print("1-nn accuracy", (classes[nearest] == classes).float().mean().item())
