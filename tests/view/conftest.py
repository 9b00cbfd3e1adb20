"""The synthetic results, as one module that the view's tests share."""

import importlib.util
from pathlib import Path

import pytest


def _load():
    spec = importlib.util.spec_from_file_location(
        "view_examples", Path(__file__).parent / "examples.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLES = _load()


@pytest.fixture(scope="session")
def examples():
    """Functions that make results: `examples.sick()`, `examples.repair()`, ..."""
    return EXAMPLES
