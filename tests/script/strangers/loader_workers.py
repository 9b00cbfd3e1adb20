import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Spirals(Dataset):
    def __init__(self, n=240):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        g = torch.Generator().manual_seed(i)
        arm = i % 2
        r = torch.rand((), generator=g)
        a = 3 * r + 3.14159 * arm
        p = torch.stack([r * torch.cos(a), r * torch.sin(a)])
        return p + 0.02 * torch.randn(2, generator=g), arm


def main():
    torch.manual_seed(0)
    loader = DataLoader(Spirals(), batch_size=40, shuffle=True, num_workers=2, persistent_workers=True)
    model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(10):
        total = 0.0
        for points, arms in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(points), arms)
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch:2d} loss {total / len(loader):.7f}")


if __name__ == "__main__":
    main()
