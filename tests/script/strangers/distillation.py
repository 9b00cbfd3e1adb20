import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(10)
x = torch.randn(600, 12)
y = ((x[:, :4] ** 2).sum(1) > (x[:, 4:8] ** 2).sum(1)).long()

teacher = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
student = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 2))


def train_teacher():
    opt = torch.optim.Adam(teacher.parameters(), lr=3e-3)
    for _ in range(60):
        loss = F.cross_entropy(teacher(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
    print("teacher", loss.item())


def distill(T=2.0, alpha=0.5):
    teacher.eval()
    opt = torch.optim.Adam(student.parameters(), lr=1e-2)
    for i in range(60):
        idx = torch.randint(0, 600, (128,))
        with torch.no_grad():
            soft = F.softmax(teacher(x[idx]) / T, dim=1)
        logits = student(x[idx])
        kd = F.kl_div(F.log_softmax(logits / T, dim=1), soft, reduction="batchmean") * T * T
        loss = alpha * kd + (1 - alpha) * F.cross_entropy(logits, y[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
    print("student", loss.item(), (student(x).argmax(1) == y).float().mean().item())


train_teacher()
distill()
