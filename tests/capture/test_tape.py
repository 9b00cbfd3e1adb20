"""The tape's loss, computed again, beside the loss that the loop itself computed."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.capture.modes import pushed
from sounding.capture.tape import Tape


def by_hand(output, y):
    return ((output - F.one_hot(y, 4)) ** 2).mean() + 1e-3 * output.abs().sum()


def in_place(output, y):
    scaled = output * 2
    scaled /= 3
    scaled[:, 0] += 1
    return F.cross_entropy(scaled, y)


def indexed(output, y):
    return -torch.log_softmax(output, 1)[torch.arange(len(y)), y].mean()


def gathered(output, y):
    return -F.log_softmax(output, -1).gather(1, y[:, None]).squeeze(1).sum() / len(y)


def masked(output, y):
    keep = y > 0
    return F.cross_entropy(output[keep], y[keep])


LOSSES = [nn.CrossEntropyLoss(label_smoothing=0.1), by_hand, in_place, indexed, gathered, masked]


def taped(model, x, loss, y):
    output = model(x)
    tape = Tape(((x,), {}), output)
    with pushed(tape):
        value = loss(output, y)
    tape.ends_with(value)
    return tape, value


@pytest.mark.parametrize("loss", LOSSES)
def test_another_output_gives_the_loss_that_the_user_would_compute(loss):
    torch.manual_seed(0)
    model, x, y = nn.Linear(8, 4), torch.randn(16, 8), torch.randint(0, 4, (16,))
    tape, value = taped(model, x, loss, y)
    assert tape.whole
    torch.testing.assert_close(tape.replay(((x,), {}), model(x)), value)
    other = torch.randn(16, 8)
    torch.testing.assert_close(tape.replay(((other,), {}), model(other)), loss(model(other), y))
    with torch.no_grad():
        model.weight.mul_(3)
    torch.testing.assert_close(tape.replay(((x,), {}), model(x)), loss(model(x), y))


def test_gradients_flow_through_a_replayed_loss():
    torch.manual_seed(0)
    model, x, y = nn.Linear(8, 4), torch.randn(16, 8), torch.randint(0, 4, (16,))
    tape, value = taped(model, x, gathered, y)
    (want,) = torch.autograd.grad(value, [model.weight])
    (got,) = torch.autograd.grad(tape.replay(((x,), {}), model(x)), [model.weight])
    torch.testing.assert_close(got, want)


def test_a_target_can_be_exchanged():
    torch.manual_seed(0)
    model, x, y = nn.Linear(8, 4), torch.randn(16, 8), torch.randint(0, 4, (16,))
    tape, _ = taped(model, x, nn.CrossEntropyLoss(), y)
    mixed = y[torch.randperm(16)]
    got = tape.replay(((x,), {}), model(x), exchanged={id(y): mixed})
    torch.testing.assert_close(got, F.cross_entropy(model(x), mixed))


class InParts(nn.Module):
    """An encoder and a decoder, of which a loop calls the one and then the other."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(8, 6), nn.LSTM(3, 4, batch_first=True)
        self.head = nn.Linear(4, 4)

    def rest(self, code, given):
        both = torch.cat([code.view(-1, 2, 3), given], 1)
        return self.head(self.decoder(both)[0][:, -1])


def taped_in_parts(model, x, given, y):
    code = model.encoder(x)
    tape = Tape(((x,), {}), code)
    with pushed(tape):
        output = model.rest(code, given)
        value = F.cross_entropy(output, y) + 0.1 * code.square().mean()
    tape.ends_with(value)
    return tape, code, output, value


