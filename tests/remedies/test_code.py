"""The code that is printed does what the remedy does: both are run on equal nets and compared.

Compared are the kinds of the modules and the variance of every weight, within its sampling error.
"""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.checkup import checkup
from sounding.remedies import Remedy, code, treat
from sounding.result import NotApplicable
from sounding.train import seeded
from sounding.zoo.nets import Plain, PlainConv, Residual, UNet, mlp
from sounding.zoo.sequences import LanguageModel

NETS = {
    "mlp": lambda: mlp(64, 96, 96, 96, 10),
    "tanh": lambda: mlp(64, 96, 96, 10, activation=nn.Tanh),
    "mixed": lambda: nn.Sequential(
        *(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.Tanh(), nn.Linear(96, 96)),
        *(nn.GELU(), nn.Linear(96, 10)),
    ),
    "leaky": lambda: mlp(64, 96, 96, 10, activation=lambda: nn.LeakyReLU(0.3)),
    "functional": lambda: Plain(64, 96, 96, 10),
    "conv": lambda: PlainConv(4, 32),
    "fixup": lambda: Residual(3, last=0.0),
    "language": lambda: LanguageModel(2, tied=True),
    "unet": lambda: UNet(16),
}
REMEDIES = [
    *(("reinitialise", {"scheme": s}) for s in ("kaiming", "orthogonal", "xavier", "lecun")),
    ("reinitialise", {"scheme": "kaiming_fan_out"}),
    ("data_driven_init", {}),
    ("insert_norm", {"kind": "batch"}),
    ("insert_norm", {"kind": "group"}),
    ("insert_norm", {"kind": "layer"}),
    ("change_activation", {"to": "relu"}),
    ("change_activation", {"to": "leaky_relu"}),
]
UNFIT = {  # what the remedy itself refuses
    ("functional", "change_activation"), ("conv", "change_activation"),
    ("leaky", "change_activation"), ("fixup", "change_activation"),
    ("language", "change_activation"), ("unet", "change_activation"),
    ("language", "batch"), *((name, "group") for name in NETS if name not in ("conv", "unet")),
}  # fmt: skip


@pytest.fixture
def given(x):
    """The inputs and the loss of a net of that name."""

    def take(name):
        if name == "language":
            tokens = torch.randint(0, 32, (16, 12), generator=torch.Generator().manual_seed(0))
            return (tokens, tokens), functional.cross_entropy
        if name == "unet":
            return (x.view(-1, 1, 8, 8), x.view(-1, 1, 8, 8)), functional.mse_loss
        images = x.view(-1, 1, 8, 8) if name == "conv" else x
        return (images, torch.arange(64) % 10), functional.cross_entropy

    return take


def variances(net):
    return {
        n: (float(p.detach().var()), p.numel()) for n, p in net.named_parameters() if p.dim() > 1
    }


def outputs(net, inputs):
    """Variance of every layer's output."""
    found = []
    layers = [m for m in net.modules() if isinstance(m, nn.Linear) or "Conv" in type(m).__name__]
    hooks = [
        layer.register_forward_hook(lambda *_: found.append(float(_[2].detach().var())))
        for layer in layers
        if not list(layer.children()) and hasattr(layer, "weight")
    ]
    net(inputs)
    for hook in hooks:
        hook.remove()
    assert any(abs(one - 1) < 0.1 for one in found)
    return found


def close(one, other, count):
    """Both are sample variances: their difference has twice the variance of one."""
    return abs(one - other) <= 5 * math.sqrt(4 / count) * max(one, other)


PAIRS = [(name, remedy) for name in NETS for remedy in REMEDIES]


def unfit(name, remedy):
    return bool({(name, remedy[0]), (name, remedy[1].get("kind"))} & UNFIT)


def words(value):
    return value if isinstance(value, str) else "-".join([value[0], *value[1].values()])


@pytest.mark.parametrize(("name", "remedy"), [p for p in PAIRS if unfit(*p)], ids=words)
def test_the_remedy_itself_refuses(name, remedy, given):
    batch, _ = given(name)
    net = NETS[name]()
    one = Remedy(name=remedy[0], arguments=remedy[1], touches="weights")
    with pytest.raises(NotApplicable):
        treat(one, net, lambda: net(batch[0]))


@pytest.mark.parametrize(("name", "remedy"), [p for p in PAIRS if not unfit(*p)], ids=words)
def test_pasted_code_does_the_same(name, remedy, given):
    batch, loss = given(name)
    one = Remedy(name=remedy[0], arguments=remedy[1], touches="weights")
    with seeded(0):
        treated, pasted = NETS[name](), NETS[name]()
    exam = checkup(pasted, loss, batch)
    with seeded(1):
        treat(one, treated, lambda: treated(batch[0]))
    with seeded(2):
        text = code(one, exam.readings)
        exec(text, {"nn": nn, "torch": torch, "model": pasted, "first_batch": batch[0]})
    assert str(treated) == str(pasted)
    if remedy[0] == "data_driven_init":  # the weights' scale depends on the orthogonal draw
        settled = zip(outputs(treated, batch[0]), outputs(pasted, batch[0]), strict=True)
        assert all(b == pytest.approx(a, rel=0.1) for a, b in settled if abs(a - 1) < 0.1)
        return
    other = variances(pasted)
    for weight, (variance, count) in variances(treated).items():
        assert close(variance, other[weight][0], count), f"{weight}\n{text}"
    biases = zip(treated.named_parameters(), pasted.parameters(), strict=True)
    assert all(torch.equal(a == 0, b == 0) for (n, a), b in biases if n.endswith("bias"))


def test_the_common_case_is_short_and_readable(given):
    batch, loss = given("mlp")
    readings = checkup(NETS["mlp"](), loss, batch).readings
    remedy = Remedy(name="reinitialise", arguments={"scheme": "kaiming"}, touches="weights")
    assert (
        code(remedy, readings)
        == """\
# kaiming, with the gain of the activation behind each layer; biases 0
with torch.no_grad():
    for name, layer in model.named_modules():
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            gain = 1.0 if name in ('6',) else 2**0.5
            fan_in = layer.weight[0].numel()
            nn.init.normal_(layer.weight, std=gain / fan_in**0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)"""
    )


@pytest.mark.parametrize("remedy", REMEDIES, ids=words)
def test_without_readings_the_code_compiles(remedy):
    one = Remedy(name=remedy[0], arguments=remedy[1], touches="weights")
    compile(code(one), "pasted", "exec")


def test_an_unknown_remedy_is_a_comment():
    assert code(Remedy(name="pray", arguments={"hours": 3}, touches="code")) == "# pray(hours=3)"
