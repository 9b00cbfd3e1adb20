"""Readers against files that the tests write themselves, and the digits against scikit-learn.

Catches swapped rows and columns, planes or labels, and damaged files that are read all the same.
"""

import gzip
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sounding.data import cifar10, clusters, digits, idx

# -- what comes with the package ------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    original = datasets.load_digits()
    ours = digits()
    assert ours.x.dtype == torch.float32
    assert ours.y.dtype == torch.int64
    assert ours.y.tolist() == original.target.tolist()
    scale = np.unique((original.data / 16).astype(np.float32)).size
    assert len(ours.x.unique()) == scale == 17
    correlation = np.corrcoef(ours.x.numpy().ravel(), original.data.ravel())[0, 1]
    assert correlation == pytest.approx(1, abs=1e-6)


def test_digits_are_standardised_and_split_without_overlap():
    ours = digits()
    assert ours.train.x.shape == (1437, 64)
    assert ours.test.x.shape == (360, 64)
    assert ours.train.x.mean().item() == pytest.approx(0, abs=1e-6)
    assert ours.train.x.pow(2).mean().item() == pytest.approx(1, abs=1e-6)
    both = torch.cat([torch.cat(ours.train.x.split(1)), ours.test.x]).double()
    assert both.sum().item() == pytest.approx(ours.x.double().sum().item())
    labels = torch.cat([ours.train.y, ours.test.y]).bincount()
    assert labels.tolist() == ours.y.bincount().tolist()


def test_digits_split_follows_its_seed_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    first, again, other = digits(), digits(), digits(seed=1)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first.train.x, again.train.x)
    assert not torch.equal(first.train.y, other.train.y)


def test_digits_are_linearly_separable_to_93_percent():
    (x, y), (test_x, test_y) = digits().train, digits().test

    def with_one(rows):
        return torch.cat([rows, torch.ones(len(rows), 1)], 1).double()

    target = torch.nn.functional.one_hot(y).double()
    weights = torch.linalg.lstsq(with_one(x), target, driver="gelsd").solution
    right = (with_one(test_x) @ weights).argmax(1) == test_y
    assert 0.90 < right.double().mean().item() < 0.97


def test_clusters_have_the_error_that_the_distance_says():
    # the Bayes rule is the nearest centre; 40,000 samples: standard error 0.1 % of all rows
    x, y = clusters(40_000, features=10, classes=2, distance=2.0)
    centres = torch.stack([x[y == k].mean(0) for k in (0, 1)])
    wrong = (torch.cdist(x, centres).argmin(1) != y).double().mean().item()
    assert wrong == pytest.approx(0.1587, abs=0.008)
    assert x.pow(2).mean().item() == pytest.approx(1, abs=0.02)
    assert y.bincount().tolist() == [20_000, 20_000]


def test_clusters_follow_their_seed_and_refuse_the_impossible():
    state = torch.get_rng_state()
    first, again = clusters(50, seed=3), clusters(50, seed=3)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first.x, again.x)
    assert not torch.equal(first.x, clusters(50, seed=4).x)
    with pytest.raises(ValueError, match="5 classes need at least as many features"):
        clusters(50, features=4, classes=5)


# -- IDX ------------------------------------------------------------------------------------------


def _idx_bytes(values, *, code=8, shape=None):
    shape = values.shape if shape is None else shape
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape) + values.tobytes()


@pytest.fixture
def idx_pair(tmp_path):
    images = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2)
    labels = np.array([7, 0, 9, 3], dtype=np.uint8)
    (tmp_path / "images").write_bytes(_idx_bytes(images))
    (tmp_path / "labels").write_bytes(_idx_bytes(labels))
    return tmp_path / "images", tmp_path / "labels"


def test_idx_rows_and_columns(idx_pair):
    x, y = idx(*idx_pair)
    assert x.dtype == torch.uint8
    assert x.shape == (4, 1, 3, 2)
    assert x[1, 0].tolist() == [[6, 7], [8, 9], [10, 11]]
    assert y.tolist() == [7, 0, 9, 3]
    assert y.dtype == torch.int64
    x, y = idx(*idx_pair, limit=2)
    assert (len(x), y.tolist()) == (2, [7, 0])


def test_idx_gzipped(idx_pair):
    packed = [path.with_suffix(".gz") for path in idx_pair]
    for plain, target in zip(idx_pair, packed, strict=True):
        target.write_bytes(gzip.compress(plain.read_bytes()))
    assert torch.equal(idx(*packed).x, idx(*idx_pair).x)
    packed[0].write_bytes(packed[0].read_bytes()[:-12])
    with pytest.raises(ValueError, match="not a whole gzip file"):
        idx(*packed)


