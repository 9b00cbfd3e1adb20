"""The code of remedies for the recipe, pasted where its comment says, trains as treated.

Each pasted run is torch alone, so this is a test of both.
"""

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from sounding.checkup import checkup
from sounding.remedies import code, prescribe


def sgd(net):
    return torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.5, weight_decay=0.2)


def adam(net):
    return torch.optim.Adam(net.parameters(), lr=0.02, weight_decay=0.2, eps=1e-3)


CASES = [
    (sgd, "scale_lr", {"factor": 0.3}),
    (sgd, "warm_up", {"steps": 8}),
    (sgd, "set_momentum", {"value": 0.9}),
    (adam, "set_momentum", {"value": 0.5}),
    (sgd, "set_weight_decay", {"value": 0.01}),
    (adam, "set_epsilon", {"value": 1.0}),
    (adam, "decouple_decay", {}),
    (adam, "no_decay_on", {}),
    (sgd, "no_decay_on", {"kinds": "biases"}),
    (sgd, "clip_norm", {"bound": 0.1}),
    (sgd, "clip_value", {"bound": 0.01}),
    (sgd, "clip_units", {"factor": 0.01}),
    (sgd, "freeze", {}),
    (sgd, "freeze", {"share": 0.3}),
    (sgd, "freeze", {"upto": "1"}),
    (sgd, "linear_probe_then_finetune", {"steps": 7}),
    (sgd, "gradual_unfreezing", {"steps": 7}),
    (adam, "discriminative_lr", {"factor": 2.0}),
]


class Pasting:
    """A loop into which `text` is pasted, at the place that its comment names."""

    def __init__(self, text):
        self.text = text
        self.every = "# at the beginning of every step" in text
        self.ready = text.startswith("# right before optimizer.step()")
        self.names = {"torch": torch, "nn": nn}

    def begin(self, one):
        self.names |= {"model": one.net, "optimizer": one.optimizer}
        if not self.every and not self.ready:
            exec(self.text, self.names)
        one.optimizer = self.names["optimizer"]

    def loop(self, one, step):
        if step == 0:
            self.begin(one)
        self.names["step"] = step
        if self.every:
            exec(self.text, self.names)
        one.optimizer.zero_grad()
        loss = one.loss()
        loss.backward()
        if self.ready:
            exec(self.text, self.names)
        one.optimizer.step()
        if "warming" in self.names:
            self.names["warming"].step()
        one.losses.append(float(loss.detach()))


def readings_of(run, make):
    one = run(make, steps=0)
    return checkup(one.net, nn.functional.mse_loss, (one.x, one.y)).readings


@pytest.mark.parametrize(("make", "name", "arguments"), CASES)
def test_pasted_code_trains_as_the_treated_net_does(run, same, make, name, arguments):
    text = code(prescribe(name, **arguments), readings_of(run, make))
    pasted = run(make, loop=Pasting(text).loop)
    treated = run(make, [(name, arguments)])
    same(pasted, treated, rtol=1e-5)
    plain = run(make)
    assert pasted.losses[-1] != pytest.approx(plain.losses[-1], rel=1e-4)


def test_a_rate_that_is_scaled_before_its_schedule(run, same):
    text = code(prescribe("scale_lr", factor=0.3))

    def scheduled(optimizer):
        exec(text, {"optimizer": optimizer})
        return lr_scheduler.StepLR(optimizer, 4, 0.5)

    pasted = run(sgd, [], scheduled)
    same(
        pasted,
        run(sgd, [("scale_lr", {"factor": 0.3})], lambda o: lr_scheduler.StepLR(o, 4, 0.5)),
        rtol=1e-5,
    )


def test_another_optimiser_with_its_numbers():
    net = nn.Linear(3, 1)
    text = code(prescribe("change_optimiser", to="adamw", lr=0.003))
    names = {"torch": torch, "model": net}
    exec(text, names)
    assert type(names["optimizer"]) is torch.optim.AdamW
    group = names["optimizer"].param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.003, 0.0)


def test_lines_of_the_loop():
    assert code(prescribe("zero_gradients")).endswith("\noptimizer.zero_grad()")
    names = {"loss": torch.tensor(8.0)}
    exec(code(prescribe("divide_gradients", by=4)), names)
    assert names["loss"] == 2
    assert "scheduler.step()" in code(prescribe("hold_lr"))


def test_a_frozen_body_keeps_its_statistics():
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    x, y = torch.randn(16, 6), torch.randn(16, 1)
    text = code(prescribe("freeze"), checkup(net, nn.functional.mse_loss, (x, y)).readings)
    net.train()
    exec(text, {"nn": nn, "model": net})
    assert [p.requires_grad for p in net.parameters()] == [False] * 4 + [True] * 2
    assert not net[1].training


def test_the_common_case_is_short_and_readable():
    assert (
        code(prescribe("clip_norm", bound=0.5))
        == """\
# right before optimizer.step()
nn.utils.clip_grad_norm_(model.parameters(), 0.5)"""
    )
