"""A character-level LSTM, trained as in the tutorials by SGD at a high rate; it blows up.

    python lstm_clipping.py --text tinyshakespeare.txt               # gradients are not clipped
    python lstm_clipping.py --text tinyshakespeare.txt --clip 0.25

The gradient grows fifty-fold within six steps, and each step throws the net farther off (SD501: the
rate is too high for gradients that nothing bounds). Clipped, the same rate learns.
"""

import argparse
from pathlib import Path

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--text", type=Path, default=Path(__file__).parent / "data" / "sonnets.txt")
parser.add_argument("--clip", type=float, help="bound of the gradient's norm")
parser.add_argument("--lr", type=float, default=20.0)
parser.add_argument("--width", type=int, default=96)
parser.add_argument("--layers", type=int, default=2)
parser.add_argument("--bptt", type=int, default=35, help="places that gradients go back")
parser.add_argument("--batch", type=int, default=10)
parser.add_argument("--steps", type=int, default=400)
args = parser.parse_args()
if not args.text.is_file():
    parser.error(f"no file {args.text}; any text will do, tinyshakespeare.txt for instance")

torch.manual_seed(1111)
text = args.text.read_text()
chars = sorted(set(text))
ids = torch.tensor([chars.index(c) for c in text])
columns = ids[: len(ids) // args.batch * args.batch].view(args.batch, -1)
print(f"{args.text.name}: {len(text):,} characters, {len(chars)} different ones")


class CharLSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Embedding(len(chars), args.width)
        self.lstm = nn.LSTM(args.width, args.width, args.layers, batch_first=True)
        self.decoder = nn.Linear(args.width, len(chars))

    def forward(self, x, state=None):
        output, state = self.lstm(self.encoder(x), state)
        return self.decoder(output), state


model = CharLSTM()
optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)
at, state = 0, None
for step in range(args.steps):
    if at + args.bptt >= columns.shape[1]:
        at, state = 0, None
    x, y = columns[:, at : at + args.bptt], columns[:, at + 1 : at + args.bptt + 1]
    at += args.bptt
    output, state = model(x, state)
    state = tuple(s.detach() for s in state)
    loss = nn.functional.cross_entropy(output.flatten(0, 1), y.flatten())
    optimizer.zero_grad()
    loss.backward()
    if args.clip:
        nn.utils.clip_grad_norm_(model.parameters(), args.clip)
    optimizer.step()
    if step % 40 == 0 or step == args.steps - 1:
        norm = nn.utils.get_total_norm([p.grad for p in model.parameters()])
        print(f"step {step}: loss {loss.item():.3f}, gradient {norm.item():.3g}")
