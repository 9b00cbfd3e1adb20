"""The page as text: self-contained, escaped, deterministic, with the results' own numbers in it."""

import base64
import dataclasses
import functools
import hashlib
import html as entities
import itertools
import json
import math
import operator
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from sounding.view import html, report
from sounding.view.page import page
from sounding.view.wording import headline

KINDS = {
    "sick": ["SD303", "0.333", "0.408", "digits_deep.py:18", "reinitialise(scheme='kaiming')",
             "2.71e-12", "9.3e-14", "no activation that saturates", "SD302"],
    "healthy": ["Nothing found in 11 checks", "0.547"],
    "repair": ["Repaired: accuracy 0.10 → 0.97", "+0.87 [0.84, 0.90]", "95 %", "+1.32 [1.17, 1.47]",
               "model = reinitialise(model, scheme='kaiming')", "1 of 5 treated runs diverged"],
    "proof": ["Supported: accuracy 0.10 → 0.97 with reinitialise(scheme='kaiming')", "seed 4"],
    "accuracy": ["+0.87 [0.84, 0.90]", "lies above 0"],
    "inconclusive": ["97.5 %", "+0.11 [-0.21, 0.43]", "1 of 5 treated runs diverged"],
    "study": ["he-2015-depth", "-8.7", "-8.73", "Mean square of the signal", "Adam rescues",
              "grid was widened", "62"],
    "readings": ["2.71e-12", "needed"],
    "profile": ["-8.73", "0.12"],
    "comparison": ["no difference found between", "sgd ends at a lower training loss than adagrad",
                   "lr 0.137, warm-up 12 steps", "weight decay 1.96e-05", "98.33 %",
                   "the best learning rate lies at the edge of its space, 0.001 to 10"],
    "hostile_comparison": ["diverged on 2 of 5 seeds", "2 of 5 adagrad runs diverged"],
    "curvature.spectrum": ["34.47 (residual 0.021)", "-0.531", "log scale",
                           "10.4 ± 1.0 % of the density clearly below zero",
                           "2 / 34.47 = 0.058", "not a minimum", "nothing above 34.50 (99.9 %)",
                           "Trace 364", "ReLU has no second derivative", "at least 6 outliers",
                           "1.2e-5"],
    "curvature.not_converged": ["NOT CONVERGED", "Not converged", "raise most=", "is not certain"],
    "curvature.eigenpairs": ["5 largest eigenvalues", "13.400", "0.0083"],
    "curvature.density": ["10.4 ± 1.0 % of the density clearly", "6 random starts of 60"],
    "curvature.trace": ["Trace 364 ± 4.6", "1.3 % of the value, where 2 % was asked for"],
    "curvature.sharpness": ["0.802 of the stable limit 80", "5 of them certified", "followed",
                            "1,950"],
    "curvature.layers": ["10.7 (blocks.0.attention.in)", "7.71", "blocks.3.mlp.out"],
    "curvature.point": ["Sharpness 34.47 (residual 0.021), 0.862 of the stable limit 40", "0.0123"],
    "curvature.adam": ["Preconditioned sharpness 41234", "1.09 of the stable limit 38000", "Adam"],
    "curvature.huge": ["1.0000e6", "logarithmic beyond"],
    "curvature.not_a_number": ["NaN", "the products are not finite"],
    "curvature.empty_series": ["Sharpness was not measured"],
}  # fmt: skip
VOID = {"meta", "br", "img", "link", "hr", "input"}


