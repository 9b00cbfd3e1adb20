"""The synthetic results, as modules that the view's tests share."""

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
EXAMPLES.curvature = _load("curvature_examples")
EXAMPLES.landscape = _load("landscape_examples")


@pytest.fixture(scope="session")
def examples():
    """Functions that make results: `examples.sick()`, `examples.curvature.spectrum()`, ..."""
    return EXAMPLES
