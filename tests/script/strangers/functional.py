# JAX-like: pure functions, parameters as a dict, no torch.optim
import torch
from torch.func import functional_call, grad_and_value, vmap

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(5, 32), torch.nn.SiLU(), torch.nn.Linear(32, 1))
params = {k: v.detach().clone() for k, v in net.named_parameters()}
x = torch.randn(200, 5)
y = torch.cos(x).sum(1, keepdim=True)


def loss_fn(params, x, y):
    return (functional_call(net, params, (x,)) - y).square().mean()


@torch.no_grad()
def update(params, grads, lr=0.05):
    return {k: params[k] - lr * grads[k] for k in params}


for step in range(80):
    grads, value = grad_and_value(loss_fn)(params, x, y)
    params = update(params, grads)
    if step % 20 == 0:
        print(step, value.item())
per_sample = vmap(torch.func.grad(loss_fn), in_dims=(None, 0, 0))(params, x[:4], y[:4])
print({k: round(v.norm().item(), 6) for k, v in per_sample.items()})
