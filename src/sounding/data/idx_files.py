"""IDX files, the layout of MNIST, Fashion-MNIST, KMNIST and EMNIST.

Two zero bytes, a type code (8: unsigned byte), the number of dimensions, each dimension as a
big-endian 32-bit integer, then the values (LeCun, Cortes & Burges, "The MNIST database").
"""

from __future__ import annotations

import gzip
import math
import os
import struct
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import torch

from sounding.data.labelled import Labelled, checked_labels, checked_limit

_UNSIGNED_BYTE = 8


def idx(
    images: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    *,
    limit: int | None = None,
    classes: int = 10,
) -> Labelled:
    """Images and labels from a pair of IDX files, gzipped (name ends in .gz) or not.

    Args:
        images: File of the images, for example train-images-idx3-ubyte.
        labels: File of the labels, for example train-labels-idx1-ubyte.
        limit: Read only the first rows.
        classes: Number of classes; labels are checked against it.

    Returns:
        x of shape (N, 1, height, width), uint8, and y.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is no IDX file of unsigned bytes, is cut short, has the wrong number
            of dimensions or another number of rows than its partner, or has a wrong label.
    """
    checked_limit(limit)
    x, images_rows = _read(Path(images), dimensions=3, limit=limit)
    y, labels_rows = _read(Path(labels), dimensions=1, limit=limit)
    if images_rows != labels_rows:
        raise ValueError(
            f"{images} has {images_rows} images but {labels} has {labels_rows} labels; "
            "take both from the same part of the data set"
        )
    return Labelled(x[:, None], checked_labels(y, classes, labels))


def _read(path: Path, *, dimensions: int, limit: int | None) -> tuple[torch.Tensor, int]:
    """The first rows of a file, and the number of rows that its header announces."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give the path of an IDX file")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as opened:
            file = cast("BinaryIO", opened)
            shape = _header(file, path, dimensions)
            rows = shape[0] if limit is None else min(limit, shape[0])
            wanted = rows * math.prod(shape[1:])
            content = _body(file, wanted)
    except (EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is not a whole gzip file ({error}); fetch it again") from error
    if len(content) < wanted:
        raise ValueError(
            f"{path} is cut short: {wanted} bytes of values were announced for {rows} rows, "
            f"{len(content)} are there; fetch it again"
        )
    values = np.frombuffer(content, dtype=np.uint8).reshape(rows, *shape[1:])
    return torch.from_numpy(values.copy()), shape[0]


def _header(file: BinaryIO, path: Path, dimensions: int) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ValueError(
            f"{path} is no IDX file: it starts with {magic.hex(' ') or 'nothing'} and not with "
            "00 00; if it is gzipped, its name must end in .gz"
        )
    if magic[2] != _UNSIGNED_BYTE:
        raise ValueError(f"{path} holds values of IDX type {magic[2]:#04x}; only 0x08 is read")
    if magic[3] != dimensions:
        raise ValueError(
            f"{path} has {magic[3]} dimensions where {dimensions} were expected; images come "
            "first, labels second"
        )
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise ValueError(f"{path} is cut short: it ends within its header; fetch it again")
    return struct.unpack(f">{dimensions}I", sizes)


def _body(file: BinaryIO, wanted: int, piece: int = 1 << 24) -> bytes:
    """At most `wanted` bytes, read by pieces: a damaged header must not reserve all memory."""
    pieces = []
    while wanted > 0 and (read := file.read(min(piece, wanted))):
        pieces.append(read)
        wanted -= len(read)
    return b"".join(pieces)
