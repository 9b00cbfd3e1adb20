import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(1)


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.fc(x.mean((2, 3)))


# four classes: which quadrant is bright
labels = torch.randint(0, 4, (256,))
images = 0.3 * torch.randn(256, 1, 8, 8)
for i, l in enumerate(labels):
    r, c = divmod(l.item(), 2)
    images[i, 0, 4 * r : 4 * r + 2 + r, 4 * c : 4 * c + 4] += 1.0 + 0.5 * r

model = ConvNet()
opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for epoch in range(6):
    for idx in torch.randperm(256).split(64):
        opt.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(model(images[idx]), labels[idx])
        loss.backward()
        opt.step()
    print(epoch, loss.item())
model.eval()
with torch.inference_mode():
    print("acc", (model(images).argmax(1) == labels).float().mean().item())
