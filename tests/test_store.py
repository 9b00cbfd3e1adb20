"""What runs leave behind: nothing stored is lost, whoever is killed, and nothing wrong is read.

The oracles: another process that says on its standard output what it has stored, and is killed;
plain `sqlite3` and `json`, which read the file without any code of this package; and, for the
version of the code, the interpreter's own account of which functions a training really ran.
"""

import functools
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from sounding.store import Key, Merged, Store, code_that_matters, code_version
from sounding.store import version as version_module
from sounding.store.packed import canonical, pack, unpack


def key(seed=0, **changes):
    parts = {"study": "a-study", "scale": "quick", "version": "v1"} | changes
    return Key.of(key, {"seed": seed, "lr": 0.1}, **parts)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "studies.sounding"


def same(one, other):
    """Equal in kind and value, arrays in dtype and shape too, and NaN to NaN."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype.newbyteorder("=") and np.array_equal(
            one, other, equal_nan=one.dtype.kind in "fc"
        )
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or (one != one and other != other))


# --- values --------------------------------------------------------------------------------------

arrays = st_numpy.arrays(
    st.sampled_from([np.float64, np.float32, np.int64, np.int8, np.bool_, np.complex128, ">f8"]),
    st_numpy.array_shapes(min_dims=0, min_side=0, max_side=3),
)
names = st.text(max_size=5).filter(lambda name: not name.startswith("$"))
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | arrays,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(names, anything, max_size=4))
def test_values_come_back_as_they_were(values):
    assert same(unpack(*pack(values)), values)


def test_arrays_come_back_writable_and_scalars_of_numpy_as_numbers(path):
    with Store(path) as store:
        store.put(key(), {"a": np.zeros((2, 3), "f4"), "b": np.float32(0.5)}, seconds=1)
        values = store.get(key())
    values["a"][0, 0] = 1
    assert type(values["b"]) is float


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"a": {"b": [1, object()]}}, r"values\['a'\]\['b'\]\[1\] is a object"),
        ({"a": {1: 2}}, "has the key 1"),
        ({"$float": "nan"}, "begin without"),
        ({"a": np.array([object()])}, "array of object"),
        ({"a": np.zeros(2, np.longdouble)}, "double precision at most"),
        ({"a": np.longdouble(1)}, "is a longdouble"),
        ([1], "are a dict, not a list"),
    ],
)
def test_what_cannot_be_stored_is_named(values, said):
    with pytest.raises(TypeError, match=said):
        pack(values)


def test_settings_have_one_text_in_whatever_order():
    assert canonical({"b": 1, "a": (2, 3)}) == canonical({"a": [2, 3], "b": np.int64(1)})
    assert json.loads(canonical({"lr": 1e-3})) == {"lr": 0.001}
    for wrong in ({"lr": float("inf")}, {"x": np.zeros(2)}, {"x": np.zeros(0)}):
        with pytest.raises(ValueError, match="part of a key"):
            canonical(wrong)


# --- get, put, keys, rows ------------------------------------------------------------------------


def test_a_run_is_found_under_its_whole_key_and_no_other(path):
    with Store(path) as store:
        store.put(key(), {"loss": 0.5}, seconds=2.5)
        assert store.get(key()) == {"loss": 0.5}
        other = Key.of(same, {"seed": 0, "lr": 0.1}, study="a-study", scale="quick", version="v1")
        for wrong in (key(1), key(study="b"), key(scale="full"), key(version="v2"), other):
            assert store.get(wrong) is None


def test_rows_say_what_ran_and_how_long(path):
    with Store(path) as store:
        for seed in range(3):
            store.put(key(seed), {"loss": float(seed)}, seconds=seed + 0.5)
        store.put(key(study="another"), {}, seconds=0)
        rows = list(store.rows("a-study"))
        assert [row.key for row in rows] == store.keys("a-study") == [key(0), key(1), key(2)]
        assert len(store.keys()) == len(list(store.rows())) == 4
    assert [row.values["loss"] for row in rows] == [0.0, 1.0, 2.0]
    assert [row.seconds for row in rows] == [0.5, 1.5, 2.5]
    assert [row.key.keywords["seed"] for row in rows] == [0, 1, 2]


def test_a_second_put_takes_the_place_of_the_first(path):
    with Store(path) as store:
        store.put(key(), {"loss": 1.0}, seconds=1)
        store.put(key(), {"loss": 2.0}, seconds=1)
        assert store.get(key()) == {"loss": 2.0}
        assert len(store.keys()) == 1


def test_the_newest_result_of_every_study_is_kept_per_scale(path):
    with Store(path) as store:
        store.put_study("b", "quick", "v1", {"outcome": "supported"})
        store.put_study("a", "quick", "v1", {"outcome": "refuted"})
        store.put_study("b", "full", "v1", {"outcome": "not tested"})
        store.put_study("b", "quick", "v2", {"outcome": "inconclusive", "curve": np.arange(2.0)})
        found = [(s.name, s.scale, s.version, s.values["outcome"]) for s in store.studies()]
    assert found == [
        ("a", "quick", "v1", "refuted"),
        ("b", "full", "v1", "not tested"),
        ("b", "quick", "v2", "inconclusive"),
    ]


def test_any_program_can_read_the_file(path):
    values = np.array([[1.5, 2.5], [3.5, np.nan]])
    with Store(path) as store:
        store.put(key(3), {"values": values, "loss": float("nan")}, seconds=1)
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # no second file is left
    connection = sqlite3.connect(path)
    settings, text, blob = connection.execute(
        "SELECT settings, result, arrays FROM runs"
    ).fetchone()
    connection.close()
    assert json.loads(settings) == {"lr": 0.1, "seed": 3}
    assert json.loads(text)["loss"] == {"$float": "nan"}
    dtype, shape, offset = json.loads(text)["values"]["$array"]
    assert (dtype, shape, offset, blob) == ("<f8", [2, 2], 0, values.tobytes())


# --- several processes, and their deaths ---------------------------------------------------------

WRITER = """
import sys
import numpy as np
from sounding.store import Key, Store
path, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with Store(path) as store:
    for seed in range(first, last):
        key = Key.of(print, {"seed": seed}, study="s", scale="quick", version="v")
        store.put(key, {"seed": seed, "curve": np.full(2000, seed, "f8")}, seconds=1)
        print(seed, flush=True)
