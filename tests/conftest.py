"""One thread a process, and Chromium for the tests that open a page.

Two workers with two threads each on two cores make a small net's step many times slower than one
thread; and the order of sums, so the last digits, would depend on the machine.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))  # tests import what they share, from forks.py

from forks import Pythons

torch.set_num_threads(1)
# How long examples take to draw says how busy the machine is, and nothing about the code.
settings.register_profile("sounding", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sounding")

# swiftshader draws WebGL without a GPU; the sandbox does not work for root in a container
CHROMIUM_ARGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
NO_CHROMIUM = "no Chromium on PATH and none named by SOUNDING_CHROMIUM"


def _chromium() -> str | None:
    names = (os.environ.get("SOUNDING_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def python():
    """Starts Python processes that have imported torch and sounding already: forks.py."""
    with Pythons() as pythons:
        yield pythons


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium; without one the test is skipped, and the summary says so aloud."""
    path = _chromium()
    if path is None:
        pytest.skip(NO_CHROMIUM)
    return path


@pytest.fixture(scope="session")
def browser(chromium):
    """A headless browser of playwright's; ask it for a `new_page(...)` or a `new_context(...)`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        yield launched
        launched.close()


def pytest_collection_modifyitems(items):
    """A test that uses the browser is marked so; a GPU test without a GPU is skipped."""
    no_gpu = pytest.mark.skip(reason="no CUDA device")
    for item in items:
        if {"chromium", "browser"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.browser)
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(no_gpu)


def pytest_terminal_summary(terminalreporter):
    skipped = terminalreporter.stats.get("skipped", [])
    pages = sum(NO_CHROMIUM in str(report.longrepr) for report in skipped)
    if pages:
        line = f"*** {pages} page tests were NOT RUN: {NO_CHROMIUM} ***"
        terminalreporter.write_line(line, red=True, bold=True)
