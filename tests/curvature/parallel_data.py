"""The net, the data and the oracle of what several processes measure together."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

RANKS = 2
CUT = (0, 14, 24)  # samples of each rank


def data():
    g = torch.Generator().manual_seed(0)
    return torch.randn(24, 5, generator=g).double(), torch.randint(0, 3, (24,), generator=g)


def net(seed=0):
    """57 parameters; a layer of three rows, so that shards differ in size."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def vectors():
    return torch.randn(57, 4, generator=torch.Generator().manual_seed(1)).double()


def batches(rank):
    """Rank 0 has two batches of unequal size, rank 1 one: 14 samples and 10."""
    x, y = data()
    x, y = x[CUT[rank] : CUT[rank + 1]], y[CUT[rank] : CUT[rank + 1]]
    return [(x[:5], y[:5]), (x[5:], y[5:])] if rank == 0 else [(x, y)]


def raised(function):
    try:
        function()
    except ValueError as error:
        return str(error)
    return None


def counted(function):
    """Numbers that each all-reduce inside has added up."""
    found, add = [], dist.all_reduce

    def counting(tensor, *args, **kwargs):
        found.append(tensor.numel())
        return add(tensor, *args, **kwargs)

    dist.all_reduce = counting
    try:
        function()
    finally:
        dist.all_reduce = add
    return found


def dense(batch):
    """(57, 57) the Hessian, by torch.func on the flat vector of all parameters."""
    model = net()
    names = dict(model.named_parameters())

    def of(flat):
        parts = flat.split([p.numel() for p in names.values()])
        values = {n: v.view(p.shape) for (n, p), v in zip(names.items(), parts, strict=True)}
        return F.cross_entropy(torch.func.functional_call(model, values, (batch[0],)), batch[1])

    here = torch.cat([p.detach().reshape(-1) for p in names.values()])
    return torch.func.jacrev(torch.func.jacrev(of))(here)


def top(matrix, k):
    """(k,) its largest eigenvalues."""
    return torch.linalg.eigvalsh(matrix).flip(0)[:k].numpy()


def stepped(model):
    """An optimiser after one step on the loss of all data, the same whoever holds the model."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    x, y = data()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
    optimizer.zero_grad()
    return optimizer
