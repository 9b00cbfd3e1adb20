import copy
import math

import torch
from torch import nn

CONFIG = {
    "seed": 17,
    "model": {"name": "transformer", "d_model": 32, "nhead": 4, "layers": 2, "vocab": 12, "length": 10},
    "optim": {"name": "AdamW", "lr": 3e-3, "weight_decay": 0.01},
    "train": {"steps": 70, "batch": 32, "warmup": 10, "ema": 0.95, "clip": 1.0},
}


class SortNet(nn.Module):
    """Predict each token of the sorted sequence."""

    def __init__(self, cfg):
        super().__init__()
        self.tok = nn.Embedding(cfg["vocab"], cfg["d_model"])
        self.pos = nn.Parameter(0.02 * torch.randn(cfg["length"], cfg["d_model"]))
        layer = nn.TransformerEncoderLayer(
            cfg["d_model"], cfg["nhead"], 64, dropout=0.0, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, cfg["layers"], enable_nested_tensor=False)
        self.out = nn.Linear(cfg["d_model"], cfg["vocab"])

    def forward(self, x):
        return self.out(self.encoder(self.tok(x) + self.pos))


MODELS = {"transformer": SortNet}


def main(cfg):
    torch.manual_seed(cfg["seed"])
    model = MODELS[cfg["model"]["name"]](cfg["model"])
    ema = copy.deepcopy(model)
    kwargs = {k: v for k, v in cfg["optim"].items() if k != "name"}
    optimizer = getattr(torch.optim, cfg["optim"]["name"])(model.parameters(), **kwargs)
    t = cfg["train"]
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: min((s + 1) / t["warmup"], 0.5 + 0.5 * math.cos(math.pi * s / t["steps"])),
    )
    for step in range(t["steps"]):
        x = torch.randint(0, cfg["model"]["vocab"], (t["batch"], cfg["model"]["length"]))
        y = x.sort(1).values
        loss = nn.functional.cross_entropy(model(x).transpose(1, 2), y)
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), t["clip"])
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for a, b in zip(ema.parameters(), model.parameters()):
                a.lerp_(b, 1 - t["ema"])
        if step % 10 == 0:
            print({"step": step, "loss": loss.item(), "grad_norm": norm.item()})


main(CONFIG)
