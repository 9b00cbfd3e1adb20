"""Fit a small network to a curve with L-BFGS."""
import torch

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
t = torch.linspace(-1, 1, 80).unsqueeze(1)
target = torch.exp(-t**2) * torch.sin(3 * t)

net = torch.nn.Sequential(torch.nn.Linear(1, 20), torch.nn.Tanh(), torch.nn.Linear(20, 1))
opt = torch.optim.LBFGS(net.parameters(), lr=1.0, max_iter=8, line_search_fn="strong_wolfe")


def closure():
    opt.zero_grad()
    loss = ((net(t) - target) ** 2).mean()
    loss.backward()
    return loss


for step in range(10):
    loss = opt.step(closure)
    print(step, float(loss))