class Document(HTMLParser):
    """What a browser would see: elements with their attributes, and text; nesting is checked."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))


def _result(examples, kind):
    return operator.attrgetter(kind)(examples)()


@functools.cache
def _page(examples, kind):
    """The page of this kind, for tests that read it."""
    return page(_result(examples, kind))


@pytest.mark.parametrize(("kind", "numbers"), KINDS.items())
def test_every_kind_shows_its_numbers(examples, kind, numbers):
    result = _result(examples, kind)
    for text in (Document(_page(examples, kind)).text, Document(html(result)).text):
        for wanted in numbers:
            assert wanted in text, wanted


def test_a_mixture_is_one_page_in_the_order_given(examples):
    mixture = [examples.sick(), examples.proof(), examples.inconclusive(), examples.study()]
    document = Document(page(mixture, title="Tuesday"))
    assert [e for e, a in document.elements if e == "h1"] == ["h1"]
    assert [a["id"] for e, a in document.elements if a.get("class") == "result"] == [
        "r1", "r2", "r3", "r4"
    ]  # fmt: skip
    assert "Tuesday" in document.text
    for result in mixture:
        assert headline(result) in document.text


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_unique_and_headings_descend_one_level_at_a_time(examples, kind):
    result = _result(examples, kind)
    for text in (_page(examples, kind), page([result, result])):
        document = Document(text)
        ids = [a["id"] for _, a in document.elements if "id" in a]
        assert len(ids) == len(set(ids))
        levels = [int(e[1]) for e, _ in document.elements if re.fullmatch(r"h[1-6]", e)]
        assert levels[0] == 1
        assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
        assert sum(e == "main" for e, _ in document.elements) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_references_point_at_ids_that_exist(examples, kind):
    text = _page(examples, kind)
    document = Document(text)
    ids = {a["id"] for _, a in document.elements if "id" in a}
    for _, attributes in document.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set(attributes.get(name, "").split()) <= ids
        assert attributes.get("href", "#main")[1:] in ids
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= ids


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_loaded_from_anywhere(examples, kind):
    text = _page(examples, kind)
    assert not re.search(r"(https?:)?//[a-z]", text.replace("// The page works", ""))
    for element, attributes in Document(text).elements:
        assert element not in {"img", "link", "iframe", "object", "embed", "base", "form"}
        assert not {"src", "srcset", "style", "onclick", "onload", "onerror"} & set(attributes)
    assert "@import" not in text
    assert "@font-face" not in text


def test_the_security_policy_allows_this_style_and_this_script_only(examples):
    text = page(examples.sick())
    policy = entities.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1])
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for kind in ("style", "script"):
        inside = re.search(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_hostile_names_stay_text(examples):
    result = examples.hostile()
    for text in (page(result), html(result), page(result, title=examples.HOSTILE)):
        assert "<img" not in text
        assert "</script><img" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert examples.HOSTILE in Document(page(result)).text


def test_hostile_words_of_a_spectrum_stay_text(examples):
    result = examples.curvature.hostile()
    for text in (page(result), html(result)):
        assert "<img" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "</script><img src=x onerror=1>" in Document(page(result)).text


def test_the_cursor_data_is_json_that_cannot_end_its_element(examples):
    text = page(examples.hostile())
    data = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)[1]
    assert "<" not in data
    rows = json.loads(data)
    assert rows[0]["layer"] == examples.HOSTILE
    assert rows[0]["cells"][0][0] == "rms"


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_result_gives_the_same_bytes(examples, kind):
    assert page(_result(examples, kind)) == _page(examples, kind)
    assert html(_result(examples, kind)) == html(_result(examples, kind))


@pytest.mark.parametrize("kind", ["repair", *(k for k in KINDS if k.startswith("curvature."))])
def test_a_saved_and_loaded_result_gives_the_same_page(examples, kind):
    result = _result(examples, kind)
    loaded = type(result).from_dict(json.loads(json.dumps(result.to_dict())))
    assert page(loaded) == _page(examples, kind)


def test_the_fragment_has_no_script_and_no_style_of_the_page(examples):
    text = html(examples.repair())
    assert "<script" not in text
    assert "<body" not in text
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    style = re.sub(r"/\*.*?\*/|@media[^{]*\{", "", style, flags=re.DOTALL)
    for selectors in re.findall(r"(?:^|\})\s*([^{}]+)\{", style):
        for selector in selectors.split(","):
            assert selector.strip().startswith(".sounding"), selector


def test_the_notebook_calls_it(examples):
    assert examples.sick()._repr_html_() == html(examples.sick())


def test_a_result_without_a_page_of_its_own_shows_its_fields(examples):
    assert "reinitialise" in Document(html(examples.REINITIALISE)).text


def test_report_writes_once_and_returns_its_path(examples, tmp_path):
    target = tmp_path / "report.html"
    assert report([examples.healthy()], target) == target
    before = target.read_text()
    with pytest.raises(FileExistsError, match=r"report\.html exists"):
        report(examples.sick(), target)
    assert target.read_text() == before
    report(examples.sick(), target, overwrite=True, title="A title")
    assert "<title>A title · Sounding</title>" in target.read_text()
    assert list(tmp_path.iterdir()) == [target]


def test_report_refuses_what_is_no_result(examples, tmp_path):
    with pytest.raises(TypeError, match="a dict cannot be shown"):
        report([examples.sick(), {}], tmp_path / "report.html")
    with pytest.raises(ValueError, match="nothing to report"):
        report([], tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_the_chart_draws_what_was_measured(examples):
    """Oracle: on a logarithmic axis the sick net's spread is a straight line, slope -log10(6)/2."""
    readings = dataclasses.replace(examples.readings(), gradients=None, backward=None)
    text = page(readings)
    d = re.search(r'<path d="([^"]+)" class="line spread"', text)[1]
    points = np.array([[float(v) for v in p.split()] for p in re.split("[ML]", d)[1:]])
    assert len(points) == 30
    ticks = re.findall(r'y2="([\d.]+)" class="grid"/><text[^>]*>(1|10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)</text>', text)
    digits = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    powers = [0 if label == "1" else int(label[2:].translate(digits)) for _, label in ticks[:4]]
    pixels = [float(y) for y, _ in ticks[:4]]
    scale = (pixels[-1] - pixels[0]) / (powers[-1] - powers[0])
    drawn = (points[:, 1] - pixels[0]) / scale + powers[0]
    measured = np.log10(readings.signal.spread[list(readings.path)])
    assert drawn == pytest.approx(measured, abs=0.05)
    assert drawn[-1] - drawn[0] == pytest.approx(-29 * math.log10(6) / 2, abs=0.3)


def test_odd_shapes_do_not_fail(examples):
    readings = examples.readings(depth=1)
    lonely = dataclasses.replace(readings, forward=None, backward=None, expectation=None)
    assert "0.58" in page(lonely)
    pathless = dataclasses.replace(lonely, path=(), gradients=None)
    assert "No weighted layer" in page(pathless)
    signal = dataclasses.replace(readings.signal, rms=np.full(len(readings.calls), math.inf))
    assert page(dataclasses.replace(readings, signal=signal))
    nothing = dataclasses.replace(
        examples.loss(), outcome="not tested", effect=math.nan, interval=(math.nan, math.nan),
        before=np.array([]), after=np.array([]), note="it failed",
    )  # fmt: skip
    assert "it failed" in Document(page(nothing)).text


def test_many_layers_thin_their_labels(examples):
    text = page(examples.readings(depth=150))
    assert text.count('class="tick middle"') < 150
    assert len(text) < 600_000
