import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class Trainer:
    def __init__(self, model, train_loader, val_loader, device="cpu", patience=4):
        self.model = model.to(device)
        self.train_loader, self.val_loader = train_loader, val_loader
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=0.2, steps_per_epoch=len(train_loader), epochs=8
        )
        self.criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
        self.best, self.patience, self.bad = float("inf"), patience, 0

    def train_one_epoch(self):
        self.model.train()
        total = 0.0
        for xb, yb in self.train_loader:
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(xb), yb)
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            total += loss.item() * len(xb)
        return total / len(self.train_loader.dataset)

    @torch.no_grad()
    def evaluate(self):
        self.model.eval()
        losses, correct, n = 0.0, 0, 0
        for xb, yb in self.val_loader:
            out = self.model(xb)
            losses += self.criterion(out, yb).item() * len(xb)
            correct += (out.argmax(1) == yb).sum().item()
            n += len(xb)
        return losses / n, correct / n

    def fit(self, epochs, folder):
        for epoch in range(epochs):
            train_loss = self.train_one_epoch()
            val_loss, val_acc = self.evaluate()
            print(f"[{epoch}] train {train_loss:.7f} val {val_loss:.7f} acc {val_acc:.3f}")
            if val_loss < self.best:
                self.best, self.bad = val_loss, 0
                torch.save(self.model.state_dict(), folder / "best.pt")
            else:
                self.bad += 1
                if self.bad > self.patience:
                    print("early stopping")
                    break
        self.model.load_state_dict(torch.load(folder / "best.pt"))


if __name__ == "__main__":
    torch.manual_seed(123)
    x = torch.randn(800, 10)
    y = (x @ torch.randn(10, 4) + 0.3 * torch.randn(800, 4)).argmax(1)
    train, val = random_split(TensorDataset(x, y), [600, 200])
    model = nn.Sequential(nn.Linear(10, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Dropout(0.1), nn.Linear(48, 4))
    trainer = Trainer(model, DataLoader(train, 50, shuffle=True), DataLoader(val, 100))
    with tempfile.TemporaryDirectory() as folder:
        trainer.fit(8, Path(folder))
    print("best", trainer.evaluate())
