"""Fine-tuning: against groups and loops made by hand, and the linear case of Kumar et al. 2022."""

import pytest
import torch
from torch import nn

from sounding.remedies import prescribe, treat
from sounding.result import NotApplicable
from sounding.zoo.nets import mlp, resnet


def adam(net):
    return torch.optim.Adam(net.parameters(), lr=0.01, weight_decay=0.1)


def trained_at(first):
    """A loop: layer k of the net is trained from step `first[k]` on."""

    def loop(one, step):
        one.optimizer.zero_grad()
        loss = one.loss()
        loss.backward()
        for layer, start in first.items():
            for p in one.net[layer].parameters():
                if step < start:
                    p.grad = None
        one.optimizer.step()
        one.losses.append(float(loss.detach()))

    return loop


def test_discriminative_rates_are_groups_by_hand(run, same):
    def by_hand(net):
        rates = {0: 0.1 / 4, 2: 0.1 / 2, 4: 0.1}
        groups = [{"params": net[k].parameters(), "lr": lr} for k, lr in rates.items()]
        return torch.optim.SGD(groups, lr=0.1, momentum=0.9)

    def one_group(net):
        return torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    treated = run(one_group, [("discriminative_lr", {"factor": 2.0})])
    same(treated, run(by_hand))
    assert len(treated.optimizer.param_groups) == 1


@pytest.mark.parametrize("steps", [1, 10, 1000])
def test_a_probe_and_then_everything(run, same, steps):
    treated = run(adam, [("linear_probe_then_finetune", {"steps": steps})])
    same(treated, run(adam, loop=trained_at({0: steps, 2: steps})))


def test_gradual_unfreezing_goes_from_the_output_to_the_input(run, same):
    treated = run(adam, [("gradual_unfreezing", {"steps": 8})])
    same(treated, run(adam, loop=trained_at({2: 8, 0: 16})))
    halfway = run(adam, [("gradual_unfreezing", {"steps": 8})], steps=8)
    wanted = [p.requires_grad for p in halfway.net.parameters()]
    assert wanted == [False, False, True, True, True, True]


def test_a_probe_alone_is_a_frozen_body(run, same):
    frozen = run(adam, [("freeze", {})])
    same(frozen, run(adam, loop=trained_at({0: 99, 2: 99})))


@pytest.mark.parametrize(
    ("arguments", "still"),
    [
        ({}, ["0", "2", "4"]),
        ({"share": 0.25}, ["0"]),
        ({"share": 0.3}, ["0", "2"]),
        ({"share": 0.99}, ["0", "2", "4"]),
        ({"upto": "2"}, ["0", "2"]),
        ({"upto": "3"}, ["0", "2"]),
    ],
)
def test_which_layers_are_frozen(cure, arguments, still):
    net = cure(mlp(64, 8, 8, 8, 4), "freeze", **arguments)
    found = {n.partition(".")[0] for n, p in net.named_parameters() if not p.requires_grad}
    assert sorted(found) == still


def test_freezing_up_to_a_module_takes_what_ran_before(cure):
    net = resnet(3)
    cure(net, "freeze", inputs=torch.randn(4, 1, 8, 8), upto="3.norm1")
    still = {name for name, p in net.named_parameters() if not p.requires_grad}
    assert still == {
        "0.weight", "1.weight", "1.bias", "3.conv1.weight", "3.norm1.weight", "3.norm1.bias",
    }  # fmt: skip


def test_attention_of_torchs_own_is_frozen_as_a_whole(cure):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = nn.Sequential(nn.Linear(8, 8), layer, nn.Linear(8, 2))
    cure(net, "freeze", inputs=torch.randn(2, 3, 8), upto="1.self_attn")
    still = {name for name, p in net.named_parameters() if not p.requires_grad}
    own = {f"1.self_attn.{n}" for n in ("in_proj_weight", "in_proj_bias")}
    assert still == {"0.weight", "0.bias", "1.self_attn.out_proj.weight"} | own | {
        "1.self_attn.out_proj.bias"
    }


def test_frozen_batch_norms_keep_their_statistics(cure):
    net, images = resnet(1), torch.randn(8, 1, 8, 8)
    cure(net, "freeze", inputs=images, upto="2")
    before = net[1].running_mean.clone()
    net.train()
    net(images)
    assert torch.equal(net[1].running_mean, before)
    assert net[3].norm1.running_mean.any()
    assert net[1].training
    net[1].requires_grad_(True)
    net(images)
    assert not torch.equal(net[1].running_mean, before)


def test_waiting_batch_norms_keep_their_statistics_until_their_turn():
    net, images = resnet(1), torch.randn(8, 1, 8, 8)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    remedy = prescribe("linear_probe_then_finetune", steps=2)
    treat(remedy, net, lambda: net(images), optimizer)
    moved = []
    for _ in range(4):
        before = net[1].running_mean.clone()
        net(images).sum().backward()
        optimizer.step()
        moved.append(not torch.equal(net[1].running_mean, before))
    assert moved == [False, False, True, True]


def test_what_the_user_froze_stays_frozen(run):
    def make(net):
        net[2].requires_grad_(False)
        return torch.optim.SGD(net.parameters(), lr=0.1)

    one = run(make, [("linear_probe_then_finetune", {"steps": 2})], steps=5)
    assert [p.requires_grad for p in one.net.parameters()] == [True, True, False, False, True, True]


def test_probing_first_keeps_the_features():
    """Kumar et al. 2022, linear case: good features, a random head, data in a subspace.

    Fine-tuning changes the features inside the subspace only, which harms outside of it; after a
    linear probe the error outside is smaller. Claims D6: 1.01 against 0.0075.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    true, _ = torch.linalg.qr(draw(20, 4))
    head = draw(4, 1)
    subspace, _ = torch.linalg.qr(draw(20, 10))
    x = draw(100, 10) @ subspace.T
    outside = draw(1000, 20)

    def loss_outside(remedies):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(20, 4, bias=False), nn.Linear(4, 1, bias=False))
        with torch.no_grad():
            net[0].weight.copy_(true.T + 0.01 * torch.randn(4, 20))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        for remedy in remedies:
            treat(remedy, net, lambda: net(x), optimizer)
        for _ in range(1500):
            optimizer.zero_grad()
            (net(x) - x @ true @ head).square().mean().backward()
            optimizer.step()
        return float((net(outside) - outside @ true @ head).square().mean().detach())

    probed = loss_outside([prescribe("linear_probe_then_finetune", steps=1000)])
    assert loss_outside([]) > 10 * probed


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("freeze", {"share": 1.0}, "share is 1.0; it is at least 0, below 1"),
        ("freeze", {"share": 0.5, "upto": "0"}, "not beside upto"),
        ("freeze", {"upto": "body"}, "there is no module 'body'"),
        ("linear_probe_then_finetune", {"steps": 0}, "steps is 0"),
        ("gradual_unfreezing", {"steps": 0}, "steps is 0"),
        ("discriminative_lr", {"factor": 0.0}, "factor is 0.0"),
    ],
)
def test_senseless_arguments_are_named(run, name, arguments, says):
    with pytest.raises(ValueError, match=says):
        run(adam, [(name, arguments)])


def test_what_has_no_meaning_is_not_applicable(cure):
    with pytest.raises(NotApplicable, match="nothing would be left to train"):
        cure(mlp(64, 8, 4), "freeze", upto="2")
    with pytest.raises(NotApplicable, match="fewer than two layer groups"):
        cure(mlp(64, 4), "freeze")
