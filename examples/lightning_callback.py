"""Watch Lightning's Trainer with a callback: pip install 'sounding[integrations]'."""

import torch
from lightning import pytorch as pl
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import sounding as sd
from sounding.integrations.lightning import SoundingCallback

torch.manual_seed(0)
x = torch.randn(256, 16)
y = (x @ torch.randn(16, 4)).argmax(1)


class Classifier(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))

    def training_step(self, batch, _):
        inputs, labels = batch
        return nn.functional.cross_entropy(self.net(inputs), labels)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


watcher = SoundingCallback("run.sounding", overwrite=True)
trainer = pl.Trainer(
    max_epochs=5, accelerator="cpu", logger=False, enable_checkpointing=False,
    enable_progress_bar=False, callbacks=[watcher],
)  # fmt: skip
trainer.fit(Classifier(), DataLoader(TensorDataset(x, y), batch_size=64))

print(f"{len(watcher.checkup.findings)} findings")
print("watched layers:", ", ".join(sd.load("run.sounding").trainings[0].layers))
