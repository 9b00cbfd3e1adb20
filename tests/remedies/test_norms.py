"""Exchanged normalisations compute what torch's functional ones do, with the old scales kept."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.remedies.norms import Moved, Normalised, groups
from sounding.result import NotApplicable
from sounding.zoo.nets import PlainConv, mlp, resnet
from sounding.zoo.sequences import HandWritten, LanguageModel, Recurrent

FLAT, SEQUENCE = torch.randn(6, 32), torch.randn(6, 5, 32)
MAPS = {n: torch.randn(6, 32, *[4] * n) for n in (1, 2, 3)}


def batch(x, w, b):
    return functional.batch_norm(x, None, None, w, b, training=True)


def rms(x, w, dim):
    scale = w.view(-1, *[1] * (x.dim() - 2)) if dim == 1 else w
    return x / (x.square().mean(dim, keepdim=True) + torch.finfo(x.dtype).eps).sqrt() * scale


EXPECTED = {
    "flat": {
        "layer": lambda x, w, b: functional.layer_norm(x, (32,), w, b),
        "group": lambda x, w, b: functional.group_norm(x, 2, w, b),
        "batch": batch,
        "rms": lambda x, w, b: rms(x, w, -1),
    },
    "maps": {
        "layer": lambda x, w, b: functional.group_norm(x, 1, w, b),
        "group": lambda x, w, b: functional.group_norm(x, 32, w, b),
        "batch": batch,
        "instance": lambda x, w, b: functional.instance_norm(x, weight=w, bias=b),
        "rms": lambda x, w, b: rms(x, w, 1),
    },
    "sequence": {
        "layer": lambda x, w, b: functional.layer_norm(x, (32,), w, b),
        "group": lambda x, w, b: functional.group_norm(x.mT, 32, w, b).mT,
        "batch": lambda x, w, b: batch(x.mT, w, b).mT,
        "instance": lambda x, w, b: functional.instance_norm(x.mT, weight=w, bias=b).mT,
        "rms": lambda x, w, b: rms(x, w, -1),
    },
}
OLD = {
    "flat": [nn.BatchNorm1d(32), nn.LayerNorm(32), nn.RMSNorm(32), nn.GroupNorm(4, 32)],
    "maps": [nn.BatchNorm2d(32), nn.GroupNorm(8, 32), nn.InstanceNorm2d(32, affine=True)],
    "sequence": [nn.LayerNorm(32), nn.RMSNorm(32)],
}
CASES = [
    pytest.param(layout, old, to, id=f"{layout}-{type(old).__name__}-{to}")
    for layout, norms in OLD.items()
    for old in norms
    for to in EXPECTED[layout]
    if not type(old).__name__.lower().startswith(to)
]


@pytest.mark.parametrize(("layout", "old", "to"), CASES)
def test_exchanged_norms_compute_torchs_functions(cure, layout, old, to):
    x = {"flat": FLAT, "maps": MAPS[2], "sequence": SEQUENCE}[layout]
    net = nn.Sequential(old)
    nn.init.normal_(old.weight, 1.0, 0.3)
    if getattr(old, "bias", None) is not None:
        nn.init.normal_(old.bias)
    cure(net, "exchange_norm", inputs=x, to=to)
    inner = net[0].norm if isinstance(net[0], Moved) else net[0]
    assert inner.weight is old.weight
    had = getattr(old, "bias", None) is not None and to != "rms"
    assert (getattr(inner, "bias", None) is getattr(old, "bias", None)) or not had
    bias = inner.bias if to != "rms" else None
    torch.testing.assert_close(net(x), EXPECTED[layout][to](x, inner.weight, bias))


@pytest.mark.parametrize("positions", [1, 2, 3])
@pytest.mark.parametrize("to", ["group", "instance", "layer", "rms"])
def test_maps_of_any_dimension(cure, positions, to):
    x = MAPS[positions]
    net = nn.Sequential(getattr(nn, f"BatchNorm{positions}d")(32))
    cure(net, "exchange_norm", inputs=x, to=to)
    torch.testing.assert_close(
        net(x), EXPECTED["maps"][to](x, torch.ones(32), torch.zeros(32)), atol=1e-5, rtol=1e-4
    )


def test_a_whole_resnet_keeps_its_scales(cure):
    net, x = resnet(2), torch.randn(4, 1, 8, 8)
    before = dict(net.named_parameters())
    cure(net, "exchange_norm", inputs=x, to="group")
    after = dict(net.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    assert sum(isinstance(m, nn.GroupNorm) for m in net.modules()) == 5
    alone = net.eval()(x[:1])
    torch.testing.assert_close(alone, net.train()(x)[:1])  # no sample sees another


def test_mode_and_type_of_exchanged_norms(cure):
    net = resnet(1).double().eval()
    cure(net, "exchange_norm", inputs=torch.randn(4, 1, 8, 8).double(), to="instance")
    assert not any(m.training for m in net.modules())
    assert {p.dtype for p in net.parameters()} == {torch.float64}


def test_a_norm_over_several_dimensions(cure):
    x = MAPS[2]
    net = nn.Sequential(nn.LayerNorm((32, 4, 4)))
    cure(net, "exchange_norm", inputs=x, to="batch")
    torch.testing.assert_close(net(x), batch(x, torch.ones(32), torch.zeros(32)))


def test_what_cannot_be_exchanged(cure):
    with pytest.raises(NotApplicable, match="no normalisation that could become a layer norm"):
        cure(nn.Sequential(nn.LayerNorm(32)), "exchange_norm", inputs=FLAT, to="layer")
    with pytest.raises(NotApplicable, match="0: an instance normalisation needs positions"):
        cure(nn.Sequential(nn.LayerNorm(32)), "exchange_norm", inputs=FLAT, to="instance")
    with pytest.raises(ValueError, match="no normalisation is called 'weight'; there are group"):
        cure(nn.Sequential(nn.LayerNorm(32)), "exchange_norm", inputs=FLAT, to="weight")


@pytest.mark.parametrize(
    ("channels", "fewest", "count"), [(64, 1, 32), (48, 1, 24), (64, 16, 4), (7, 16, 1)]
)
def test_groups_divide_the_channels(channels, fewest, count):
    assert groups(channels, fewest) == count
    assert channels % count == 0


# -- inserted --------------------------------------------------------------------------------------


def test_rms_behind_linear_layers(cure, x):
    net = mlp(64, 32, 48, 10)
    cure(net, "insert_norm", kind="rms")
    assert [tuple(m.normalized_shape) for m in net.modules() if isinstance(m, nn.RMSNorm)] == [
        (32,), (48,),
    ]  # fmt: skip
    inner = net[0](x)
    torch.testing.assert_close(inner.square().mean(1), torch.ones(64), rtol=1e-3, atol=0)


@pytest.mark.parametrize("make", [lambda: mlp(64, 32, 48, 10), lambda: PlainConv(3)])
def test_weight_norm_is_the_same_function(cure, x, make):
    net = make()
    inputs = x.view(-1, 1, 8, 8) if isinstance(net, PlainConv) else x
    before = net(inputs)
    cure(net, "insert_norm", inputs=inputs, kind="weight")
    torch.testing.assert_close(net(inputs), before)
    lengths = {n for n, _ in net.named_parameters() if n.endswith("original0")}
    assert len(lengths) == (3 if isinstance(net, PlainConv) else 2)  # not the last layer
    with pytest.raises(NotApplicable):
        cure(net, "insert_norm", inputs=inputs, kind="weight")


@pytest.mark.parametrize("kind", ["layer", "rms"])
@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU])
def test_outputs_of_recurrent_layers_are_normalised(cure, kind, layer):
    net, x = Recurrent(layer), torch.randn(4, 6, 8)
    plain = net.recurrent(x)[0]
    cure(net, "insert_norm", inputs=x, kind=kind)
    assert isinstance(net.recurrent, Normalised)
    norm = {"layer": functional.layer_norm, "rms": functional.rms_norm}[kind]
    torch.testing.assert_close(net.recurrent(x)[0], norm(plain, (48,)))
    packed = nn.utils.rnn.pack_padded_sequence(x, [6, 5, 3, 2], batch_first=True)
    assert net.recurrent(packed)[0].data.shape == (16, 48)


def test_a_recurrence_written_by_hand(cure):
    net, x = HandWritten(), torch.randn(4, 6, 8)
    cure(net, "insert_norm", inputs=x, kind="layer")
    assert isinstance(net.state[1], nn.LayerNorm)
    assert net(x).shape == (4, 2)


def test_transformers_take_those_with_features_last(cure):
    tokens = torch.randint(0, 32, (4, 7))
    for kind in ("layer", "rms"):
        net = LanguageModel(1)
        cure(net, "insert_norm", inputs=tokens, kind=kind)
        assert isinstance(net.blocks[0].up, nn.Sequential)
    with pytest.raises(NotApplicable, match="no rms normalisation fits layers"):
        cure(PlainConv(2), "insert_norm", inputs=torch.randn(4, 1, 8, 8), kind="rms")
