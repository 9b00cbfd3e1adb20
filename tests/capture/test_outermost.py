"""Calls heard without hooks: every one of the added model, none of others, and nothing is left."""

import pytest
import torch
from torch import nn

from sounding.capture.outermost import Outermost


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x, scale=1.0):
        return scale * self.layer(x)


class Opaque(torch.Tensor):
    """A tensor that does not tell how often it was changed."""

    @property
    def _version(self):
        raise RuntimeError("no version here")


def test_calls_with_gradients_are_heard_with_what_comes_back():
    heard, net, other = [], Net(), Net()
    outermost = Outermost(lambda model, call: heard.append((model, call)))
    outermost.add(net)
    x = torch.randn(4, 3)
    net(x, scale=2.0).sum().backward()
    other(x)
    with torch.no_grad():
        net(x)
    ((model, call),) = heard
    assert model is net
    assert call.args[0] is x
    assert call.kwargs == {"scale": 2.0}
    torch.testing.assert_close(call.gradients[0], torch.ones(4, 2))
    assert call.whole
    x.add_(1)
    assert not call.whole
    outermost.close()
    assert "__call__" not in vars(Net)


@pytest.mark.parametrize("broken", ["hear", "arguments"])
def test_what_goes_wrong_in_hearing_is_not_the_models(broken):
    def hear(model, call):
        raise ValueError("the listener is broken")

    net = Net()
    outermost = Outermost(hear)
    outermost.add(net)
    x = torch.randn(4, 3)
    given = x.as_subclass(Opaque) if broken == "arguments" else x
    out = net(given)
    torch.testing.assert_close(out.as_subclass(torch.Tensor), net.layer(x))
    assert "__call__" not in vars(Net)  # it hears no more


def test_an_error_of_the_model_is_its_own():
    net = Net()
    outermost = Outermost(lambda model, call: None)
    outermost.add(net)
    with pytest.raises(RuntimeError, match="shapes"):
        net(torch.randn(4, 5))
    net(torch.randn(4, 3))
    outermost.close()
