"""An LSTM that forecasts a power load hour by hour, until one reading of the meter is wrong.

    python lstm_forecast.py               # gradients are not clipped
    python lstm_forecast.py --clip 0.5

The gradient explodes at the glitch, and one step of that length undoes all that was learnt (SD506).
The series is made here: a day, a week and some noise. Its glitch is what meters do now and then.
"""

import argparse
import math

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--clip", type=float, help="bound of the gradient's norm")
parser.add_argument("--lr", type=float, default=0.05)
parser.add_argument("--hours", type=int, default=3200)
parser.add_argument("--glitch", type=float, default=300.0, help="the wrong reading, in deviations")
parser.add_argument("--window", type=int, default=24, help="hours that the forecast looks back")
parser.add_argument("--hidden", type=int, default=32)
parser.add_argument("--batch", type=int, default=16)
args = parser.parse_args()

torch.manual_seed(0)
hour = torch.arange(args.hours, dtype=torch.float32)
load = (2 * math.pi * hour / 24).sin() + 0.5 * (2 * math.pi * hour / 168).sin()
load = load + 0.1 * torch.randn(args.hours)
load = (load - load.mean()) / load.std()
load[args.hours * 2 // 3] = args.glitch

windows = load.unfold(0, args.window + 1, 1)  # in the order of time, each an hour later
x, y = windows[:, :-1, None], windows[:, -1:]


class Forecast(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.lstm = nn.LSTM(1, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x):
        output, _ = self.lstm(x)
        return self.head(output[:, -1])


model = Forecast(args.hidden)
optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
for step, rows in enumerate(torch.arange(len(x)).split(args.batch)):
    loss = nn.functional.mse_loss(model(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    norm = nn.utils.get_total_norm([p.grad for p in model.parameters()])
    if args.clip:
        nn.utils.clip_grad_norm_(model.parameters(), args.clip)
    optimizer.step()
    if step % 20 == 0 or norm > 50:
        print(f"step {step}: loss {loss.item():.3g}, gradient {norm.item():.3g}")
