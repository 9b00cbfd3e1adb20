"""CIFAR-10 from files that are already there: binary records, or parquet with images inside.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. Pickles are refused: to
load one is to run whatever program it contains.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from sounding.data.labelled import Labelled, checked_labels, checked_limit
from sounding.data.parquet_images import read_parquet_images

CLASSES = 10
_RECORD = 1 + 3 * 32 * 32  # a label byte, then three planes of 32 rows


def cifar10(
    path: str | os.PathLike[str] | None = None, *, train: bool = True, limit: int | None = None
) -> Labelled:
    """CIFAR-10 images and labels, read from `path` or from the folder that SOUNDING_DATA names.

    Two layouts are known. The binary version: data_batch_1.bin to data_batch_5.bin and
    test_batch.bin, records of 3,073 bytes. The Hugging Face version: train-*.parquet and
    test-*.parquet, with columns img (struct of bytes and path) and label; this one needs
    ``pip install "sounding[data]"``. 5,000 rows take 20 ms from binary files, about a second from
    parquet.

    Args:
        path: One such file, or a folder that has them, directly or in cifar10/,
            cifar-10-batches-bin/ or plain_text/.
        train: Take the training part (50,000) or the test part (10,000) of a folder.
        limit: Read only the first rows.

    Returns:
        x of shape (N, 3, 32, 32), uint8, and y: airplane, automobile, bird, cat, deer, dog, frog,
        horse, ship, truck.

    Raises:
        FileNotFoundError: If nothing of that kind is there, or no path is given.
        ValueError: If a file is damaged, of another layout, or a pickle.
        ImportError: If the files are parquet and DuckDB or Pillow is missing.
    """
    checked_limit(limit)
    files = _files(_root(path), train)
    if files[0].suffix == ".parquet":
        images, labels = read_parquet_images(files, shape=(32, 32), limit=limit)
        return Labelled(images, checked_labels(labels, CLASSES, files[0]))
    parts = []
    for file in files:
        parts.append(_read_binary(file, limit))
        if limit is not None:
            limit -= len(parts[-1].y)
            if limit <= 0:
                break
    return Labelled(torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts]))


def _root(path: str | os.PathLike[str] | None) -> Path:
    given = path if path is not None else os.environ.get("SOUNDING_DATA")
    if not given:
        raise FileNotFoundError(
            "no place to read CIFAR-10 from: pass its folder, or set the environment variable "
            "SOUNDING_DATA to the folder that contains cifar10/"
        )
    root = Path(given)
    if not root.exists():
        source = "the given path" if path is not None else "SOUNDING_DATA"
        raise FileNotFoundError(f"{root} ({source}) does not exist; set it to an existing folder")
    return root


def _files(root: Path, train: bool) -> list[Path]:
    """The files of one part, all of one layout."""
    if root.is_file():
        if root.suffix in (".bin", ".parquet"):
            return [root]
        raise ValueError(_unknown_file(root))
    part, batches = ("train", "data_batch_?.bin") if train else ("test", "test_batch.bin")
    pickle = None
    for name in ("", "cifar10", "cifar10/plain_text", "plain_text", "cifar-10-batches-bin"):
        folder = root / name
        found = sorted(folder.glob(batches)) or sorted(folder.glob(f"{part}-*.parquet"))
        if found:
            return found
        pickle = next(_pickles(folder), pickle)
    if pickle is not None:
        raise ValueError(_unknown_file(pickle))
    raise FileNotFoundError(
        f"{root} has no CIFAR-10 {part} files ({batches} or {part}-*.parquet), neither directly "
        "nor in cifar10/ or cifar-10-batches-bin/; pass their folder, or set SOUNDING_DATA to it"
    )


def _pickles(folder: Path) -> Iterator[Path]:
    names = ("data_batch_1", "test_batch", "batches.meta", "cifar-10-batches-py")
    return (folder / name for name in names if (folder / name).exists())


def _unknown_file(path: Path) -> str:
    return (
        f"{path} is not a .bin or .parquet file; the 'python version' of CIFAR-10 is a pickle, "
        "which can run any program when it is loaded, so take the 'binary version' "
        "(data_batch_1.bin, ...)"
    )


def _read_binary(path: Path, limit: int | None) -> Labelled:
    size = path.stat().st_size
    if size == 0 or size % _RECORD:
        raise ValueError(
            f"{path} has {size} bytes, no multiple of the record length {_RECORD}: it is cut short "
            "or no CIFAR-10 binary file (CIFAR-100 has 3,074); fetch it again"
        )
    count = size // _RECORD if limit is None else min(limit, size // _RECORD)
    records = np.fromfile(path, dtype=np.uint8, count=count * _RECORD).reshape(count, _RECORD)
    labels = checked_labels(torch.from_numpy(records[:, 0].copy()), CLASSES, path)
    return Labelled(torch.from_numpy(records[:, 1:].reshape(count, 3, 32, 32).copy()), labels)