def _spoilt_idx(kind, images):
    whole = images.read_bytes()
    return {
        "cut short": whole[:-1],
        "within its header": whole[:9],
        "starts with 1f 8b": gzip.compress(whole),
        "starts with nothing": b"",
        "type 0x0d": whole[:2] + b"\x0d" + whole[3:],
        "1 dimensions where 3": _idx_bytes(np.zeros(4, np.uint8)),
        "announced for 4000000000": _idx_bytes(np.zeros(9, np.uint8), shape=(4_000_000_000, 3, 3)),
        "3 images but": _idx_bytes(np.zeros((3, 3, 2), np.uint8)),
    }[kind]


@pytest.mark.parametrize(
    "message",
    [
        "cut short",
        "within its header",
        "starts with 1f 8b",
        "starts with nothing",
        "type 0x0d",
        "1 dimensions where 3",
        "announced for 4000000000",
        "3 images but",
    ],
)
def test_idx_damage_is_named(idx_pair, message):
    idx_pair[0].write_bytes(_spoilt_idx(message, idx_pair[0]))
    with pytest.raises(ValueError, match=message):
        idx(*idx_pair)


def test_idx_wrong_label_missing_file_and_wrong_limit(idx_pair):
    with pytest.raises(ValueError, match=r"label 9 in row 2 is not in 0\.\.8"):
        idx(*idx_pair, classes=9)
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        idx("nowhere", idx_pair[1])
    with pytest.raises(ValueError, match="limit is the number of rows"):
        idx(*idx_pair, limit=0)


# -- CIFAR-10, binary -----------------------------------------------------------------------------


def _records(labels, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    return np.concatenate([np.array(labels, np.uint8)[:, None], pixels], axis=1)


@pytest.fixture
def binary_folder(tmp_path):
    for number in (1, 2):
        _records([number, 3, 9], seed=number).tofile(tmp_path / f"data_batch_{number}.bin")
    _records([5], seed=9).tofile(tmp_path / "test_batch.bin")
    return tmp_path


def test_binary_planes_rows_and_columns(binary_folder):
    x, y = cifar10(binary_folder)
    assert x.shape == (6, 3, 32, 32)
    assert x.dtype == torch.uint8
    assert y.tolist() == [1, 3, 9, 2, 3, 9]
    pixels = _records([2, 3, 9], seed=2)[0, 1:]
    assert x[3, 0, 0, 1] == pixels[1]  # the next column
    assert x[3, 0, 1, 0] == pixels[32]  # the next row
    assert x[3, 2, 0, 0] == pixels[2048]  # the third plane: blue
    assert cifar10(binary_folder, train=False).y.tolist() == [5]


@pytest.mark.parametrize(
    ("limit", "labels"), [(2, [1, 3]), (4, [1, 3, 9, 2]), (99, [1, 3, 9, 2, 3, 9])]
)
def test_binary_limit_crosses_files(binary_folder, limit, labels):
    assert cifar10(binary_folder, limit=limit).y.tolist() == labels


def test_one_file_or_the_folder_above(binary_folder):
    assert cifar10(binary_folder / "data_batch_2.bin").y.tolist() == [2, 3, 9]
    (binary_folder / "cifar-10-batches-bin").mkdir()
    for file in binary_folder.glob("*.bin"):
        file.rename(binary_folder / "cifar-10-batches-bin" / file.name)
    assert len(cifar10(binary_folder).y) == 6


def test_binary_damage_is_named(binary_folder):
    file = binary_folder / "data_batch_1.bin"
    whole = file.read_bytes()
    for content in (whole[:-1], b""):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="no multiple of the record length 3073"):
            cifar10(binary_folder)
    file.write_bytes(bytes([10]) + whole[1:])
    with pytest.raises(ValueError, match=r"data_batch_1\.bin: label 10 in row 0"):
        cifar10(binary_folder)


def test_pickles_are_refused_in_one_sentence(tmp_path):
    batch = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    batch.parent.mkdir()
    batch.write_bytes(b"\x80\x02}q\x01.")
    for path in (tmp_path, batch.parent, batch):
        with pytest.raises(ValueError, match=r"is a pickle, which can run any program .* 'binary"):
            cifar10(path)


