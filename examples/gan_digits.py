"""A GAN that learns to draw handwritten digits, with one line copied to where it does harm.

    python gan_digits.py               # the generator is trained through detach(): it never moves
    python gan_digits.py --attached

The discriminator's step must not reach the generator, so its fakes are detached. In the generator's
own step the same `detach()` cuts it off from its loss (SD207): the discriminator wins at once, and
the pictures stay noise. The digits are those of scikit-learn: 1,797 real ones of 8 x 8 pixels.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--attached", action="store_true", help="train the generator on its own fakes")
parser.add_argument("--latent", type=int, default=16)
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--steps", type=int, default=1500)
args = parser.parse_args()

torch.manual_seed(0)
digits = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 8 - 1


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(args.latent, 128 * 2 * 2),
            nn.Unflatten(1, (128, 2, 2)),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 1, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, z):
        return self.net(z)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 32, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(64 * 2 * 2, 1),
        )

    def forward(self, x):
        return self.net(x)


generator, discriminator = Generator(), Discriminator()
optimizer_g = torch.optim.Adam(generator.parameters(), lr=args.lr, betas=(0.5, 0.999))
optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=args.lr, betas=(0.5, 0.999))
criterion = nn.BCEWithLogitsLoss()
real_label, fake_label = torch.ones(args.batch, 1), torch.zeros(args.batch, 1)


def show(images):
    for row in range(8):
        print("  ".join("".join(" .:*#"[int(p * 2 + 2.5)] * 2 for p in i[0, row]) for i in images))


for step in range(args.steps):
    # the discriminator: real digits are to be 1, fakes 0
    real = digits[torch.randint(len(digits), (args.batch,))]
    fake = generator(torch.randn(args.batch, args.latent))
    loss_d = criterion(discriminator(real), real_label)
    loss_d = loss_d + criterion(discriminator(fake.detach()), fake_label)
    optimizer_d.zero_grad()
    loss_d.backward()
    optimizer_d.step()

    # the generator: its fakes are to pass for real
    loss_g = criterion(discriminator(fake if args.attached else fake.detach()), real_label)
    optimizer_g.zero_grad()
    loss_g.backward()
    optimizer_g.step()

    if step % 300 == 0 or step == args.steps - 1:
        print(f"step {step}: discriminator {loss_d.item():.3f}, generator {loss_g.item():.3f}")

with torch.no_grad():
    show(generator(torch.randn(5, args.latent)))