"""


def writer(path, first, last, **options):
    command = [sys.executable, "-c", WRITER, str(path), str(first), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def fill(path, runs):
    process = writer(path, 0, runs)
    process.communicate(timeout=60)
    assert process.returncode == 0


def seeds(path):
    """The stored runs, each checked in itself."""
    with Store(path) as store:
        rows = list(store.rows())
    for row in rows:
        seed = row.key.keywords["seed"]
        assert row.values["seed"] == seed
        assert (row.values["curve"] == seed).all()
    return sorted(row.key.keywords["seed"] for row in rows)


@pytest.mark.parametrize("after", [1, 7, 30])
def test_a_kill_takes_the_run_under_way_and_no_other(path, after):
    process = writer(path, 0, 100_000)
    said = [int(process.stdout.readline()) for _ in range(after)]
    os.kill(process.pid, signal.SIGKILL)
    said += [int(line) for line in process.stdout.read().split()]
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    stored = seeds(path)
    assert stored in (said, [*said, said[-1] + 1])  # at most one more, that was not yet reported
    check = sqlite3.connect(path)
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()


def test_a_kill_while_the_file_is_being_made_does_no_harm(path):
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")  # all that had been done so far
    connection.close()
    assert path.stat().st_size > 0
    with Store(path) as store:
        store.put(key(), {"loss": 1.0}, seconds=1)
        assert store.get(key()) == {"loss": 1.0}


def test_two_processes_write_at_once_into_a_store_that_both_make(path):
    both = [writer(path, 0, 40), writer(path, 40, 80)]
    for process in both:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert seeds(path) == list(range(80))


def test_one_process_reads_while_another_writes(path):
    with Store(path) as reader, Store(path) as store:
        store.put(key(0), {"loss": 0.0}, seconds=1)
        store.put(key(1), {"loss": 1.0}, seconds=1)
        rows = reader.rows()
        assert next(rows).key == key(0)
        store.put(key(2), {"loss": 2.0}, seconds=1)  # does not wait for the reader
        assert reader.get(key(2)) == {"loss": 2.0}  # nor is what it sees the store of before
        reader.put(key(3), {"loss": 3.0}, seconds=1)  # nor is it kept from writing
        assert [row.key for row in rows] == [key(1)]
        assert store.keys() == [key(0), key(1), key(2), key(3)]


# --- merging -------------------------------------------------------------------------------------


def at(monkeypatch, seconds):
    monkeypatch.setattr("sounding.store.store.time.time", lambda: float(seconds))


def test_merging_keeps_every_row_once_and_of_two_the_newer(tmp_path, monkeypatch):
    here, there = tmp_path / "here.sounding", tmp_path / "there.sounding"
    with Store(here) as store, Store(there) as other:
        for into, seed, time, loss in (
            (store, 0, 10, "only here"),
            (store, 1, 10, "older here"),
            (other, 1, 20, "newer there"),
            (store, 2, 20, "newer here"),
            (other, 2, 10, "older there"),
            (other, 3, 10, "only there"),
            (store, 4, 10, "equal"),
            (other, 4, 10, "equal"),
        ):
            at(monkeypatch, time)
            into.put(key(seed), {"loss": loss}, seconds=1)
        other.put_study("a-study", "quick", "v1", {"outcome": "refuted"})
    before = there.read_bytes()
    with Store(here) as store:
        assert store.merge(there) == Merged(added=2, replaced=1, kept=2)
        losses = {row.key.keywords["seed"]: row.values["loss"] for row in store.rows()}
        assert losses == {
            0: "only here", 1: "newer there", 2: "newer here", 3: "only there", 4: "equal",
        }  # fmt: skip
        assert [row.written for row in store.rows() if row.key == key(1)] == [20.0]
        assert [study.values for study in store.studies()] == [{"outcome": "refuted"}]
        assert store.merge(there) == Merged(added=0, replaced=0, kept=5)
    assert there.read_bytes() == before


def test_a_store_that_is_being_written_and_one_that_was_killed_can_be_merged(path, tmp_path):
    process = writer(path, 0, 100_000)
    while int(process.stdout.readline()) < 5:
        pass
    with Store(tmp_path / "here.sounding") as store:
        first = store.merge(path).added
        process.kill()
        said = process.stdout.read().split()
        process.stdout.close()
        process.wait()
        again = store.merge(path)
    assert first >= 6
    assert again.kept == first
    assert first + again.added >= 6 + len(said)


def test_a_merge_that_fails_changes_nothing(path, tmp_path):
    damaged = tmp_path / "damaged.sounding"
    fill(damaged, 60)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2 :] = b"\xff" * (len(content) - len(content) // 2)
    damaged.write_bytes(content)
    with Store(path) as store:
        store.put(key(), {"loss": 1.0}, seconds=1)
        with pytest.raises(ValueError, match=r"damaged.sounding .*damaged"):
            store.merge(damaged)
        assert store.keys() == [key()]
        with pytest.raises(FileNotFoundError, match="no store"):
            store.merge(tmp_path / "nothing.sounding")
    assert not (tmp_path / "nothing.sounding").exists()


# --- wrong files, full disks ---------------------------------------------------------------------


def test_a_store_of_a_newer_version_is_refused_and_left_alone(path):
    Store(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"newer version of Sounding \(format 99.*update"):
        Store(path)
    assert path.read_bytes() == before


def foreign(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE notes (text)")
    connection.close()


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        (foreign, ValueError, "another program"),
        (lambda path: path.write_text("loss,accuracy\n" * 99), ValueError, "no store"),
        (lambda path: path.mkdir(), IsADirectoryError, "is a folder"),
        (lambda path: path.parent.rmdir(), FileNotFoundError, "no folder"),
    ],
)
def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path, make, kind, said):
    path = tmp_path / "deep" / "studies.sounding"
    path.parent.mkdir()
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(kind, match=said):
        Store(path)
    assert before is None or path.read_bytes() == before


def test_a_damaged_store_is_said(path):
    fill(path, 60)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 3])
    with pytest.raises(ValueError, match="damaged"), Store(path) as store:
        list(store.rows())


def test_a_full_disk_is_said_and_loses_nothing_stored(path):
    with Store(path) as store:
        store.put(key(0), {"curve": np.arange(1000.0)}, seconds=1)
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count={pages + 1}")
        with pytest.raises(OSError, match=r"disk full\? What was stored before is safe"):
            store.put(key(1), {"curve": np.arange(100_000.0)}, seconds=1)
        assert store.keys() == [key(0)]
        store._connection.execute("PRAGMA max_page_count=1000000")
        store.put(key(1), {"curve": np.arange(100_000.0)}, seconds=1)  # once there is room
        assert (store.get(key(0))["curve"] == np.arange(1000.0)).all()
        assert store.keys() == [key(0), key(1)]


def test_a_quota_of_the_system_is_said_and_loses_nothing_stored(path):
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    process = writer(path, 0, 1000, preexec_fn=limited, stderr=subprocess.PIPE)
    stdout, stderr = process.communicate(timeout=60)
    said = [int(line) for line in stdout.split()]
    assert len(said) >= 5
    assert process.returncode == 1
    assert "What was stored before is safe" in stderr.splitlines()[-1]
    assert seeds(path) == said


def test_a_read_only_place_is_said_at_once_and_can_still_be_read(tmp_path):
    folder = tmp_path / "shelf"
    folder.mkdir()
    path = folder / "studies.sounding"
    with Store(path) as store:
        store.put(key(), {"loss": 1.0}, seconds=1)
    program = f"""
    import os
    from sounding.store import Store
    if os.geteuid() == 0:
        os.setuid(65534)  # root may write anywhere
    for name in ("studies.sounding", "new.sounding"):
        try:
            Store({str(folder)!r} + "/" + name)
        except PermissionError as error:
            print(error)
    with Store({str(path)!r}, read_only=True) as store:
        print(len(store.keys()))
    """
    for part in (folder, *folder.parents):
        if os.access(part, os.W_OK) and tmp_path.parts[:3] == part.parts[:3]:
            part.chmod(0o755)
    path.chmod(0o444)
    folder.chmod(0o555)
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd="/")
    folder.chmod(0o755)
    assert done.returncode == 0, done.stderr
    *errors, read = done.stdout.splitlines()
    assert [error.split("(")[0] for error in errors] == [
        "[Errno 13] the store cannot be written "
    ] * 2
    assert read == "1"


def test_read_only_does_not_write(path):
    with pytest.raises(FileNotFoundError):
        Store(path, read_only=True)
    Store(path).close()
    with Store(path, read_only=True) as store, pytest.raises(PermissionError):
        store.put(key(), {}, seconds=1)


# --- the version of the code ---------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package in the place of this one; what comes back rewrites one of its files."""
    root = tmp_path / "deep_water"
    files = {
        "__init__": (
            "def __getattr__(name): ...\nif TYPE_CHECKING:\n    from deep_water.lead import line"
        ),
        "lead/__init__": (
            '"""Names."""\n'
            "from deep_water.lead.line import line\nfrom deep_water.lead.knot import knot"
        ),
        "lead/line": (
            "from deep_water import chart\n\nLENGTH = 3\ndef line(): return chart.depth() * LENGTH"
        ),
        "lead/knot": "def knot(): return 1",
        "chart": "def depth(): return 1\ndef width(): return 2",
        "late": "def tide(): return 0",
        "view": "def draw(): ...",
        "study": (
            "from deep_water.lead import line\n"
            "def run(seed):\n    from deep_water.late import tide\n    return line() + tide()\n"
            "def drawn():\n    from deep_water import view\n    return view.draw()\n"
        ),
        "lazy": "import deep_water as dw\ndef run(): return dw.line()",
    }

    def write(name, text):
        file = root / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    for name, text in files.items():
        write(name, text)
    monkeypatch.setattr(version_module, "ROOT", root)
    return lambda name, old, new: write(name, files[name].replace(old, new))


