"""A conv net that knows the digits 0 to 4, fine-tuned to 5 to 9 with the rate it was trained at.

    python finetune_digits.py --pretrain      # once: writes digits.pt
    python finetune_digits.py                 # Adam at 0.03 destroys what it had learnt (SD508)
    python finetune_digits.py --lr 0.001

The digits are those of scikit-learn: 1,797 real ones of 8 x 8 pixels.
"""

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--pretrain", action="store_true", help="train on 0 to 4, write the weights")
parser.add_argument("--weights", type=Path, default=Path("digits.pt"))
parser.add_argument("--lr", type=float, default=0.03)
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--steps", type=int, default=150)
args = parser.parse_args()
if not args.pretrain and not args.weights.is_file():
    parser.error(f"no file {args.weights}: call this script with --pretrain first")

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
labels = torch.tensor(digits.target)
wanted = labels < 5 if args.pretrain else labels >= 5
x, y = images[wanted], labels[wanted] % 5


class Net(nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * 2 * 2, 64),
            nn.ReLU(),
        )
        self.head = nn.Linear(64, classes)

    def forward(self, x):
        return self.head(self.features(x))


model = Net()
if not args.pretrain:
    model.load_state_dict(torch.load(args.weights))
    model.head = nn.Linear(64, 5)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3 if args.pretrain else args.lr)
for step in range(args.steps):
    rows = torch.randint(len(x), (args.batch,))
    output = model(x[rows])
    loss = nn.functional.cross_entropy(output, y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 25 == 0 or step == args.steps - 1:
        right = (output.argmax(1) == y[rows]).float().mean()
        print(f"step {step}: loss {loss.item():.3f}, accuracy {right:.2f}")
if args.pretrain:
    torch.save(model.state_dict(), args.weights)
