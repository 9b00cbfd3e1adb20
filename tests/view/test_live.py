"""The live page: who may ask for it, what it is told, and what a browser makes of hostile names.

No other test sees a server that answers to strangers, a name that becomes markup, or a picture that
shows other numbers than the file's.
"""

import base64
import html
import http.client
import json
import signal
import urllib.parse

import numpy as np
import pytest

from sounding.view import page, report
from sounding.view.live_data import Cursor, Story, packed
from sounding.watch import watched
from sounding.watch.file import Writer
from sounding.watch.reader import Reader

HOSTILE = '<img src=x onerror="document.title=1">\u202e</script>'
LAYERS = ["a", HOSTILE, "c"]


def entries(steps=100, every=10):
    yield {"kind": "run", "version": 1, "subject": f"train.py {HOSTILE}", "started": HOSTILE}
    yield {"kind": "training", "training": 0, "model": HOSTILE, "optimiser": "Adam", "eps": 1e-8}
    yield {
        "kind": "layers", "training": 0, "number": 0, "layers": LAYERS, "parameters": [HOSTILE],
    }  # fmt: skip
    for at in range(0, steps, every):
        loss = np.exp(-np.arange(at, at + every) / 50)
        yield {
            "kind": "steps", "training": 0, "at": at, "loss": loss, "lr": 0.1, "seconds": 0.01,
        }  # fmt: skip
        yield depth(at)
    yield {"kind": "metric", "name": HOSTILE, "step": 5, "value": 0.5}
    yield {"kind": "findings", "step": 50, "found": [finding()]}


def depth(at):
    numbers = {"signal": [1.0, 2.0, 4.0], "gradient": [1e-3, np.inf, np.nan]}
    return {
        "kind": "depth", "training": 0, "step": at, "layers": 0, "lr": 0.1, "ratio": [1e-3],
        "second": [0.1], **{name: np.array(v, np.float32) for name, v in numbers.items()},
    }  # fmt: skip


def finding():
    return {
        "code": "SD201", "name": HOSTILE, "severity": "problem", "message": HOSTILE, "layers": [],
    }  # fmt: skip


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.sounding"
    writer = Writer(path)
    for entry in entries():
        writer.add(entry)
    yield path, writer
    writer.close()


@pytest.fixture
def served(file, python, tmp_path):
    """The address of the page of `file`."""
    process = python.start("-m", "sounding", "live", file[0], cwd=tmp_path)
    yield process.stdout.readline().split()[-1]
    process.send_signal(signal.SIGTERM)
    process.communicate()


def ask(address, path=None, method="GET", **headers):
    url = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    connection.request(method, url.path if path is None else path, headers=headers)
    return connection, connection.getresponse()


def test_only_who_knows_the_address_and_the_name_is_answered(served):
    url = urllib.parse.urlsplit(served)
    assert url.hostname == "127.0.0.1"
    assert len(url.path.strip("/")) >= 32
    wanted = {
        "right": (served, None, {}, 200),
        "no token": (served, "/", {}, 404),
        "wrong token": (served, "/" + "x" * 32 + "/", {}, 404),
        "wrong token, events": (served, "/" + "x" * 32 + "/events", {}, 404),
        "another name for this machine": (served, None, {"Host": f"evil.example:{url.port}"}, 421),
        "no port": (served, None, {"Host": "127.0.0.1"}, 421),
        "events by another name": (served, url.path + "events", {"Host": "evil.example"}, 421),
        "localhost": (served, None, {"Host": f"localhost:{url.port}"}, 200),
        "a file": (served, url.path + "../../etc/passwd", {}, 404),
    }
    for name, (address, path, headers, status) in wanted.items():
        connection, answer = ask(address, path, **headers)
        assert answer.status == status, name
        connection.close()
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        connection, answer = ask(served, method=method)
        assert answer.status == 405
        connection.close()


def test_the_page_forbids_everything_but_itself(served):
    connection, answer = ask(served)
    text = answer.read().decode()
    connection.close()
    assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'; style-src 'sha256-" in html.unescape(text)
    assert "unsafe" not in text
    assert "<img" not in text
    assert "://" not in text.split("</style>")[0].split("<style>")[0]


def test_events_tell_the_file_and_then_what_is_new(served, file):
    connection, answer = ask(served, urllib.parse.urlsplit(served).path + "events")
    first = json.loads(answer.readline().removeprefix(b"data: "))
    assert first["whole"]
    (training,) = first["trainings"]
    assert training["series"]["loss"] == pytest.approx(np.exp(-np.arange(100) / 50), rel=1e-4)
    assert training["columns"]["steps"] == list(range(0, 100, 10))
    codes = np.frombuffer(base64.b64decode(training["columns"]["signal"]), "<u2").reshape(10, 3)
    sizes = 10 ** ((codes - 1.0) / 65533 * 40 - 20)
    np.testing.assert_allclose(sizes, [[1, 2, 4]] * 10, rtol=2e-3)
    file[1].add(depth(100))
    assert answer.readline() == b"\n"
    news = json.loads(answer.readline().removeprefix(b"data: "))
    assert not news["whole"]
    assert news["trainings"][0]["columns"]["steps"] == [100]
    connection.close()


