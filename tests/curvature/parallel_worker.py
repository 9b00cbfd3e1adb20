"""One of the two processes that conftest.py starts: runs every scenario, writes what came out.

Arguments: rank, file through which the ranks find each other, file for the results.
"""

import datetime
import sys
import traceback

import parallel_replicas
import parallel_sharded
import torch
import torch.distributed as dist
from parallel_data import RANKS


def main(rank, store, results):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", store=dist.FileStore(store, RANKS), rank=rank, world_size=RANKS,
        timeout=datetime.timedelta(seconds=60),
    )  # fmt: skip
    found = {}
    for scenario in (*parallel_replicas.SCENARIOS, *parallel_sharded.SCENARIOS):
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
