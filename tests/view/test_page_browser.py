"""The page opened in Chromium: no other test sees what a reader sees.

Nothing is loaded, nothing overflows, everything is reached by keyboard, all text can be read, in
both colour schemes, at desktop and at phone width.
"""

import itertools
import json
import operator

import pytest

from sounding.view import html, report

LOOKS = [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")]
KINDS = ["sick", "repair", "study", "mixture", "hostile", "deep"]
CURVATURE = ["curvature.spectrum", "curvature.huge", "curvature.sharpness", "curvature.layers"]

CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const known = new Map();
  const rgba = (colour) => {
    if (!known.has(colour)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      known.set(colour, [...canvas.getImageData(0, 0, 1, 1).data]);
    }
    return known.get(colour);
  };
  const luminance = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const background = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgba(getComputedStyle(e).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    throw new Error('no background');
  };
  const bad = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || element.closest('script, style, title, desc')) continue;
    const box = element.getBoundingClientRect();
    if (!box.width || !element.checkVisibility()) continue;
    seen += 1;
    const style = getComputedStyle(element);
    const front = luminance(rgba(element.closest('svg') ? style.fill : style.color));
    const back = luminance(background(element));
    const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    if (ratio < 4.5) bad.push([walk.currentNode.data.trim().slice(0, 40), ratio.toFixed(2)]);
  }
  return {seen, bad};
}"""


def _results(examples, kind):
    if kind == "mixture":
        return [examples.sick(), examples.proof(), examples.inconclusive(), examples.study()]
    return examples.sick(depth=120) if kind == "deep" else operator.attrgetter(kind)(examples)()


@pytest.fixture(scope="module")
def pages(examples, tmp_path_factory):
    """The address of a page of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    return {
        kind: report(_results(examples, kind), folder / f"{kind}.html").as_uri()
        for kind in [*KINDS, *CURVATURE]
    }


@pytest.fixture
def opened(browser, pages):
    """Open a kind's page at a width and in a colour scheme; complaints are an error at the end."""
    contexts, complaints = [], []

    def opens(kind, width=1280, scheme="light", **more):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, **more
        )
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on(
            "request",
            lambda request: request.url == pages[kind] or complaints.append(request.url),
        )
        tab.goto(pages[kind])
        return tab

    yield opens
    for context in contexts:
        context.close()
    assert complaints == []


def _open_all(tab):
    tab.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")


SEEN = {
    "repair": LOOKS,
    **{kind: LOOKS[::3] for kind in KINDS if kind != "repair"},
    "curvature.spectrum": LOOKS[::3],
    "curvature.sharpness": LOOKS[3:],
    "curvature.layers": LOOKS[3:],
}


@pytest.mark.parametrize("kind", SEEN)
def test_nothing_overflows_and_all_text_can_be_read(opened, kind):
    tab = opened(kind)
    for opens in (lambda _: None, _open_all):
        opens(tab)
        for width, scheme in SEEN[kind]:
            tab.set_viewport_size({"width": width, "height": 900})
            tab.emulate_media(color_scheme=scheme)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            contrast = tab.evaluate(CONTRAST)
            assert contrast["seen"] > 10
            assert contrast["bad"] == []


def test_the_scheme_follows_the_browser(opened):
    colour = "getComputedStyle(document.body).backgroundColor"
    assert opened("sick").evaluate(colour) != opened("sick", scheme="dark").evaluate(colour)


@pytest.mark.parametrize("kind", ["sick", "curvature.spectrum"])
def test_one_variant_of_the_chart_is_shown_and_its_text_is_large_enough(opened, kind):
    tab = opened(kind)
    for width in (1280, 360):
        tab.set_viewport_size({"width": width, "height": 900})
        charts = tab.locator("figure.depth svg.chart:visible")
        assert charts.count() == 1
        size = "(texts) => texts.map((t) => parseFloat(getComputedStyle(t).fontSize)"
        sizes = charts.locator("text").evaluate_all(size + " * t.getScreenCTM().a)")
        assert min(sizes[:20]) > 9.5


@pytest.mark.parametrize("kind", CURVATURE)
def test_no_two_labels_of_a_chart_overlap_or_leave_it(opened, kind):
    tab = opened(kind)
    for width in (1280, 360):
        tab.set_viewport_size({"width": width, "height": 900})
        boxes = tab.evaluate(
            "[...document.querySelectorAll('svg.chart text')].map((t) => t.getBoundingClientRect())"
            ".filter((b) => b.width).map((b) => [b.left, b.right, b.top, b.bottom])"
        )
        assert len(boxes) > 8
        for left, right, _, _ in boxes:
            assert 0 <= left < right <= width
        for a, b in itertools.combinations(boxes, 2):
            shared = min(a[1], b[1]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[2], b[2])
            assert min(shared) < 3, (a, b)


def test_a_spectrum_is_read_by_keyboard(opened):
    tab = opened("curvature.spectrum")
    numbers = tab.locator("figure.depth details > summary")
    numbers.focus()
    assert not tab.get_by_role("columnheader", name="density").is_visible()
    tab.keyboard.press("Enter")
    assert tab.get_by_role("columnheader", name="density").is_visible()


def test_what_is_below_zero_is_told_without_colours(opened):
    tab = opened("curvature.spectrum", forced_colors="active")
    stroke = "getComputedStyle(document.querySelector('svg.wide {} ')).stroke"
    hatch, line = (tab.evaluate(stroke.format(name)) for name in ("path.below", "path.line.rms"))
    assert hatch == line
    assert tab.locator("svg.wide pattern path.below").count() == 1


