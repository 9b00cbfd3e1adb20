import argparse

import torch
from torch import nn

from .model import TextClassificationModel

SENTENCES = [
    ("the goalkeeper saved a late penalty", 0), ("a late goal won the match", 0),
    ("the striker scored two goals", 0), ("their coach praised the team", 0),
    ("shares fell after the bank report", 1), ("the market closed higher today", 1),
    ("profits of the bank rose again", 1), ("investors sold shares and bonds", 1),
    ("the probe reached the outer planets", 2), ("a telescope found distant planets", 2),
    ("cells divide under the microscope", 2), ("the experiment measured a new particle", 2),
]


def main():
    parser = argparse.ArgumentParser("textclass")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--lr", type=float, default=2.0)
    args = parser.parse_args()
    torch.manual_seed(7)
    vocab = {w: i for i, w in enumerate(sorted({w for s, _ in SENTENCES for w in s.split()}))}
    model = TextClassificationModel(len(vocab), 16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 20, gamma=0.5)
    for epoch in range(args.epochs):
        ids = [torch.tensor([vocab[w] for w in s.split()]) for s, _ in SENTENCES]
        offsets = torch.tensor([0] + [len(i) for i in ids[:-1]]).cumsum(0)
        label = torch.tensor([c for _, c in SENTENCES])
        optimizer.zero_grad()
        out = model(torch.cat(ids), offsets)
        loss = nn.functional.cross_entropy(out, label)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        scheduler.step()
        if epoch % 10 == 9:
            print("| epoch", epoch, "| loss", loss.item(), "| acc", (out.argmax(1) == label).sum().item() / 12)


if __name__ == "__main__":
    main()
