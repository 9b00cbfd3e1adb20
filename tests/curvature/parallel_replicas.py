"""Scenarios of replicas: each of two processes holds the whole model, and batches of its own."""

import torch
import torch.distributed as dist
from parallel_data import batches, counted, net, raised, stepped, vectors
from torch import nn
from torch.nn import functional as F

from sounding.curvature.eigenpairs import eigenpairs
from sounding.curvature.fisher import empirical_fisher, fisher, gradient_covariance
from sounding.curvature.gauss_newton import gauss_newton
from sounding.curvature.hessian import hessian
from sounding.curvature.sharpness import sharpness


def total(output, target):
    return F.cross_entropy(output, target, reduction="sum")


class Once(torch.autograd.Function):
    """A square with the right gradient, and no second one."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g


def data_parallel(rank):
    H = hessian(net(), F.cross_entropy, batches(rank), group=dist.group.WORLD)
    reduced = counted(lambda: (H @ vectors()[:, 0], H @ vectors()))
    top = eigenpairs(H, 3)
    return {
        "dense": H.to_dense(), "reduced": reduced, "values": top.values, "vectors": top.vectors,
        "products": top.products, "start": H.normal(1, seed=3), "method": H.method,
    }  # fmt: skip


def sums(rank):
    return hessian(net(), total, batches(rank), reduction="sum", group=dist.group.WORLD).to_dense()


def in_micro_batches(rank):
    return hessian(
        net(), F.cross_entropy, batches(rank), micro_batch=4, group=dist.group.WORLD
    ).to_dense()


def armed(rank):
    """DistributedDataParallel, its hooks armed by a forward pass whose backward never came."""
    model, hooks = nn.parallel.DistributedDataParallel(net()), []
    model.register_comm_hook(hooks, lambda state, bucket: _reduced(state, bucket))
    model(batches(rank)[0][0])
    return model, hooks


def wrapped(rank):
    model, hooks = armed(rank)
    found = [
        hessian(model, F.cross_entropy, batches(rank), method=method) @ vectors()
        for method in ("kept", "difference")
    ]
    called = len(hooks)
    F.cross_entropy(model(batches(rank)[0][0]), batches(rank)[0][1]).backward()
    return {"products": found, "called": called, "later": len(hooks)}


def _reduced(state, bucket):
    state.append(bucket.buffer().numel())
    future = torch.futures.Future()
    future.set_result(bucket.buffer())
    return future


def alone(rank):
    """Without a group each rank measures its own batches."""
    return hessian(net(), F.cross_entropy, batches(rank)).to_dense()


# -- the other matrices ---------------------------------------------------------------------

MATRICES = (gauss_newton, fisher, empirical_fisher, gradient_covariance)


def other_matrices(rank):
    found, (model, hooks) = {}, armed(rank)
    added_up = nn.CrossEntropyLoss(reduction="sum")
    for matrix in MATRICES:
        one = matrix(model, F.cross_entropy, batches(rank))
        summed = matrix(
            net(), added_up, batches(rank), reduction="sum", micro_batch=4, group=dist.group.WORLD
        )
        found[matrix.__name__] = {
            "mean": one.to_dense(), "sum": summed.to_dense(), "name": one.name,
            "reduced": counted(lambda one=one: (one @ vectors()[:, 0], one @ vectors())),
            "values": eigenpairs(one, 2).values,
        }  # fmt: skip
    by_differences = gradient_covariance(
        model, F.cross_entropy, batches(rank), method="difference"
    ).to_dense()
    return found | {"differences": by_differences, "hooks": len(hooks)}


def other_sharpness(rank):
    """Of replicas after a step of Adam."""
    model = nn.parallel.DistributedDataParallel(net())
    return sharpness(model, F.cross_entropy, batches(rank), optimizer=stepped(model))


class Squared(nn.Module):
    """On some ranks by a function that torch can derive once only."""

    def __init__(self, once):
        super().__init__()
        self.once = once

    def forward(self, h):
        return Once.apply(h) if self.once else h * h


def other_derivative(rank):
    """A method that one rank needs, all take; what is to be said of one, all say."""
    model = nn.Sequential(net(), Squared(rank == 1))

    def loss(output, target):
        return F.cross_entropy(output, target) * (-1 if rank == 1 else 1)

    G = gauss_newton(model, loss, batches(rank), group=dist.group.WORLD)
    return {"method": G.method, "notes": G.notes, "dense": G.to_dense()}


def penalty_elsewhere(rank):
    model = net()

    def loss(output, target):
        return F.cross_entropy(output, target) + (model[0].weight.sum() if rank == 1 else 0)

    return raised(lambda: gauss_newton(model, loss, batches(rank), group=dist.group.WORLD))


# -- one rank raises ------------------------------------------------------------------------


def bad_numbers(rank):
    (x, y), *rest = batches(rank)
    x = x.clone()
    x[0, 0] = float("nan") if rank == 1 else x[0, 0]
    group = dist.group.WORLD
    return raised(lambda: hessian(net(), F.cross_entropy, [(x, y), *rest], group=group))


def wrong_derivative(rank):
    def loss(output, target):
        return F.cross_entropy(output * (output.detach() if rank == 1 else output), target)

    return raised(lambda: hessian(net(), loss, batches(rank), group=dist.group.WORLD))


def no_memory(rank):
    memory = 1.0 if rank == 0 else 1e9
    group = dist.group.WORLD
    return raised(
        lambda: hessian(net(), F.cross_entropy, batches(rank), memory=memory, group=group)
    )


def other_parameters(rank):
    return raised(
        lambda: hessian(net(rank), F.cross_entropy, batches(rank), group=dist.group.WORLD)
    )


def waiting_layer(rank):
    model = nn.Sequential(nn.Linear(5, 3), nn.SyncBatchNorm(3)).double()
    return raised(lambda: hessian(model, F.cross_entropy, batches(rank), group=dist.group.WORLD))


def other_method(rank):
    """Where one rank has to do with another method, all do."""

    def loss(output, target):
        return F.cross_entropy(Once.apply(output) if rank == 1 else output * output, target)

    H = hessian(net(), loss, batches(rank), group=dist.group.WORLD)
    return {"method": H.method, "notes": H.notes, "dense": H.to_dense()}


SCENARIOS = (
    data_parallel, sums, in_micro_batches, wrapped, alone, other_matrices, other_sharpness,
    other_derivative, penalty_elsewhere, bad_numbers, wrong_derivative, no_memory,
    other_parameters, waiting_layer, other_method,
)  # fmt: skip
