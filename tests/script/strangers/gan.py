# Vanilla GAN on a 2-d ring of gaussians
import math

import torch
import torch.nn as nn

torch.manual_seed(42)
latent_dim, batch_size = 8, 64

netG = nn.Sequential(nn.Linear(latent_dim, 32), nn.LeakyReLU(0.2), nn.Linear(32, 2))
netD = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
optG = torch.optim.Adam(netG.parameters(), lr=2e-3, betas=(0.5, 0.999))
optD = torch.optim.Adam(netD.parameters(), lr=2e-3, betas=(0.5, 0.999))
criterion = nn.BCEWithLogitsLoss()


def real_batch():
    angle = torch.randint(0, 8, (batch_size,)) * (2 * math.pi / 8)
    return torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(batch_size, 2)


for it in range(150):
    # (1) update D
    netD.zero_grad()
    errD_real = criterion(netD(real_batch()), torch.ones(batch_size, 1))
    errD_real.backward()
    fake = netG(torch.randn(batch_size, latent_dim))
    errD_fake = criterion(netD(fake.detach()), torch.zeros(batch_size, 1))
    errD_fake.backward()
    optD.step()
    # (2) update G
    netG.zero_grad()
    errG = criterion(netD(fake), torch.ones(batch_size, 1))
    errG.backward()
    optG.step()
    if it % 50 == 0:
        print("[%d/150] Loss_D: %.8f Loss_G: %.8f" % (it, (errD_real + errD_fake).item(), errG.item()))
print("mean radius", netG(torch.randn(500, latent_dim)).norm(dim=1).mean().item())