def covered(subject):
    return [line.partition(" ")[0] for line in code_that_matters(subject)]


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        (("lead/line", "LENGTH = 3", "LENGTH = 4"), True),  # two imports away
        (("chart", "return 1", "return 7"), True),  # an attribute of a module
        (("late", "return 0", "return 5"), True),  # imported inside a function
        (("study", "line() + tide()", "line() - tide()"), True),
        (("lead/line", "LENGTH = 3", "LENGTH  =  3  # feet\n"), False),
        (("chart", "def depth():", 'def depth():\n    """How deep."""\n   '), False),
        (("chart", "return 2", "return 9"), False),  # a neighbour that is not used
        (("lead/knot", "return 1", "return 2"), False),  # in a package that only gathers names
        (("view", "...", "return 1"), False),  # drawing makes no number
    ],
)
def test_the_version_changes_with_the_code_that_matters_and_only_then(package, change, matters):
    before = code_version("deep_water.study")
    package(*change)
    assert (code_version("deep_water.study") != before) == matters


def test_a_name_taken_lazily_from_the_package_is_followed(package):
    assert "deep_water.lead.line:line" in covered("deep_water.lazy")
    assert "deep_water.lead.knot:knot" not in covered("deep_water.lazy")


def test_of_a_function_only_what_it_uses_matters(tmp_path):
    from sounding.studies.claims import he_2015_depth

    run, whole = covered(he_2015_depth.dense_case), covered(he_2015_depth)
    assert "sounding.train.recipe:Recipe" in run
    assert not any(name.startswith("sounding.verdict") for name in run)
    assert "sounding.verdict:judge" in whole
    assert set(run) < set(whole)