def test_a_model_that_is_called_in_parts():
    """The output is that of the last layer, and the loss that of another output: both by hand."""
    torch.manual_seed(0)
    model, x, y = InParts(), torch.randn(16, 8), torch.randint(0, 4, (16,))
    tape, code, output, value = taped_in_parts(model, x, torch.randn(16, 2, 3), y)
    assert len(tape.constants) > 3
    tape.part({id(p) for p in model.parameters()})
    handed = tape.lead(((x,), {}), code)
    torch.testing.assert_close(handed, (output, code))
    torch.testing.assert_close(tape.replay(((x,), {}), handed), value)
    other = torch.randn(16, 4)
    want = F.cross_entropy(other, y) + 0.1 * code.square().mean()
    torch.testing.assert_close(tape.replay(((x,), {}), (other, code)), want)
    assert [t is y for t in tape.constants] == [True]
    assert {"cross_entropy", "square"} <= tape.operations
    assert "lstm" not in tape.operations
    assert tape.depends(16)
    assert not tape.depends(15)


def test_gradients_reach_all_parts():
    torch.manual_seed(0)
    model, x, y = InParts(), torch.randn(16, 8), torch.randint(0, 4, (16,))
    tape, _, _, value = taped_in_parts(model, x, torch.randn(16, 2, 3), y)
    weights = list(model.parameters())
    wanted = torch.autograd.grad(value, weights)
    tape.part({id(p) for p in weights})
    again = tape.replay(((x,), {}), tape.lead(((x,), {}), model.encoder(x)))
    torch.testing.assert_close(torch.autograd.grad(again, weights), wanted)


def test_layers_of_nobody_belong_to_the_loss():
    """A critic that judges what is generated is no part of the generator."""
    torch.manual_seed(0)
    model, critic, x = nn.Linear(8, 4), nn.Linear(4, 1), torch.randn(16, 8)
    tape, value = taped(model, x, lambda output, _: critic(output).mean(), None)
    tape.part({id(p) for p in model.parameters()})
    output = model(x)
    assert tape.lead(((x,), {}), output) is output
    torch.testing.assert_close(tape.replay(((x,), {}), output), value)


def test_an_input_that_is_also_the_target_follows_the_input():
    torch.manual_seed(0)
    model, x = nn.Linear(8, 8), torch.randn(16, 8)
    tape, _ = taped(model, x, lambda out, _: F.mse_loss(out, x), None)
    other = torch.randn(16, 8)
    torch.testing.assert_close(
        tape.replay(((other,), {}), model(other)), F.mse_loss(model(other), other)
    )


def test_a_loss_made_inside_the_model_is_an_output():
    torch.manual_seed(0)

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 4)

        def forward(self, x, y):
            output = self.layer(x)
            return output, F.cross_entropy(output, y)

    model, x, y = Whole(), torch.randn(16, 8), torch.randint(0, 4, (16,))
    output = model(x, y)
    tape = Tape(((x, y), {}), output)
    tape.ends_with(output[1])
    other = torch.randn(16, 8)
    torch.testing.assert_close(tape.replay(((other, y), {}), model(other, y)), model(other, y)[1])


def test_a_loss_from_elsewhere_is_said_to_be_missing():
    model, x = nn.Linear(8, 4), torch.randn(16, 8)
    tape = Tape(((x,), {}), model(x))
    tape.ends_with(torch.randn(()))
    assert not tape.whole
    with pytest.raises(ValueError, match="was not seen"):
        tape.replay(((x,), {}), model(x))


def test_a_users_own_mode_is_still_there_afterwards():
    model, x, y = nn.Linear(8, 4), torch.randn(16, 8), torch.randint(0, 4, (16,))
    with torch.device("cpu"):
        before = torch._C._len_torch_function_stack()
        scope = pushed(Tape(((x,), {}), model(x)))
        scope.__enter__()
        inner = torch.device("meta")
        inner.__enter__()
        scope.__exit__(None, None, None)  # not on top of the stack
        assert torch.empty(1).device.type == "meta"
        inner.__exit__(None, None, None)
        assert torch._C._len_torch_function_stack() == before
        assert torch.empty(1).device.type == "cpu"
    F.cross_entropy(model(x), y)