def test_a_story_begins_again_where_a_layer_is_new(file):
    path, writer = file
    with Reader(path) as reader:
        story, cursor = Story(reader), Cursor()
        assert story.since(cursor)["whole"]
        assert story.since(cursor) is None
        names = [*LAYERS, "d"]
        writer.add(
            {"kind": "layers", "training": 0, "number": 1, "layers": names, "parameters": []}
        )
        story.refresh()
        assert story.since(cursor)["trainings"][0]["layers"][-1] == "d"


def test_packed_numbers_keep_two_and_a_half_digits_and_what_is_none():
    values = np.array([1e-19, 3.3e-7, 1.0, 123.0, 1e19], dtype=np.float32)
    row = np.concatenate([values, [np.nan, np.inf, 0.0]])
    codes = np.frombuffer(base64.b64decode(packed([row, row[:2]])), "<u2").reshape(2, 8)
    np.testing.assert_allclose(10 ** ((codes[0, :5] - 1.0) / 65533 * 40 - 20), values, rtol=1.5e-3)
    assert list(codes[0, 5:]) == [0, 65535, 1]
    assert list(codes[1, 2:]) == [0] * 6


# -- in the browser --------------------------------------------------------------------------------


@pytest.fixture
def tab(browser):
    complaints = []
    made = browser.new_page(viewport={"width": 1280, "height": 900})
    made.on("console", lambda message: complaints.append(message.text))
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.on("dialog", lambda dialog: complaints.append("dialog"))
    yield made
    made.close()
    assert complaints == []


def told(tab, times=1):
    for _ in range(400):
        if int(tab.evaluate("document.querySelector('.run').dataset.told || 0")) >= times:
            return
        tab.wait_for_timeout(25)
    raise AssertionError("the page was told nothing")


def says(tab, selector, text):
    """Wait until the element says so: it is drawn with the next frame."""
    for _ in range(200):
        if text in (said := tab.locator(selector).inner_text()):
            return
        tab.wait_for_timeout(25)
    raise AssertionError(f"{text!r} is not in {said!r}")


def ink(tab, selector):
    """How many different colours a canvas shows: an empty one has one."""
    return tab.evaluate(
        """(s) => { const c = document.querySelector(s);
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, seen = new Set();
        for (let i = 0; i < d.length; i += 4) seen.add(d[i] << 16 | d[i + 1] << 8 | d[i + 2]);
        return seen.size; }""",
        selector,
    )


def test_hostile_names_are_text(served, tab):
    tab.goto(served)
    told(tab)
    assert tab.locator("img").count() == 0
    assert tab.title().endswith("Sounding")
    item = tab.locator(".news .item")
    assert item.count() == 1
    assert '<img src=x onerror="document.title=1">\\u202e</script>' in item.inner_text()
    tab.locator(".heat").scroll_into_view_if_needed()
    box = tab.locator(".heat").bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    says(tab, ".deep .readout", "Layer 2 of 3, <img src=x")
    says(tab, ".deep .readout", "signal 2; at the first examination 2.")
    for canvas in (".loss canvas:not(.legend canvas)", ".heat", ".profile", ".bar"):
        assert ink(tab, canvas) > 2


def test_the_slider_chooses_the_step_and_news_moves_on(served, file, tab):
    tab.goto(served)
    told(tab)
    says(tab, ".deep .readout", "Step 90, examination 10 of 10")
    tab.locator(".time input").fill("3")
    says(tab, ".deep .readout", "Step 30, examination 4 of 10")
    tab.get_by_role("button", name="Latest").click()
    file[1].add(depth(95))
    told(tab, 2)
    says(tab, ".deep .readout", "Step 95, examination 11 of 11")
    tab.get_by_role("button", name="Gradient", exact=True).click()
    says(tab, ".deep .readout", "1 of 3 are not finite")
    file[1].add({"kind": "end", "reason": "ended by SIGTERM", "examined": 1, "overhead": 0.01})
    told(tab, 3)
    says(tab, ".state", "Ended by SIGTERM")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (360, "light")])
def test_a_finished_run_is_a_page_of_its_own(browser, file, tmp_path, width, scheme):
    result = watched(file[0])
    saved = report([result], tmp_path / "run.html")
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(saved.as_uri())
    told(tab)
    assert asked == [saved.as_uri()]
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert ink(tab, ".heat") > 2
    tab.close()


def test_the_page_of_a_stream_holds_no_numbers_and_the_other_no_stream(file):
    result = watched(file[0])
    assert 'class="data"' not in page.page(result, stream=True)
    assert "data-stream" not in page.page(result)
    assert "connect-src" not in page.page(result)
