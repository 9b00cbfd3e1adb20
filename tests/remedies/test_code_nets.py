"""The code of remedies for a net makes of an equal net the one that the remedy makes of it.

Both are run on the same inputs, in training mode, so the whole function is compared and not only
the kinds of the modules.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.checkup import checkup
from sounding.remedies import code, prescribe, treat
from sounding.train import seeded
from sounding.zoo.nets import LeNet, Residual, mlp, resnet, separable
from sounding.zoo.sequences import LanguageModel, Recurrent

IMAGES = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
ROWS = IMAGES.flatten(1)
LABELS = torch.arange(16) % 10
SEQUENCES = torch.randn(16, 5, 8, generator=torch.Generator().manual_seed(0))
TOKENS = torch.arange(48).view(4, 12) * 7 % 32


def normed():
    return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))


def layered():
    return nn.Sequential(nn.Linear(64, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 10))


def grouped():
    return resnet(1, lambda channels: nn.GroupNorm(4, channels))


def linear():
    return nn.Sequential(nn.Linear(64, 32), nn.Linear(32, 32), nn.Linear(32, 10))


def summed():
    return nn.Sequential(*mlp(64, 32, 10), nn.Sigmoid())


def dropped():
    return nn.Sequential(nn.Linear(64, 32), nn.Dropout(0.9), nn.Linear(32, 10))


CASES = [
    (linear, ROWS, "add_activations", {"kind": "gelu"}),
    (summed, ROWS, "remove_output_activation", {}),
    (dropped, ROWS, "set_dropout", {"p": 0.3}),
    (lambda: mlp(64, 32, 32, 10), ROWS, "insert_norm", {"kind": "rms"}),
    (lambda: mlp(64, 32, 32, 10), ROWS, "insert_norm", {"kind": "weight"}),
    (LeNet, IMAGES, "insert_norm", {"kind": "weight"}),
    (lambda: Recurrent(nn.LSTM), SEQUENCES, "insert_norm", {"kind": "layer"}),
    (lambda: Recurrent(nn.GRU), SEQUENCES, "insert_norm", {"kind": "rms"}),
    *(
        (make, x, "exchange_norm", {"to": to})
        for make, x, kinds in (
            (normed, ROWS, ("layer", "group", "rms")),
            (layered, ROWS, ("rms",)),
            (lambda: resnet(1), IMAGES, ("layer", "group", "instance")),
            (grouped, IMAGES, ("batch", "instance")),
        )
        for to in kinds
    ),
    (normed, ROWS, "recalibrate_statistics", {}),
    (normed, ROWS, "freeze_norm", {}),
    (normed, ROWS, "fold_batch_norm", {}),
    (separable, IMAGES, "fold_batch_norm", {}),
    (lambda: resnet(2), IMAGES, "fold_batch_norm", {}),
    (lambda: mlp(64, 32, 10), ROWS, "standardise_inputs", {}),
    (LeNet, IMAGES, "standardise_inputs", {}),
    (lambda: mlp(64, 32, 10), ROWS, "scale_last_layer", {"factor": 0.3}),
    (LeNet, IMAGES, "scale_output", {"mean": 2.0, "std": 0.5}),
    (lambda: LanguageModel(1, tied=True), TOKENS, "scale_embeddings", {"std": 0.5}),
]


def words(value):
    return "-".join(map(str, value.values())) if isinstance(value, dict) else None


@pytest.mark.parametrize(("make", "x", "name", "arguments"), CASES, ids=words)
def test_pasted_code_does_the_same(make, x, name, arguments):
    with seeded(0):
        treated, pasted = make(), make()
        pasted.load_state_dict(treated.state_dict())
    target = (
        TOKENS if x is TOKENS else LABELS if "current" not in type(treated).__name__ else LABELS % 2
    )
    exam = checkup(pasted, functional.cross_entropy, (x, target))
    treat(prescribe(name, **arguments), treated, lambda: treated(x))
    text = code(prescribe(name, **arguments), exam.readings)
    batches = [x] * 16
    names = {
        "nn": nn,
        "torch": torch,
        "model": pasted,
        "first_batch": x,
        "training_batches": batches,
    }
    exec(text, names)
    if name != "fold_batch_norm":  # of a new net, whose norms have seen nothing
        treated.train(), pasted.train()
    for mode in (False, True):
        treated.train(mode), pasted.train(mode)
        with seeded(1):
            one = treated(x)
        with seeded(1):
            other = pasted(x)
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=lambda m: f"{m}\n{text}")
    assert sorted(p.shape for p in treated.parameters()) == sorted(
        p.shape for p in pasted.parameters()
    )


BIASES = [
    (functional.cross_entropy, LABELS, 10),
    (functional.binary_cross_entropy_with_logits, (LABELS[:, None] > 6).float(), 1),
    (functional.mse_loss, 5 + ROWS[:, :3], 3),
]


@pytest.mark.parametrize(("loss", "targets", "units"), BIASES)
def test_pasted_biases(loss, targets, units):
    from sounding.remedies import apply
    from sounding.train import Case, Recipe

    net = mlp(64, 8, units)
    remedy = prescribe("set_output_bias")
    readings = checkup(net, loss, (ROWS, targets)).readings
    exec(code(remedy, readings), {"torch": torch, "model": net, "targets": targets})
    case = Case(lambda: mlp(64, 8, units), loss, (ROWS, targets), Recipe(lr=0.1, batch_size=None))
    expected = apply(remedy, case).build()[2].bias.detach()
    torch.testing.assert_close(net[2].bias.detach(), expected)


def test_pasted_fixup():
    net = Residual(4, last=0.0)
    readings = checkup(net, functional.cross_entropy, (ROWS, LABELS)).readings
    exec(
        code(prescribe("reinitialise", scheme="fixup"), readings),
        {"torch": torch, "nn": nn, "model": net},
    )
    sizes = [float(up.weight.detach().square().mean()) for up in net.up]
    assert sizes == pytest.approx([2 / 64 / 4] * 4, rel=4.5 * (2 / 4096) ** 0.5)
    assert not any(down.weight.any() for down in net.down)
    assert not net.head.weight.any()
    text = code(
        prescribe("reinitialise", scheme="fixup"),
        checkup(normed(), functional.cross_entropy, (ROWS, LABELS)).readings,
    )
    assert text.startswith("# reinitialise(scheme='fixup'): no residual branch")


def test_standardised_targets_are_changed_in_the_data():
    names = {"targets": torch.tensor([4.0, 6.0])}
    exec(code(prescribe("standardise_targets", mean=5.0, std=2.0)), names)
    assert names["targets"].tolist() == [-0.5, 0.5]
