"""A linear function that is a backward pass: the derivative of some tensors, transposed.

Letters: k vectors.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import torch

from sounding.vectors import Layout


class Backward:
    """Multiplies the rows of a block by the transposed derivative of `outputs` by `inputs`.

    The graph between them is kept. A block goes through it row by row or all at once, whichever was
    faster when the first one came.
    """

    def __init__(
        self,
        outputs: Sequence[torch.Tensor],
        inputs: Sequence[torch.Tensor],
        *,
        batched: bool | None = None,
    ) -> None:
        """`batched` says whether a block goes through all at once; None: both are tried."""
        self._outputs = [strided(o) for o in outputs]
        self._inputs = list(inputs)
        self._from = Layout({str(i): o for i, o in enumerate(self._outputs)})
        self._to = Layout({str(i): x for i, x in enumerate(self._inputs)})
        self._live = [i for i, o in enumerate(self._outputs) if o.requires_grad]  # not constants
        self._batched = batched

    @property
    def batched(self) -> bool | None:
        """Whether a block goes through all at once; None: not tried yet."""
        return self._batched

    def __call__(self, block: torch.Tensor) -> torch.Tensor:
        """(k, numbers of the outputs) -> (k, numbers of the inputs)."""
        if not self._live:
            return block.new_zeros(len(block), self._to.size)
        if len(block) == 1:
            return self._one_by_one(block)
        if self._batched is None:
            return self._try_both(block)
        return self._at_once(block) if self._batched else self._one_by_one(block)

    def _one_by_one(self, block: torch.Tensor) -> torch.Tensor:
        return torch.stack([self._pull(vector, batched=False) for vector in block])

    def _at_once(self, block: torch.Tensor) -> torch.Tensor:
        return self._pull(block, batched=True)

    def _try_both(self, block: torch.Tensor) -> torch.Tensor:
        start = _now(block)
        rows = self._one_by_one(block)
        middle = _now(block)
        self._batched = False
        with contextlib.suppress(Exception):  # not every operation can be batched
            together = self._at_once(block)
            faster = _now(block) - middle < middle - start
            scale = rows.abs().max()
            limit = 100 * torch.finfo(rows.dtype).eps ** 0.75 * scale
            self._batched = faster and bool((together - rows).abs().max() <= limit)
        return rows

    def _pull(self, vectors: torch.Tensor, *, batched: bool) -> torch.Tensor:
        parts = self._from.split(vectors)
        pulled = torch.autograd.grad(
            [self._outputs[i] for i in self._live],
            self._inputs,
            [parts[i].to(self._outputs[i].dtype) for i in self._live],
            retain_graph=True,
            allow_unused=True,
            is_grads_batched=batched,
        )
        ahead = vectors.shape[:-1]
        whole = [
            x.new_zeros(*ahead, *x.shape) if g is None else strided(g)
            for g, x in zip(pulled, self._inputs, strict=True)
        ]
        return self._to.join(whole, ahead=len(ahead))


def strided(gradient: torch.Tensor) -> torch.Tensor:
    """The same numbers in the ordinary layout: embeddings may have sparse gradients."""
    return gradient.to_dense() if gradient.is_sparse else gradient


def _now(block: torch.Tensor) -> float:
    if block.is_cuda:
        torch.cuda.synchronize(block.device)
    return time.perf_counter()
