"""Watch the Trainer of Hugging Face transformers: pip install 'sounding[integrations]'."""

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import sounding as sd
from sounding.integrations.transformers import SoundingCallback

torch.manual_seed(0)
config = BertConfig(
    vocab_size=30, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=64, max_position_embeddings=16, num_labels=2,
)  # fmt: skip
sentences = torch.randint(1, 30, (128, 8))
rows = [{"input_ids": s, "labels": (s > 15).sum() > 4} for s in sentences]
rows = [{**row, "labels": row["labels"].long()} for row in rows]

watcher = SoundingCallback("run.sounding", overwrite=True)
arguments = TrainingArguments(
    output_dir="out", max_steps=20, per_device_train_batch_size=32, learning_rate=1e-3,
    use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True,
)  # fmt: skip
model = BertForSequenceClassification(config)
Trainer(model, arguments, train_dataset=rows, callbacks=[watcher]).train()

print(f"{len(watcher.checkup.findings)} findings")
print("watched layers:", len(sd.load("run.sounding").trainings[0].layers))
