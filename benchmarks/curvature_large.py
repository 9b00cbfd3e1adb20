"""The top eigenpair of the Hessian of a transformer with 124 million parameters, and its memory.

    python benchmarks/curvature_large.py [--tokens 128] [--device cuda] [--json FILE]

GPT-2-small's sizes (12 layers of width 768, 12 heads, a vocabulary of 50,257, tied output) with
random weights and one sequence of random tokens. Prints seconds, products, the residual, the
probability of a miss, and the high-water mark of the process's memory (Linux) or of the GPU's.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F


class GPT2Small(nn.Module):
    """Decoder with learned positions, pre-norm, tied embedding; random weights."""

    def __init__(self, vocabulary: int = 50257, width: int = 768, layers: int = 12) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(1024, width)
        layer = nn.TransformerEncoderLayer(
            width, 12, 4 * width, 0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores of the next token, classes second."""
        length = tokens.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=tokens.device)
        x = self.table(tokens) + self.places(torch.arange(length, device=tokens.device))
        x = self.norm(self.layers(x, mask=mask, is_causal=True))
        return (x @ self.table.weight.T).transpose(1, 2)


def peak_bytes(device: str) -> float:
    """The most memory in use so far."""
    if device == "cuda":
        return float(torch.cuda.max_memory_allocated())
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024.0 if found else float("nan")


def main() -> None:
    """Measure, and print one row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", metavar="FILE", help="write the numbers here")
    given = parser.parse_args()
    from sounding.curvature.eigenpairs import eigenpairs
    from sounding.curvature.hessian import hessian

    torch.manual_seed(0)
    net = GPT2Small().to(given.device)
    tokens = torch.randint(0, 50257, (1, given.tokens + 1), device=given.device)
    batch = tokens[:, :-1], tokens[:, 1:]
    start = time.perf_counter()
    matrix = hessian(net, F.cross_entropy, batch)
    built = time.perf_counter() - start
    print(f"{matrix}; made and checked in {built:.1f} s", flush=True)
    found = eigenpairs(matrix, progress=lambda *said: print("  ", *said, flush=True))
    row = {
        "parameters": matrix.size,
        "tokens": given.tokens,
        "made": built,
        "seconds": found.seconds,
        "products": found.products,
        "value": float(found.values[0]),
        "residual": float(found.residuals[0]),
        "missed": found.missed,
        "converged": found.converged,
        "peak_gib": peak_bytes(given.device) / 2**30,
    }
    print(found)
    print(json.dumps(row, indent=1))
    if given.json:
        Path(given.json).write_text(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