def test_what_a_training_runs_is_among_what_its_version_covers():
    from sounding.curvature.eigenpairs import eigenpairs
    from sounding.curvature.hessian import hessian
    from sounding.studies.claims import he_2015_depth
    from sounding.train import Case, Recipe, train

    ran = set()
    root = str(version_module.ROOT)

    def note(frame, event, _argument):
        code = frame.f_code
        if (
            event == "call"
            and code.co_filename.startswith(root)
            and "<" not in code.co_qualname[:1]
        ):
            module = frame.f_globals["__name__"]
            ran.add(f"{module}:{code.co_qualname.split('.')[0]}")

    x, y = np.zeros((8, 64), "f4"), np.zeros(8, "i8")
    import torch
    from torch.nn import functional

    case = Case(
        functools.partial(he_2015_depth.dense_net, "He", 4),
        functional.cross_entropy,
        (torch.tensor(x), torch.tensor(y)),
        Recipe(lr=0.1, momentum=0.9, batch_size=4, steps=2),
    )

    def work():
        train(case, 0)
        eigenpairs(hessian(case.build(), case.loss, case.batches))

    work()  # imports what torch and others import late
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    assert {"sounding.train.loop:train", "sounding.curvature.hessian:hessian"} <= ran
    assert len(ran) > 50
    known = {name for start in (train, hessian, eigenpairs) for name in covered(start)}
    known |= set(covered(he_2015_depth.dense_net))
    assert ran <= known


def test_without_a_source_that_is_said():
    with pytest.raises(ValueError, match="no source of sounding"):
        code_version("sounding.nothing")
    with pytest.raises(ValueError, match="no top-level function"):
        code_version(lambda: 0)
    with pytest.raises(ValueError, match="no source"):
        code_version(len)
