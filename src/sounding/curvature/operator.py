"""A symmetric matrix that is known by its products with vectors.

Letters: n rows, k vectors. Inside, a block of vectors is (k, n), each vector in one piece.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch

from sounding.vectors import Layout, Pattern, matching, normal

Array = TypeVar("Array", torch.Tensor, np.ndarray)
Apply = Callable[[torch.Tensor], torch.Tensor]  # (k, n) -> (k, n), row by row


class Operator:
    """A symmetric n x n matrix, as ``H @ v`` and ``H @ V``.

    Made by :func:`sounding.hessian` and its kin, by :meth:`dense`, and by arithmetic: ``A + B``,
    ``2 * A``, ``A + 0.1`` (which adds 0.1 to the diagonal). Vectors may be torch tensors or numpy
    arrays, (n,) or (n, k); the product comes back as the same kind.

    >>> import torch
    >>> H = Operator.dense(torch.tensor([[2.0, 1.0], [1.0, 3.0]]))
    >>> (H + 1) @ torch.tensor([1.0, 0.0])
    tensor([3., 1.])

    Attributes:
        size: n.
        width: Numbers of a vector that this rank holds: n, unless vectors are sharded.
        place: Which part of the vectors these are, 0 unless they are sharded.
        products: How many vectors it has been multiplied with so far.
        name: What it is, such as 'Hessian of Net'; '' for what arithmetic made.
        method: How products are made, in words; '' for plain matrices.
        notes: What a user of the numbers should know, a sentence each.
    """

    def __init__(
        self,
        apply: Apply,
        size: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        layout: Layout | None = None,
        total: Apply | None = None,
        width: int | None = None,
        place: int = 0,
        agree: Callable[[float], float] | None = None,
        name: str = "",
        method: str = "",
        notes: tuple[str, ...] = (),
    ) -> None:
        """`apply` multiplies the rows of a (k, n) block.

        `total` adds up a small tensor over the ranks of a job in which each holds a part of every
        vector, `width` numbers of it, `place` says which; None where each rank holds all of it.
        `agree` gives the largest of the ranks' numbers, where a product takes all ranks.
        """
        self._apply = apply
        self._total = total
        self.place = place
        self._agree = agree
        self.size = size
        self.width = size if width is None else width
        self.dtype = dtype
        self.device = torch.device(device)
        self.layout = layout
        self.name = name
        self.method = method
        self.notes = notes
        self.products = 0

    # -- products ---------------------------------------------------------------------------

    def apply(self, block: torch.Tensor) -> torch.Tensor:
        """(k, n) -> (k, n): each row multiplied; what `@` comes down to."""
        self.products += len(block)
        with torch.no_grad():
            return self._apply(block)

    def __matmul__(self, other: Array) -> Array:
        """H @ v for (n,), H @ V for (n, k).

        Raises:
            ValueError: If the first dimension is not n.
            TypeError: If `other` is neither a tensor nor an array.
        """
        if not isinstance(other, torch.Tensor | np.ndarray):
            raise TypeError(
                f"an Operator multiplies tensors and arrays, not a {type(other).__name__}"
            )
        if other.ndim not in (1, 2) or other.shape[0] != self.width:
            raise ValueError(
                f"a vector of shape {tuple(other.shape)} does not fit an Operator of size "
                f"{self.size}; pass ({self.width},) or ({self.width}, k)"
            )
        rows = torch.as_tensor(other).to(self.device, self.dtype)
        rows = rows.T if rows.ndim == 2 else rows[None]
        product = self.apply(rows.contiguous())
        product = product.T if other.ndim == 2 else product[0]
        if isinstance(other, np.ndarray):
            return product.cpu().numpy().astype(np.result_type(other.dtype, np.float32))
        return product.to(other.device, other.dtype)

    def total(self, partial: torch.Tensor) -> torch.Tensor:
        """Sums over this rank's part of the vectors -> sums over the whole."""
        return partial if self._total is None else self._total(partial)

    def normal(self, count: int, *, seed: int) -> torch.Tensor:
        """(count, n) standard normal numbers; of sharded vectors, (count, width), this part."""
        return normal(
            count, self.width, seed=seed, part=self.place, dtype=self.dtype, device=self.device
        )

    def agreed(self, number: float) -> float:
        """The largest of all ranks' numbers: what steers a search must be the same on each."""
        return number if self._agree is None else self._agree(number)

    @property
    def sharded(self) -> bool:
        """Whether each rank holds only a part of every vector."""
        return self._total is not None

    # -- arithmetic -------------------------------------------------------------------------

    def __add__(self, other: Operator | float) -> Operator:
        if isinstance(other, Operator):
            if (other.size, other.width) != (self.size, self.width):
                raise ValueError(f"sizes {self.size} and {other.size} do not add up")
            return self._made(lambda block: self.apply(block) + other.apply(block))
        return self._made(lambda block: self.apply(block) + float(other) * block)

    __radd__ = __add__

    def __mul__(self, factor: float) -> Operator:
        return self._made(lambda block: self.apply(block) * float(factor))

    __rmul__ = __mul__

    def __neg__(self) -> Operator:
        return self * -1.0

    def __sub__(self, other: Operator | float) -> Operator:
        return self + (-other)

    def restricted(self, pattern: Pattern) -> Operator:
        """The block of the parameters whose names match, as an Operator of their number.

        Costs a full product each; :func:`sounding.hessian` with `parameters` makes a cheaper one.

        Raises:
            ValueError: If no name matches, or the matrix knows no names.
        """
        if self.layout is None:
            raise ValueError("this Operator knows no parameter names, so it cannot be restricted")
        patterns = [pattern] if isinstance(pattern, str) else list(pattern or ["*"])
        places = self.layout.slices()
        chosen = matching(dict.fromkeys(places), patterns)  # type: ignore[arg-type]
        if not chosen:
            raise ValueError(f"no parameter matches {pattern!r}; there are {', '.join(places)}")
        index = torch.cat([torch.arange(places[n].start, places[n].stop) for n in chosen])
        index = index.to(self.device)
        size = int(self.total(torch.tensor([len(index)], device=self.device)))

        def apply(block: torch.Tensor) -> torch.Tensor:
            whole = block.new_zeros(len(block), self.width)
            whole[:, index] = block
            return self.apply(whole)[:, index]

        layout = Layout({n: torch.empty(self.layout.shapes[n], device="meta") for n in chosen})
        return self._made(apply, size=size, width=len(index), layout=layout)

    def preconditioned(self, diagonal: torch.Tensor) -> Operator:
        """D^(-1/2) H D^(-1/2) for a positive diagonal D, (n,): what an adaptive optimiser sees."""
        scale = diagonal.to(self.device, self.dtype).rsqrt()
        return self._made(lambda block: self.apply(block * scale) * scale)

    def _made(self, apply: Apply, **changes: Any) -> Operator:
        return Operator(
            apply,
            changes.get("size", self.size),
            dtype=self.dtype,
            device=self.device,
            layout=changes.get("layout", self.layout),
            total=self._total,
            width=changes.get("width", self.width),
            place=self.place,
            agree=self._agree,
            method=self.method,
            notes=self.notes,
        )

    # -- other forms ------------------------------------------------------------------------

    @classmethod
    def dense(cls, matrix: torch.Tensor | np.ndarray) -> Operator:
        """A matrix that is there as numbers, (n, n).

        Raises:
            ValueError: If it is not square and symmetric.
        """
        matrix = torch.as_tensor(matrix)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"a matrix of shape {tuple(matrix.shape)} is not square")
        if not torch.allclose(matrix, matrix.T, rtol=1e-4, atol=1e-5 * float(matrix.abs().max())):
            raise ValueError("the matrix is not symmetric; pass (A + A.T) / 2 if that is meant")
        return cls(
            lambda block: block @ matrix, len(matrix), dtype=matrix.dtype, device=matrix.device
        )

    def to_dense(self, *, at_once: int = 64) -> torch.Tensor:
        """(n, n) all the numbers; costs n products and n^2 numbers of memory.

        Raises:
            ValueError: If vectors are sharded.
        """
        self._whole("to_dense")
        rows = [
            self.apply(block)
            for block in torch.eye(self.size, dtype=self.dtype, device=self.device).split(at_once)
        ]
        found = torch.cat(rows)
        return (found + found.T) / 2

    def to_scipy(self) -> Any:
        """The same as a ``scipy.sparse.linalg.LinearOperator``.

        Raises:
            ValueError: If vectors are sharded.
        """
        self._whole("to_scipy")
        from scipy.sparse import linalg

        make: Any = linalg.LinearOperator  # its type stubs know the base class's arguments only

        kind = np.dtype(str(self.dtype).removeprefix("torch."))
        product: Any = lambda v: self @ np.asarray(v, dtype=kind)  # noqa: E731
        return make(
            (self.size, self.size),
            matvec=lambda v: product(v.reshape(-1)),
            rmatvec=lambda v: product(v.reshape(-1)),
            matmat=product,
            rmatmat=product,
            dtype=kind,
        )

    def _whole(self, name: str) -> None:
        if self.sharded:
            raise ValueError(
                f"{name} needs whole vectors, of which this rank holds {self.width} of {self.size} "
                "numbers; use sounding.eigenpairs or spectrum, or a model that is not sharded"
            )

    def __repr__(self) -> str:
        how = f", {self.method}" if self.method else ""
        return f"Operator({self.size} x {self.size}, {self.dtype}, {self.device}{how})"
