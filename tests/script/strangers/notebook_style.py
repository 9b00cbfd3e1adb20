# %% [markdown]
# # Fitting a polynomial regression, then a small net

# %%
import torch
import torch.nn as nn

torch.manual_seed(0)
x = torch.linspace(-3, 3, 200).reshape(-1, 1)
y = 0.5 * x**3 - x + torch.randn_like(x)

# %%
y = (y - y.mean()) / y.std()
x = x / x.std()
model = nn.Sequential(nn.Linear(1, 40), nn.Tanh(), nn.Linear(40, 1))
model

# %%
opt = torch.optim.RMSprop(model.parameters(), lr=3e-3)
losses = []
for i in range(150):
    opt.zero_grad()
    l = nn.MSELoss()(model(x), y)
    l.backward()
    opt.step()
    losses.append(l.item())
losses[-1]

# %%
print(losses[0], losses[-1], min(losses) == losses[-1])

# %% second try, wider
model = nn.Sequential(nn.Linear(1, 80), nn.Tanh(), nn.Linear(80, 1))
opt = torch.optim.Adam(model.parameters(), lr=1e-2)
for i in range(150):
    opt.zero_grad()
    l = nn.MSELoss()(model(x), y)
    l.backward()
    opt.step()
print(l.item())
