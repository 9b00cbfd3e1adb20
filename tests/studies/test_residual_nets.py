"""Residual nets, against the counts of parameters that papers print."""

import pytest
import torch
from torch import nn

from sounding.studies.residual_nets import residual_net


@pytest.mark.parametrize(("depth", "published"), [(14, 1.12e3), (110, 8.3e3)])
def test_batch_norm_has_as_many_parameters_as_published(depth, published):
    """Frankle, Schwab, Morcos 2021: 1.12 K in ResNet-14, 8.3 K in ResNet-110."""
    with torch.random.fork_rng():
        net = residual_net(depth)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert sum(2 * m.num_features for m in norms) == pytest.approx(published, rel=0.002)


def test_a_net_of_twenty_layers_has_that_many_and_a_quarter_million_weights():
    """He et al. 2016, table 6: 0.27 M parameters; two projections of 1x1 come on top."""
    with torch.random.fork_rng():
        net = residual_net(20)
        convs = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
        assert len(convs) + 1 == 20
        assert sum(p.numel() for p in net.parameters()) == pytest.approx(0.27e6, rel=0.02)
        assert net(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_a_depth_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="8, 14, 20"):
        residual_net(18)
