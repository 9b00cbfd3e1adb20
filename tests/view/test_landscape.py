"""Pictures of landscapes: what is drawn where, what is said, and what a browser shows.

No other test sees a map that is transposed, a hole that is painted over, a scale that is not said,
or a surface that does not turn.
"""

import io
import itertools
import json
import re

import numpy as np
import pytest
from rich.console import Console

from sounding.view import html, plot, report
from sounding.view.atlas import tiles
from sounding.view.relief import COLOURS, colour, interpolated, relief
from sounding.view.svg_surface import surface_svg
from sounding.view.tables_landscape import relief_data, surface_table
from sounding.view.terminal import show
from sounding.view.wording_landscape import path_headline, surface_facts, surface_trouble

NAMES = ["surface", "holes", "trajectory", "line", "hostile", "flat", "empty", "path", "odd path"]


@pytest.fixture(scope="session")
def every(examples):
    return examples.landscape.everything()


# --- the scale -----------------------------------------------------------------------------------


def test_the_scale_is_logarithmic_where_losses_span_decades_and_says_so(examples):
    make = examples.landscape.surface
    wide = relief(make(lambda a, b: 10.0 ** (a / 2)))  # 0.01 to 100
    assert wide.kind == "logarithmic"
    assert wide(1.0) == pytest.approx(0.5)
    assert "logarithmic" in wide.said()
    narrow = relief(make(lambda a, b: 2 + a / 4))
    assert narrow.kind == "linear"
    assert narrow(2.0) == pytest.approx(0.5)
    both = relief(make(lambda a, b: np.where(a > 3.9, 1e6, a)))
    assert both.kind == "bent"
    assert 0.1 < both(3.5) - both(-4.0) < 0.9


