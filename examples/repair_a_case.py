"""A sick training as a case: try the remedies of its findings, keep what is proven.

On the command line: `sounding repair examples/repair_a_case.py`.
"""

import torch
from torch import nn

import sounding as sd

generator = torch.Generator().manual_seed(0)
x = torch.randn(256, 16, generator=generator)
y = (x @ torch.randn(16, 4, generator=generator)).argmax(1)


def build():
    """The loss has a softmax of its own; this is one too many."""
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4), nn.Softmax(dim=1))


case = sd.Case(
    build, nn.functional.cross_entropy, (x, y), sd.Recipe(optimiser="sgd", lr=0.5, steps=80)
)

if __name__ == "__main__":
    repair = sd.repair(case, seeds=3)
    for proof in repair.proofs:
        print(proof)
    print(repair.code)