def test_where_nothing_is_the_message_says_where_to_set_the_path(tmp_path, monkeypatch):
    monkeypatch.delenv("SOUNDING_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="set the environment variable SOUNDING_DATA"):
        cifar10()
    with pytest.raises(FileNotFoundError, match=r"data_batch_\?.bin or train-\*.parquet"):
        cifar10(tmp_path)
    with pytest.raises(FileNotFoundError, match="the given path"):
        cifar10(tmp_path / "nowhere")
    monkeypatch.setenv("SOUNDING_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="SOUNDING_DATA\\) does not exist"):
        cifar10()


def test_the_environment_variable_is_used(binary_folder, monkeypatch):
    monkeypatch.setenv("SOUNDING_DATA", str(binary_folder))
    assert len(cifar10().y) == 6


# -- CIFAR-10, parquet ----------------------------------------------------------------------------


def _png(pixels):
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def _write_parquet(path, rows, image="img"):
    duckdb = pytest.importorskip("duckdb")
    pytest.importorskip("PIL")
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE TABLE t ({image} STRUCT(bytes BLOB, path VARCHAR), label BIGINT)"
        )
        for encoded, label in rows:
            connection.execute(
                "INSERT INTO t VALUES ({'bytes': ?, 'path': ''}, ?)", [encoded, label]
            )
        connection.execute(f"COPY t TO '{path}' (FORMAT parquet)")


def _picture(seed, size=(32, 32)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def test_parquet_pixels_labels_and_order(tmp_path):
    rows = [(_png(_picture(seed)), label) for seed, label in enumerate((4, 0, 9))]
    _write_parquet(tmp_path / "train-00000-of-00002.parquet", rows)
    _write_parquet(tmp_path / "train-00001-of-00002.parquet", rows[:1])
    _write_parquet(tmp_path / "test-00000-of-00001.parquet", rows[2:])
    x, y = cifar10(tmp_path)
    assert x.shape == (4, 3, 32, 32)
    assert x.dtype == torch.uint8
    assert y.tolist() == [4, 0, 9, 4]
    for row in range(3):
        assert np.array_equal(x[row].permute(1, 2, 0).numpy(), _picture(row))  # PNG keeps all
    assert cifar10(tmp_path, limit=2).y.tolist() == [4, 0]
    assert cifar10(tmp_path, train=False).y.tolist() == [9]
    assert len(cifar10(tmp_path / "train-00001-of-00002.parquet").y) == 1


@pytest.mark.parametrize(
    ("rows", "image", "message"),
    [
        ([(b"no picture", 1)], "img", "row 0 cannot be decoded"),
        ([(None, 1)], "img", "row 0 has no image bytes"),
        ([("small", 1)], "img", "row 0 is 16x8, expected 32x32"),
        ([("whole", 10)], "img", "label 10 in row 0"),
        ([("whole", -1)], "img", "label -1 in row 0"),
        ([("whole", 1)], "picture", "needs columns img .* and has picture STRUCT"),
    ],
)
def test_parquet_damage_is_named(tmp_path, rows, image, message):
    pytest.importorskip("PIL")
    pictures = {"small": _png(_picture(0, (8, 16))), "whole": _png(_picture(0))}
    rows = [(pictures.get(encoded, encoded), label) for encoded, label in rows]
    _write_parquet(tmp_path / "train-0.parquet", rows, image)
    with pytest.raises(ValueError, match=message):
        cifar10(tmp_path)


def test_what_is_no_parquet_file(tmp_path):
    pytest.importorskip("duckdb")
    (tmp_path / "train-0.parquet").write_bytes(b"PAR1 but nothing else")
    with pytest.raises(ValueError, match="cannot be read as parquet"):
        cifar10(tmp_path)


@pytest.mark.parametrize("missing", ["duckdb", "PIL"])
def test_without_the_extra_the_message_says_what_to_install(tmp_path, monkeypatch, missing):
    pytest.importorskip("duckdb")
    (tmp_path / "train-0.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf'{missing} is missing: pip install "sounding\[data\]"'):
        cifar10(tmp_path)


def _shared_data():
    """The folder of real data: SOUNDING_DATA, or shared/data beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SOUNDING_DATA", beside))
    if not list(folder.glob("cifar10/*.parquet")):
        pytest.skip(f"no real CIFAR-10 in {folder}; set SOUNDING_DATA to a folder with cifar10/")
    return folder


def test_real_cifar10_has_the_known_colours():
    # published channel means of the training images: 0.4914, 0.4822, 0.4465; 2,000 images: +-0.005
    pytest.importorskip("duckdb")
    x, y = cifar10(_shared_data(), limit=2000)
    assert (x.double().mean((0, 2, 3)) / 255).tolist() == pytest.approx(
        [0.4914, 0.4822, 0.4465], abs=0.015
    )
    assert y.bincount(minlength=10).min() > 140  # 200 expected, standard deviation 13
