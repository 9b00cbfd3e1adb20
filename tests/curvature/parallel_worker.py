"""One of two processes that test_parallel.py starts: runs every scenario, writes what came out.

Arguments: rank, file through which the ranks find each other, file for the results.
"""

import copy
import datetime
import sys
import traceback

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from sounding.curvature.eigenpairs import eigenpairs
from sounding.curvature.hessian import hessian
from sounding.curvature.setting import Subject
from sounding.objective import as_objective

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


def total(output, target):
    return F.cross_entropy(output, target, reduction="sum")


def raised(function):
    try:
        function()
    except ValueError as error:
        return str(error)
    return None


# -- data parallel --------------------------------------------------------------------------


def data_parallel(rank):
    H = hessian(net(), F.cross_entropy, batches(rank), group=dist.group.WORLD)
    reduced, largest = [], dist.all_reduce

    def counted(tensor, *args, **kwargs):
        reduced.append(tensor.numel())
        return largest(tensor, *args, **kwargs)

    dist.all_reduce = counted
    try:
        H @ vectors()[:, 0]
        H @ vectors()
    finally:
        dist.all_reduce = largest
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


def wrapped(rank):
    """DistributedDataParallel, its hooks armed by a forward pass whose backward never came."""
    model = nn.parallel.DistributedDataParallel(net())
    hooks = []
    model.register_comm_hook(hooks, lambda state, bucket: _reduced(state, bucket))
    model(batches(rank)[0][0])
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

    class Once(torch.autograd.Function):  # right gradient, no second one
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g):
            return 2 * ctx.saved_tensors[0] * g

    def loss(output, target):
        return F.cross_entropy(Once.apply(output) if rank == 1 else output * output, target)

    H = hessian(net(), loss, batches(rank), group=dist.group.WORLD)
    return {"method": H.method, "notes": H.notes, "dense": H.to_dense()}


# -- sharded --------------------------------------------------------------------------------


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
    data_parallel, sums, in_micro_batches, wrapped, alone, bad_numbers, wrong_derivative,
    no_memory, other_parameters, waiting_layer, other_method, sharded_exactly,
    sharded_by_differences, sharded_checkpointed, sharded_searches, sharded_without_memory,
    sharded_single, sharded_rectified, sharded_refusals,
)  # fmt: skip


def main(rank, store, results):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", store=dist.FileStore(store, RANKS), rank=rank, world_size=RANKS,
        timeout=datetime.timedelta(seconds=60),
    )  # fmt: skip
    found = {}
    for scenario in SCENARIOS:
        try:
            found[scenario.__name__] = scenario(rank)
        except Exception:
            found[scenario.__name__] = RuntimeError(traceback.format_exc())
            break  # the ranks are out of step
    torch.save(found, results)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