def test_lightness_rises_evenly_so_that_the_map_reads_without_colours():
    def light(hexed):
        rgb = np.array([int(hexed[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16)

    steps = np.diff([light(colour(p)) for p in np.linspace(0, 1, 21)])
    assert steps.min() > 1.5
    assert colour(0) == COLOURS[0]
    assert colour(1) == COLOURS[-1]


def test_between_grid_points_the_height_is_interpolated(examples):
    drawn = relief(examples.landscape.surface(lambda a, b: 3 * a - b))
    places = drawn.places()
    assert interpolated(drawn.surface, places, np.array([0.1, -1.7])) == pytest.approx(
        float(drawn(3 * 0.1 + 1.7))
    )
    assert np.isnan(interpolated(drawn.surface, places, np.array([9.0, 0.0])))


# --- what is drawn where -------------------------------------------------------------------------


def _fills(svg):
    """(colour, d) of every band."""
    return re.findall(r'<path d="([^"]+)" fill="(#[0-9a-f]{6})"', svg)


def test_the_first_axis_goes_to_the_right_and_the_second_upwards(examples):
    for function, axis in ((lambda a, b: b, 1), (lambda a, b: a, 0)):
        svg = str(surface_svg(examples.landscape.surface(function), "k")).split("</svg>")[0]
        centres = []
        for d, _ in _fills(svg):
            points = np.array(re.findall(r"[ML]([\d.-]+) ([\d.-]+)", d), float)
            centres.append(points.mean(0))
        first, last = centres[0], centres[-1]  # lowest and highest band
        if axis == 0:
            assert last[0] - first[0] > 300
            assert abs(last[1] - first[1]) < 60
        else:
            assert first[1] - last[1] > 300
            assert abs(last[0] - first[0]) < 60


def test_holes_are_hatched_and_gaps_are_blank(every):
    svg = str(surface_svg(every["holes"], "k"))
    assert "no finite loss" in svg
    assert "not measured" in svg
    assert svg.count('class="blank"') >= 2 * (~every["holes"].measured).sum()
    text = " ".join(surface_trouble(every["holes"]))
    assert f"{every['holes'].holes} points have no finite loss" in text
    assert "were not measured" in text
    assert "no finite loss" not in str(surface_svg(every["surface"], "k"))


def test_the_page_says_range_scale_and_variance(every):
    facts = dict(surface_facts(every["trajectory"]))
    assert "91 %" in facts["variance shown"]
    assert "68 % + 23 %" in facts["variance shown"]
    assert "0.8 off it" in facts["variance shown"]
    assert "−4 to 4" in facts["neighbourhood"]
    assert "396 %" in facts["neighbourhood"]  # 4 units of 9.9 beside a norm of 10
    assert "logarithmic scale" in facts["scale"]
    assert "2 of 272474 directions" in facts["what it cannot say"]


def test_the_headline_of_a_path_follows_its_interval(examples):
    make = examples.landscape.path
    assert path_headline(make()).startswith("Barrier 1.5 [1.41, 1.59] on a straight line")
    assert path_headline(make(interval=(-0.1, 0.2), barrier=0.05)).startswith("No barrier beyond")
    assert "its error unknown" in path_headline(make(interval=(np.nan, np.nan)))
    assert "not finite" in path_headline(make(barrier=np.inf))


def test_the_table_and_the_scripts_data_hold_the_same_numbers(every):
    surface = every["holes"]
    data = json.loads(str(relief_data(surface)))
    assert np.shape(data["places"]) == surface.values.shape
    holes = np.array([[v is None for v in row] for row in data["places"]])
    assert np.array_equal(holes, ~np.isfinite(surface.values))
    table = surface_table(surface)
    assert table.columns[1] == "-4"
    assert any("NaN" in row for row in table.rows)


# --- every kind, everywhere ----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_is_drawn_in_every_form(every, name, tmp_path):
    result = every[name]
    ax = plot(result)
    ax.figure.savefig(tmp_path / "picture.svg")
    assert (tmp_path / "picture.svg").stat().st_size > 5000
    page = report(result, tmp_path / "page.html").read_text(encoding="utf-8")
    for text in (page, html(result)):
        assert "<img" not in text
        assert "\x1b" not in text
    for width in (60, 100):
        console = Console(file=io.StringIO(), width=width)
        show(console, result)
        written = console.file.getvalue()
        assert max(map(len, written.splitlines())) <= width
        assert "\x1b" not in written


def test_matplotlib_draws_a_surface_in_three_dimensions(every, tmp_path):
    from matplotlib.figure import Figure

    ax = Figure().add_subplot(projection="3d")
    plot(every["trajectory"], ax).figure.savefig(tmp_path / "solid.png")
    assert ax.get_zlabel().startswith("loss, ")


def test_a_map_has_a_tile_for_each_number(examples, every, tmp_path):
    spectrum = examples.curvature.spectrum()
    results = [every["surface"], spectrum, every["path"]]
    found = {tile.name: tile for tile in tiles(results)}
    assert found["Largest eigenvalue"].value.startswith("34.4")
    assert found["Barrier, line"].said == "[1.41, 1.59], 95 %"
    page = report(results, tmp_path / "map.html").read_text(encoding="utf-8")
    assert "The landscape around ResNet20" in page
    assert tiles([spectrum]) == []
    moved = {tile.name: tile for tile in tiles([every["trajectory"], spectrum])}
    assert "Loss at the last point" in moved  # not the loss of the point whose spectrum is beside


# --- in a browser --------------------------------------------------------------------------------


@pytest.fixture
def opened(browser, every, tmp_path):
    contexts, complaints = [], []

    def opens(names, width=1280, scheme="light"):
        file = report(
            [every[n] for n in names], tmp_path / f"{'-'.join(names)}.html", overwrite=True
        )
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda r: r.url == file.as_uri() or complaints.append(r.url))
        tab.goto(file.as_uri())
        return tab

    yield opens
    for context in contexts:
        context.close()
    assert complaints == []


PAINTED = """(canvas) => {
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let painted = 0;
  for (let i = 3; i < data.length; i += 4) painted += data[i] > 0;
  return painted / (data.length / 4);
}"""
TURNED = "(old) => (document.querySelector('canvas').dataset.view || old) !== old"


def test_the_surface_is_painted_and_turns_by_key_and_by_pointer(opened):
    tab = opened(["trajectory"])
    canvas = tab.locator("canvas")
    tab.wait_for_function(TURNED, arg="")
    assert 0.1 < canvas.evaluate(PAINTED) < 0.9
    assert canvas.get_attribute("data-view") == "-0.65 0.52 1.00"
    canvas.focus()
    tab.keyboard.press("ArrowRight")
    tab.wait_for_function(TURNED, arg="-0.65 0.52 1.00")
    assert canvas.get_attribute("data-view") == "-0.55 0.52 1.00"
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    tab.mouse.move(box["x"] + 300, box["y"] + 200)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 460, box["y"] + 200)
    tab.mouse.up()
    tab.wait_for_function(TURNED, arg="-0.55 0.52 1.00")
    assert float(canvas.get_attribute("data-view").split()[0]) == pytest.approx(0.45, abs=0.02)


def test_the_map_is_read_by_the_pointer(opened, every):
    tab = opened(["surface"])
    svg = tab.locator("svg.relief-map:visible")
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    left, right, bottom, top = (
        float(v)
        for v in (*svg.get_attribute("data-x").split(), *svg.get_attribute("data-y").split())
    )
    scale = box["width"] / 880
    x, y = left + (right - left) * 21 / 24, bottom + (top - bottom) * 18 / 24
    tab.mouse.move(box["x"] + x * scale, box["y"] + y * scale)
    said = tab.locator(".relief .readout").inner_text()
    value = every["surface"].values[21, 18]
    assert f"the loss is {value:.3g}." in said
    assert "At 3 along the first axis and 2 along the second" in said


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_nothing_overflows_and_no_labels_overlap(opened, width, scheme):
    tab = opened(["holes", "trajectory", "line", "path"], width, scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for svg in tab.locator("svg.chart:visible").all():
        boxes = svg.evaluate(
            "(s) => [...s.querySelectorAll('text')].map((t) => t.getBoundingClientRect())"
            ".map((b) => [b.left, b.right, b.top, b.bottom])"
        )
        assert len(boxes) > 8
        for left, right, _, _ in boxes:
            assert 0 <= left < right <= width
        for a, b in itertools.combinations(boxes, 2):
            shared = min(a[1], b[1]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[2], b[2])
            assert min(shared) < 4, (a, b)
