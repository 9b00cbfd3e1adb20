"""The synthetic results, as two modules that the view's tests share."""

import importlib.util
from pathlib import Path

import pytest


def _load(name):
    spec = importlib.util.spec_from_file_location(
        f"view_{name}", Path(__file__).parent / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLES = _load("examples")
CURVATURE = _load("curvature_examples")


@pytest.fixture(scope="session")
def examples():
    """Functions that make results: `examples.sick()`, `examples.repair()`, ..."""
    return EXAMPLES


@pytest.fixture(scope="session")
def curvature():
    """Functions that make results about curvature: `curvature.spectrum()`, ..."""
    return CURVATURE
