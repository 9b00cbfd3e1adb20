"""A ResNet on CIFAR-10, as He et al. (2016) built it, but for what it leaves out.

    python resnet_cifar.py --data FOLDER                 # no normalisation: the loss explodes
    python resnet_cifar.py --data FOLDER --norm batch

Every block adds its branch to its input, and with He's weights the branch is as large as the input:
without batch norm the signal doubles in every block (SD206). FOLDER has CIFAR-10 in its binary
version (data_batch_*.bin) or as parquet files (train-*.parquet; these need duckdb and pillow).
"""

import argparse
import io
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--data", type=Path, default=Path("data"))
parser.add_argument("--norm", choices=["none", "batch"], default="none")
parser.add_argument("--depth", type=int, default=56, help="6n + 2 layers")
parser.add_argument("--width", type=int, default=8, help="channels of the first stage")
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--lr", type=float, default=0.05)
parser.add_argument("--steps", type=int, default=200)
args = parser.parse_args()


def read_binary(files):
    rows = np.concatenate([np.fromfile(file, np.uint8).reshape(-1, 3073) for file in files])
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0]


def read_parquet(files):
    import duckdb
    from PIL import Image

    rows = duckdb.read_parquet([str(f) for f in files]).select("img.bytes, label").fetchall()
    images = np.stack([np.asarray(Image.open(io.BytesIO(image))) for image, _ in rows])
    return images.transpose(0, 3, 1, 2), np.array([label for _, label in rows])


def cifar10(folder):
    if files := sorted(folder.rglob("data_batch_*.bin")):
        images, labels = read_binary(files)
    elif files := sorted(folder.rglob("train-*.parquet")):
        images, labels = read_parquet(files)
    else:
        parser.error(
            f"no CIFAR-10 in {folder}: name a folder with data_batch_*.bin or train-*.parquet "
            "by --data (it is at https://www.cs.toronto.edu/~kriz/cifar.html)"
        )
    return (torch.tensor(images).float() - 120) / 64, torch.tensor(labels).long()


def norm(channels):
    return nn.BatchNorm2d(channels) if args.norm == "batch" else nn.Identity()


class Block(nn.Module):
    def __init__(self, inside, outside, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.norm1, self.norm2 = norm(outside), norm(outside)
        self.stride, self.more = stride, outside - inside

    def forward(self, x):
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return F.relu(shortcut + y)


class ResNet(nn.Module):
    def __init__(self, depth, width):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False), norm(width), nn.ReLU()
        )
        blocks, inside = [], width
        for outside in (width, 2 * width, 4 * width):
            for _ in range((depth - 2) // 6):
                blocks.append(Block(inside, outside, stride=outside // inside))
                inside = outside
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inside, 10)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


torch.manual_seed(0)
x, y = cifar10(args.data)
model = ResNet(args.depth, args.width)
optimizer = torch.optim.SGD(model.parameters(), args.lr, momentum=0.9, weight_decay=1e-4)
for step in range(args.steps):
    rows = torch.randint(len(x), (args.batch,))
    output = model(x[rows])
    loss = F.cross_entropy(output, y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0 or step == args.steps - 1:
        right = (output.argmax(1) == y[rows]).float().mean()
        print(f"step {step}: loss {loss.item():.3f}, accuracy {right:.2f}")
