"""The line that made a layer: remembered while it is made, or read from the source afterwards.

The expected line is the one that carries a comment with the layer's name.
"""

import importlib.util
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn

from sounding.capture.sources import remembered, source_of

SOURCE = """
import torch
from torch import nn


def block(width):
    return nn.Sequential(  # block
        nn.Linear(width, width),  # inside block
        nn.ReLU(),
    )


class Base(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.base = nn.Linear(width, width)  # base


class Middle(Base):
    def __init__(self, width):
        super().__init__(width)


class Net(Middle):
    def __init__(self, width=4):
        early = nn.Linear(width, width)  # early
        super().__init__(width)
        self.early = early  # early assigned
        self.plain = nn.Linear(width, width)  # plain
        self.layers = nn.ModuleList(  # layers
            nn.Linear(width, width)  # one of layers
            for _ in range(3)
        )
        self.written = nn.Sequential(  # written
            nn.Linear(width, width),  # written.0
            nn.Sequential(nn.Tanh(), nn.Linear(width, width)),  # written.1.1
        )
        self.named: nn.Module = nn.ModuleList([
            nn.Linear(width, width),  # named.0
        ])
        self.made = block(width)  # made
        self.a, self.b = nn.Linear(width, 2), nn.Linear(width, 2)  # pair
        self.add_module("late", nn.Linear(width, width))  # late
        self.encoder = nn.TransformerEncoder(  # encoder
            nn.TransformerEncoderLayer(width, 1, 8), 2,
            enable_nested_tensor=False,
        )


class Deferred(nn.Module):
    def __init__(self):
        super().__init__()
        self.build()

    def build(self):
        self.inner = nn.Linear(4, 4)  # inner


def factory():
    return Net()  # net


sequential = nn.Sequential(
    nn.Linear(4, 4),  # sequential.0
    nn.ReLU(),
)
short = lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU())  # short
"""

REMEMBERED = {
    "": "net",
    "base": "base",
    "early": "early",
    "plain": "plain",
    "layers": "layers",
    "layers.2": "one of layers",
    "written.0": "written.0",
    "written.1.1": "written.1.1",
    "named.0": "named.0",
    "made.0": "inside block",
    "made": "block",
    "a": "pair",
    "late": "late",
    # copies that torch made of a layer were not constructed: the line of what holds them
    "encoder.layers.1.linear1": "encoder",
}
STATIC = REMEMBERED | {
    "": "",
    "early": "early assigned",
    "layers.2": "layers",
    "written": "written",
    "made.0": "made",
    "made": "made",
    "encoder.layers.1.linear1": "encoder",
}


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The source above, imported under :func:`remembered` or not."""
    path = tmp_path / "nets.py"
    path.write_text(SOURCE)
    monkeypatch.chdir(tmp_path)

    def load():
        spec = importlib.util.spec_from_file_location("nets", path)
        loaded = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "nets", loaded)
        spec.loader.exec_module(loaded)
        return loaded

    return load


def line(tag):
    """'nets.py:12' of the line with this comment."""
    if not tag:
        return ""
    found = [n for n, text in enumerate(SOURCE.split("\n"), 1) if text.endswith(f"  # {tag}")]
    assert len(found) == 1, tag
    return f"nets.py:{found[0]}"


@pytest.mark.parametrize("name", REMEMBERED)
def test_remembered(module, name):
    with remembered():
        net = module().factory()
    assert source_of(net, name) == line(REMEMBERED[name])


@pytest.mark.parametrize("name", STATIC)
def test_read_from_the_source(module, name):
    net = module().factory()
    assert source_of(net, name) == line(STATIC[name])


def test_modules_at_the_top_in_lambdas_and_in_other_methods(module):
    with remembered():
        loaded = module()
        short, deferred = loaded.short(), loaded.Deferred()
    assert source_of(loaded.sequential, "0") == line("sequential.0")
    assert source_of(short, "0") == line("short")
    assert source_of(deferred, "inner") == line("inner")
    assert source_of(module().Deferred(), "inner") == line("inner")
    assert source_of(module().sequential, "0") == ""  # nobody remembers, no class to ask


def test_a_global_of_the_main_script_is_found(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent("""
        from torch import nn
        from sounding.capture.sources import source_of

        net = nn.Sequential(
            nn.Linear(4, 4),
            nn.ReLU(),
        )
        print(source_of(net, ""), source_of(net, "0"), source_of(net, "1"))
    """)
    )
    done = subprocess.run(
        [sys.executable, script.name], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["train.py:5", "train.py:6", "train.py:7"]


def test_torchs_own_files_are_no_answer(module):
    assert source_of(nn.TransformerEncoderLayer(4, 1, 8), "linear1") == ""
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    assert source_of(nn.Sequential(layer), "0") == ""
    net = module().factory()
    nn.utils.parametrizations.weight_norm(net.plain)
    assert source_of(net, "plain") == line("plain")
    assert source_of(net, "plain.parametrizations.weight.0") == line("plain")


def test_paths_outside_of_the_current_folder_are_whole(module, tmp_path, monkeypatch):
    net = module().factory()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert source_of(net, "plain") == str(tmp_path / line("plain"))


def test_strange_modules_and_files_disturb_nobody(module, tmp_path):
    class Unhashable(nn.Module):
        __hash__ = None

        def __eq__(self, other):
            return NotImplemented

    with remembered():
        strange = Unhashable()
        strange.add_module("inner", nn.Linear(2, 2))
    assert source_of(strange, "").endswith(".py") or source_of(strange, "") == ""
    space = {}
    exec("from torch import nn\nclass A(nn.Module):\n  def __init__(s):\n    super().__init__()\n"
         "    s.a = nn.Linear(2, 2)", space)  # fmt: skip
    assert source_of(space["A"](), "a") == ""
    assert source_of(nn.Linear(2, 2), "no.such.name") == ""


def test_the_constructor_is_given_back():
    original = nn.Module.__init__
    with pytest.raises(RuntimeError), remembered():
        raise RuntimeError
    assert nn.Module.__init__ is original


def test_torchvision_like_packages_give_way_to_the_users_line(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "modelhub"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "from torch import nn\n\ndef resnet():\n    return nn.Sequential(nn.Linear(2, 2))\n"
    )
    (tmp_path / "mine.py").write_text("import modelhub\n\n\nnet = modelhub.resnet()\n")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with remembered():
        mine = importlib.import_module("mine")
    assert source_of(mine.net, "0") == "mine.py:4"
    assert torch.is_tensor(mine.net[0].weight)
