"""A small GPT that writes like its text, character by character; its loss is too good to be true.

    python char_transformer.py --text tinyshakespeare.txt            # the causal mask is missing
    python char_transformer.py --text tinyshakespeare.txt --causal

Without the mask every place sees the character that it is to predict (SD417).
"""

import argparse
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--text", type=Path, default=Path(__file__).parent / "data" / "sonnets.txt")
parser.add_argument("--causal", action="store_true", help="no place sees what comes after it")
parser.add_argument("--layers", type=int, default=3)
parser.add_argument("--width", type=int, default=96)
parser.add_argument("--heads", type=int, default=4)
parser.add_argument("--context", type=int, default=64)
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--lr", type=float, default=2e-3)
parser.add_argument("--steps", type=int, default=600)
args = parser.parse_args()
if not args.text.is_file():
    parser.error(f"no file {args.text}; any text will do, tinyshakespeare.txt for instance")

torch.manual_seed(1337)
text = args.text.read_text()
chars = sorted(set(text))
ids = torch.tensor([chars.index(c) for c in text])
train, val = ids[: len(ids) * 9 // 10], ids[len(ids) * 9 // 10 :]
print(f"{args.text.name}: {len(text):,} characters, {len(chars)} different ones")


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x):
        batch, length, width = x.shape
        split = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=args.causal)
        x = x + self.proj(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(len(chars), args.width)
        self.place = nn.Embedding(args.context, args.width)
        self.blocks = nn.Sequential(*[Block(args.width, args.heads) for _ in range(args.layers)])
        self.norm = nn.LayerNorm(args.width)
        self.head = nn.Linear(args.width, len(chars))

    def forward(self, x):
        places = torch.arange(x.shape[1])
        return self.head(self.norm(self.blocks(self.token(x) + self.place(places))))


def batch_of(data):
    starts = torch.randint(len(data) - args.context, (args.batch,))
    rows = torch.stack([data[s : s + args.context + 1] for s in starts])
    return rows[:, :-1], rows[:, 1:]


def loss_of(x, y):
    return F.cross_entropy(model(x).flatten(0, 1), y.flatten())


@torch.no_grad()
def write(length=120):
    out = ids[:1].view(1, 1)
    for _ in range(length):
        p = model(out[:, -args.context :])[0, -1].softmax(0)
        out = torch.cat([out, torch.multinomial(p, 1).view(1, 1)], 1)
    return "".join(chars[i] for i in out[0].tolist())


model = GPT()
optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
start = time.time()
for step in range(args.steps):
    loss = loss_of(*batch_of(train))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 0 or step == args.steps - 1:
        model.eval()
        with torch.no_grad():
            held_out = loss_of(*batch_of(val))
        model.train()
        print(f"step {step}: loss {loss.item():.3f}, held out {held_out.item():.3f}")
model.eval()
print(write())
