"""Made-up images in place of CIFAR-10, so that the code of a full scale can run anywhere."""

from collections.abc import Callable
from types import ModuleType

import pytest
import torch

from sounding.studies.samples import Labelled, Split


@pytest.fixture
def sixteen_images(monkeypatch) -> Callable[..., None]:
    """Let `cifar` of every module given be sixteen images of 3 x 16 x 16, and `needs` no need."""
    generator = torch.Generator().manual_seed(0)

    def pretend(*modules: ModuleType, size: int = 16) -> None:
        x = torch.randn(16, 3, size, size, generator=generator)
        part = Labelled(x, torch.arange(16) % 10)
        for module in modules:
            if hasattr(module, "cifar"):
                monkeypatch.setattr(module, "cifar", lambda device: Split(part, part))
            if hasattr(module, "needs"):
                monkeypatch.setattr(module, "needs", lambda device, cifar10: "")

    return pretend
