"""Scenarios of a model that fully_shard has spread over two processes."""

import copy

import torch
import torch.distributed as dist
from parallel_data import RANKS, batches, data, net, raised, stepped, vectors
from torch import nn
from torch.nn import functional as F

from sounding.curvature.eigenpairs import eigenpairs
from sounding.curvature.fisher import empirical_fisher, fisher, gradient_covariance
from sounding.curvature.gauss_newton import gauss_newton
from sounding.curvature.hessian import hessian
from sounding.curvature.setting import Subject
from sounding.curvature.sharpness import sharpness
from sounding.objective import as_objective


def sharded_net(model=None, **options):
    from torch.distributed.fsdp import fully_shard

    model = model or net()
    fully_shard(model[0], **options)
    fully_shard(model, **options)  # its own group holds the last layer
    return model


def shard(columns, rank, like):
    """This rank's rows of (57, k): a chunk of each parameter's first dimension."""
    parts = columns.split([p.numel() for p in like.parameters()])
    shaped = [part.view(*p.shape, -1) for part, p in zip(parts, like.parameters(), strict=True)]
    chunks = [s.chunk(RANKS)[rank].reshape(-1, columns.shape[1]) for s in shaped]
    return torch.cat(chunks)


def locals_of(model):
    return [p.to_local().detach().clone() for p in model.parameters()]


def sharded(rank, **options):
    """The operator of a model in the middle of a training: gradients, the last layer left whole."""
    model = sharded_net()
    x, y = batches(rank)[0]
    F.cross_entropy(model(x), y).backward()
    gradients = [p.grad for p in model.parameters()]
    with torch.no_grad():
        model(x)
    before, state = [g.to_local().clone() for g in gradients], torch.get_rng_state()
    H = hessian(model, F.cross_entropy, batches(rank), **options)
    own = shard(vectors(), rank, net())
    top = eigenpairs(H, 2)
    found = {
        "size": H.size, "width": H.width, "product": H @ own, "values": top.values,
        "vectors": top.vectors, "start": H.normal(1, seed=3), "notes": H.notes, "method": H.method,
    }  # fmt: skip
    found["given back"] = (
        _equal(locals_of(model), locals_of(sharded_net()))
        and all(p.grad is g for p, g in zip(model.parameters(), gradients, strict=True))
        and _equal(before, [g.to_local() for g in gradients])
        and torch.equal(state, torch.get_rng_state())
    )
    torch.optim.SGD(model.parameters(), 0.1).step()
    found["stale"] = raised(lambda: H @ own)
    F.cross_entropy(model(x), y).backward()  # training goes on
    return found


def _equal(some, others):
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


def sharded_exactly(rank):
    return sharded(rank)


def sharded_by_differences(rank):
    return sharded(rank, method="difference")


def sharded_checkpointed(rank):
    """Activations that every backward pass computes anew."""

    class Checkpointed(nn.Sequential):
        def forward(self, x):
            return torch.utils.checkpoint.checkpoint(super().forward, x, use_reentrant=False)

    plain = net()
    H = hessian(sharded_net(nn.Sequential(Checkpointed(plain[0], plain[1]), plain[2])),
                F.cross_entropy, batches(rank))  # fmt: skip
    return H @ shard(vectors(), rank, net())


def sharded_searches(rank):
    """Warm starts, restarts, and the block of one layer."""
    H = hessian(sharded_net(), F.cross_entropy, batches(rank))
    top = eigenpairs(H, 2, tol=1e-5)
    layer = H.restricted("0")
    return {
        "warm": eigenpairs(H, 2, miss=1.0, start=top.vectors).products,
        "restarted": eigenpairs(H, 2, basis=8, miss=1.0).values,
        "layer": (layer.size, layer.width, eigenpairs(layer, 1).values[0]),
    }


def sharded_without_memory(rank):
    model = sharded_net()
    H = hessian(model, F.cross_entropy, batches(rank), memory=1.0, micro_batch=4)
    needs = raised(
        lambda: hessian(model, F.cross_entropy, batches(rank), memory=1.0, method="kept")
    )
    return {"method": H.method, "product": H @ shard(vectors(), rank, net()), "needs": needs}


def sharded_matrices(rank):
    """Gauss-Newton and its kin, on whole parameters; and where these do not fit."""
    own, found, model = shard(vectors(), rank, net()), {}, sharded_net()
    for matrix in (gauss_newton, fisher, empirical_fisher, gradient_covariance):
        one = matrix(model, F.cross_entropy, batches(rank))
        found[matrix.__name__] = {"product": one @ own, "values": eigenpairs(one, 2).values}
    small = raised(lambda: gauss_newton(model, F.cross_entropy, batches(rank), memory=1.0))
    given_back = _equal(locals_of(model), locals_of(sharded_net()))
    return found | {"small": small, "given back": given_back}


def sharded_sharpness(rank):
    """After a step of Adam, whose second moments are sharded too."""
    model = sharded_net()
    return sharpness(model, F.cross_entropy, batches(rank), optimizer=stepped(model))


def sharded_single(rank):
    """Single precision: the error that the note states."""
    model = sharded_net(net().float())
    few = [(x.float(), y) for x, y in batches(rank)]
    H = hessian(model, F.cross_entropy, few, method="difference")
    return {"values": eigenpairs(H, 2).values, "notes": H.notes}


def sharded_rectified(rank):
    """Kinks everywhere, in single precision."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 3))
    model = sharded_net(copy.deepcopy(plain))
    few = [(x.float(), y) for x, y in batches(rank)]
    x, y = data()
    return {
        "values": eigenpairs(hessian(model, F.cross_entropy, few), 1).values,
        "expected": eigenpairs(hessian(plain, F.cross_entropy, (x.float(), y)), 1).values,
    }


def sharded_refusals(rank):
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    model = sharded_net()
    coarse = sharded_net(mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))
    divided = sharded_net()
    divided.set_gradient_divide_factor(1.0)
    unsynced = sharded_net()
    unsynced.set_requires_gradient_sync(False)
    half = net()
    fully_shard(half[0])
    (x, y), *rest = batches(rank)
    x = x.clone()
    x[0, 0] = float("nan") if rank == 1 else x[0, 0]
    own = batches(rank)
    return {
        "group": raised(lambda: hessian(model, F.cross_entropy, own, group=dist.group.WORLD)),
        "numbers": raised(lambda: hessian(model, F.cross_entropy, [(x, y), *rest])),
        "divided": raised(lambda: hessian(divided, F.cross_entropy, own, method="difference")),
        "coarse": raised(lambda: hessian(coarse, F.cross_entropy, own, method="difference")),
        "unsynced": raised(lambda: hessian(unsynced, F.cross_entropy, own, method="difference")),
        "half": raised(lambda: hessian(half, F.cross_entropy, own)),
        "dense": raised(lambda: hessian(model, F.cross_entropy, own).to_dense()),
        "unaware": raised(lambda: Subject(model, as_objective(F.cross_entropy))),
    }


SCENARIOS = (
    sharded_exactly, sharded_by_differences, sharded_checkpointed, sharded_searches,
    sharded_without_memory, sharded_matrices, sharded_sharpness, sharded_single,
    sharded_rectified, sharded_refusals,
)  # fmt: skip
