"""Gradient accumulation: effective batch 64 from micro-batches of 16, with clipping and warmup."""
import torch
from torch import nn, optim
from torch.optim.lr_scheduler import LambdaLR

torch.manual_seed(0)
ACCUM_STEPS = 4
X = torch.randn(512, 20)
w = torch.randn(20, 1)
Y = torch.sin(X @ w / 4) + 0.1 * torch.randn(512, 1)

model = nn.Sequential(nn.Linear(20, 64), nn.GELU(), nn.Linear(64, 1))
optimizer = optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.01)
scheduler = LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / 10))

optimizer.zero_grad()
for epoch in range(8):
    running = 0.0
    for i, idx in enumerate(torch.randperm(512).split(16)):
        loss = nn.functional.mse_loss(model(X[idx]), Y[idx]) / ACCUM_STEPS
        loss.backward()
        running += loss.item()
        if (i + 1) % ACCUM_STEPS == 0:
            nn.utils.clip_grad_norm_(model.parameters(), max_norm=5.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    print(f"epoch {epoch} | loss {running / 8:.8f} | lr {scheduler.get_last_lr()[0]:.5f}")