def _focused(tab):
    return tab.evaluate(
        "(() => { const e = document.activeElement; return [e.tagName, e.className, "
        "e.textContent.trim().slice(0, 60), Boolean(e.closest('.finding'))]; })()"
    )


def test_everything_is_reached_by_the_tab_key_and_shows_its_focus(opened):
    tab = opened("repair")
    stops = []
    for _ in range(60):
        tab.keyboard.press("Tab")
        stop = _focused(tab)
        if stop[0] == "BODY":
            break
        stops.append(stop)
        outline = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline not in ("none", ""), stop
    assert stops[0][2] == "Skip to the findings"
    assert any("consequences of this" in said and inside for _, _, said, inside in stops)
    assert any(tag == "BUTTON" and inside for tag, _, _, inside in stops)
    assert any("instrument" in name for _, name, _, _ in stops)
    assert any("checks passed" in said for _, _, said, _ in stops)


def test_consequences_open_by_keyboard(opened):
    tab = opened("sick")
    summary = tab.locator(".consequences > summary")
    summary.focus()
    assert not tab.get_by_text("SD201").first.is_visible()
    tab.keyboard.press("Enter")
    assert tab.get_by_text("SD201").first.is_visible()


def test_arrow_keys_move_along_the_chart_and_the_live_line_speaks(opened, examples):
    tab = opened("sick")
    chart, line = tab.locator(".instrument"), tab.locator(".readout")
    assert line.get_attribute("aria-live") == "polite"
    chart.focus()
    tab.keyboard.press("ArrowRight")
    assert line.inner_text().startswith("Layer 1 of 30, layers.0: rms 0.588 (predicted 0.585)")
    for _ in range(3):
        tab.keyboard.press("ArrowRight")
    assert "Layer 4 of 30, layers.6" in line.inner_text()
    at = "document.querySelector('svg.wide .cursor').getAttribute('x1')"
    before = float(tab.evaluate(at))
    tab.keyboard.press("End")
    assert "Layer 30 of 30, layers.58: rms 0.08" in line.inner_text()
    assert float(tab.evaluate(at)) > before
    tab.keyboard.press("ArrowRight")
    assert "Layer 30 of 30" in line.inner_text()


def test_the_pointer_reads_the_layer_under_it(opened):
    tab = opened("sick", 360)
    tab.locator("svg.narrow").scroll_into_view_if_needed()
    box = tab.locator("svg.narrow").bounding_box()
    scale = box["width"] / 328
    tab.mouse.move(box["x"] + (40 + (322 - 40) * 9.5 / 30) * scale, box["y"] + 90)
    assert "Layer 10 of 30, layers.18" in tab.locator(".readout").inner_text()


def test_code_can_be_copied(opened):
    tab = opened("sick", permissions=["clipboard-read", "clipboard-write"])
    tab.locator(".remedy button").first.click()
    tab.get_by_role("button", name="Copied").wait_for()
    assert tab.evaluate("navigator.clipboard.readText()").startswith("# kaiming")


def test_without_javascript_everything_is_there(opened, examples):
    tab = opened("repair", java_script_enabled=False)
    assert tab.get_by_role("heading", name="Repaired: accuracy 0.10 → 0.97").is_visible()
    assert tab.locator("figure.depth svg.wide").first.is_visible()
    assert tab.locator("button").count() == 0
    assert not tab.locator(".readout").first.is_visible()
    tab.locator(".consequences > summary").click()
    assert tab.get_by_text("SD201").first.is_visible()


def test_hostile_names_run_nothing(opened, examples):
    tab = opened("hostile")
    assert tab.locator("img").count() == 0
    chart = tab.locator(".instrument")
    chart.focus()
    tab.keyboard.press("Home")
    assert json.dumps(examples.HOSTILE)[1:-1] in tab.locator(".readout").inner_text()
    assert tab.locator("img").count() == 0


def test_forced_colours_and_print_keep_the_curves(opened):
    tab = opened("sick", forced_colors="active")
    stroke = "getComputedStyle(document.querySelector('svg.wide path.line.rms')).stroke"
    text = "getComputedStyle(document.querySelector('svg.wide text')).fill"
    assert tab.evaluate(stroke) == tab.evaluate(text)
    tab = opened("sick", 360)
    tab.emulate_media(media="print")
    assert tab.locator("svg.wide").first.is_visible()
    assert not tab.locator("svg.narrow").first.is_visible()
    assert not tab.locator(".readout").is_visible()


@pytest.mark.parametrize("kind", ["repair", "curvature.not_converged"])
@pytest.mark.parametrize(("back", "front"), [("#fff", "#222"), ("#111", "#ddd")])
def test_the_fragment_can_be_read_in_a_light_and_a_dark_notebook(
    browser, examples, tmp_path, back, front, kind
):
    """The notebook's own colours count, whatever the browser prefers."""
    host = tmp_path / "notebook.html"
    style = f"background:{back};color:{front}"
    host.write_text(
        f'<!doctype html><title>n</title><body style="{style}">{html(_results(examples, kind))}'
    )
    tab = browser.new_page(viewport={"width": 900, "height": 900}, color_scheme="light")
    tab.goto(host.as_uri())
    contrast = tab.evaluate(CONTRAST)
    assert contrast["seen"] > 40
    assert contrast["bad"] == []
    tab.close()
