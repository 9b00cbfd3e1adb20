"""Results as HTML: a fragment for a notebook, and a page that needs nothing but itself."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sounding.compare import Comparison
from sounding.curvature.density import Density
from sounding.curvature.eigenpairs import Eigenpairs
from sounding.curvature.estimate import Estimate
from sounding.curvature.monitor import SharpnessSeries
from sounding.curvature.sharpness import Sharpness
from sounding.curvature.spectrum import Spectrum
from sounding.exam import Checkup
from sounding.landscape.atlas import Atlas
from sounding.landscape.escape import Escape
from sounding.landscape.paths import Path as LossPath
from sounding.landscape.stationary_point import StationaryPoint
from sounding.landscape.surface import Surface
from sounding.measure.readings import Attribution, Readings
from sounding.prove import Proof, Repair
from sounding.remedies import code
from sounding.result import Profile, Result, Series, write_text
from sounding.run import Run
from sounding.studies.claim import Studies, Study
from sounding.verdict import Verdict
from sounding.view import (
    atlas,
    numbers,
    tables,
    tables_curvature,
    tables_landscape,
    wording,
    wording_compare,
    wording_curvature,
    wording_landscape,
    wording_points,
    wording_sharpness,
    wording_study,
)
from sounding.view.depth import depth, finding
from sounding.view.excerpt import excerpt
from sounding.view.live_data import whole
from sounding.view.spectrum import spectrum_chart
from sounding.view.svg_arms import losses_svg, paired_svg
from sounding.view.svg_chart import chart_svg
from sounding.view.svg_depth import depth_svg
from sounding.view.svg_parts import attribution_svg
from sounding.view.svg_path import path_svg
from sounding.view.svg_profile import profile_svg, series_svg
from sounding.view.svg_sharpness import sharpness_svg
from sounding.view.svg_spectrum import spectrum_svg
from sounding.view.svg_surface import surface_svg
from sounding.watch import Training, Watched
from sounding.watch.file import as_json

TEMPLATES = Path(__file__).parent / "templates"


def report(
    results: Result | Iterable[Result],
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    title: str | None = None,
) -> Path:
    """Write one self-contained page on `results` and return its path.

    The page loads nothing from anywhere, and its content security policy says so to the browser.

    Raises:
        TypeError: If something in `results` is not a result.
        ValueError: If there is nothing to report on.
        FileExistsError: If `path` exists and `overwrite` is not set.
    """
    return write_text(path, page(results, title=title), overwrite=overwrite)


def page(
    results: Result | Iterable[Result],
    *,
    title: str | None = None,
    stream: bool = False,
    judged: int = 1,
) -> str:
    """The text of the page that :func:`report` writes.

    With `stream` the numbers of a watched run do not stand in the page, which asks the server that
    it came from for them, and goes on asking; `judged` is the number of processes that had ended
    with an examination.
    """
    given = [results] if isinstance(results, Result) else list(results)
    every = [part for one in given for part in (one.parts if isinstance(one, Atlas) else (one,))]
    if not every:
        raise ValueError("there is nothing to report on: pass a result, or a list of them")
    level = 1 if len(every) == 1 else 2
    sections = [
        (
            f"r{i}",
            wording.headline(result),
            _watched(result, f"r{i}", level, stream=stream, judged=judged)
            if isinstance(result, Watched)
            else _section(result, f"r{i}", level, interactive=True),
        )
        for i, result in enumerate(map(_checked, every), start=1)
    ]
    several = atlas.title(every) or f"{len(every)} results"
    return document(
        title or (sections[0][1] if level == 1 else several),
        sections,
        stream=stream,
        tiles=atlas.tiles(every),
        named=title is not None,
        contents=level == 2,
    )


def document(
    title: str,
    sections: Sequence[tuple[str, str, Markup]],
    *,
    stream: bool = False,
    tiles: Sequence[atlas.Tile] = (),
    named: bool = False,
    contents: bool = False,
) -> str:
    """A page of `sections`, each with its id, what a list of contents calls it, and its body.

    What its charts need of scripts and styles stands in it, and nothing else may be loaded.
    """
    style = _asset("page.css") + _asset("result.css")
    script = _asset("page.js")
    if any('class="relief"' in body for _, _, body in sections):
        script += _asset("surface.js")
    if any('<div class="run"' in body for _, _, body in sections):
        style += _asset("watched.css")
        script += _asset("watched_charts.js") + _asset("watched.js")
    return _render(
        "page.html",
        stream=stream,
        title=title,
        tiles=tiles,
        named=named,
        contents=contents,
        sections=sections,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        environment=_environment(),
    )


def html(result: Result) -> str:
    """`result` as a fragment that a notebook shows: scoped styles, no script.

    Raises:
        TypeError: If `result` is not a result.
    """
    text = json.dumps(_checked(result).to_dict(), sort_keys=True)
    key = "s" + hashlib.sha256(text.encode()).hexdigest()[:10]
    body = _section(result, key, 3, interactive=False)
    style = _asset("fragment.css") + _asset("result.css")
    return _render("fragment.html", body=body, style=style)


def _checked(result: Any) -> Result:
    if not isinstance(result, Result):
        raise TypeError(
            f"a {type(result).__name__} cannot be shown; pass what checkup, prove, repair or "
            "study returned, or sounding.load of a saved one"
        )
    return result


@functools.singledispatch
def _section(result: Result, key: str, level: int, *, interactive: bool) -> Markup:
    """One result; headings start at `level`, ids start with `key`."""
    return _body("other.html", result, key, level, interactive=interactive)


@_section.register
def _(result: Checkup, key: str, level: int, *, interactive: bool) -> Markup:
    return _body("checkup.html", result, key, level, interactive=interactive)


@_section.register
def _(result: Run, key: str, level: int, *, interactive: bool) -> Markup:
    if result.checkup is None:
        return _body("other.html", result, key, level, interactive=interactive)
    return _section(result.checkup, key, level, interactive=interactive)


@_section.register
def _(result: Watched, key: str, level: int, *, interactive: bool) -> Markup:
    return _body(
        "watched.html", result, key, level, interactive=interactive, data=None, stream=False,
        judged=0,
    )  # fmt: skip


def _watched(result: Watched, key: str, level: int, *, stream: bool, judged: int) -> Markup:
    """With its charts, which are drawn by the page's script."""
    data = None if stream else _safe(as_json(whole(result)))
    return _body(
        "watched.html", result, key, level, interactive=True, data=data, stream=stream,
        judged=judged,
    )  # fmt: skip


@_section.register
def _(result: Repair, key: str, level: int, *, interactive: bool) -> Markup:
    kept = wording.kept_proofs(result)
    rest = [proof for proof in result.proofs if not any(proof is k for k in kept)]
    return _body("repair.html", result, key, level, interactive=interactive, kept=kept, rest=rest)


@_section.register
def _(result: Proof, key: str, level: int, *, interactive: bool) -> Markup:
    return _body("proof.html", result, key, level, interactive=interactive)


@_section.register
def _(result: Verdict, key: str, level: int, *, interactive: bool) -> Markup:
    return _body("verdict.html", result, key, level, interactive=interactive)


@_section.register
def _(result: Study, key: str, level: int, *, interactive: bool) -> Markup:
    return _body("study.html", result, key, level, interactive=interactive)


@_section.register
def _(result: Studies, key: str, level: int, *, interactive: bool) -> Markup:
    """The book in one section: the table, then claim after claim."""
    topics = wording_study.entries(result.studies)
    parts = [book_index(topics, f"#{key}-{{}}", level, result.failures)]
    for found in topics.values():
        for entry in found:
            body = rendered(
                "book_entry.html", entry=entry, key=f"{key}-{entry.name}", level=level + 1
            )
            parts.append(Markup('<section class="result" id="{}">{}</section>').format(
                f"{key}-{entry.name}", body))  # fmt: skip
    return Markup("").join(parts)


def book_index(
    topics: dict[str, list[wording_study.Entry]], link: str, level: int, failures: dict[str, str]
) -> Markup:
    """The table of verdicts; `link` makes of a study's name the address of its part."""
    return rendered(
        "book_index.html",
        said=wording_study.book_said(topics),
        topics=topics,
        link=link.format,
        level=level,
        failures=failures,
    )


@_section.register
def _(result: Comparison, key: str, level: int, *, interactive: bool) -> Markup:
    return _body("comparison.html", result, key, level, interactive=interactive)


@_section.register
def _(result: Readings, key: str, level: int, *, interactive: bool) -> Markup:
    return _body("readings.html", result, key, level, interactive=interactive)


@_section.register(Profile | Series | Attribution)
def _(result: Profile | Series | Attribution, key: str, level: int, *, interactive: bool) -> Markup:
    return _body("curve.html", result, key, level, interactive=interactive)


@_section.register(Spectrum | Eigenpairs | Density)
def _(
    result: Spectrum | Eigenpairs | Density, key: str, level: int, *, interactive: bool
) -> Markup:
    chart = spectrum_chart(result)
    return _body("spectrum.html", result, key, level, interactive=interactive, chart=chart)


@_section.register
def _(result: Estimate, key: str, level: int, *, interactive: bool) -> Markup:
    return _body("estimate.html", result, key, level, interactive=interactive)


@_section.register
def _(result: Sharpness, key: str, level: int, *, interactive: bool) -> Markup:
    return _body("sharpness_point.html", result, key, level, interactive=interactive)


@_section.register
def _(result: SharpnessSeries, key: str, level: int, *, interactive: bool) -> Markup:
    return _body("sharpness.html", result, key, level, interactive=interactive)


@_section.register
def _(result: Surface, key: str, level: int, *, interactive: bool) -> Markup:
    svg = surface_svg(result, key)
    return _body("surface.html", result, key, level, interactive=interactive, svg=svg)


@_section.register
def _(result: StationaryPoint, key: str, level: int, *, interactive: bool) -> Markup:
    examined = f"{result.model}, {numbers.number(result.seconds)} s"
    return _facts(
        result, key, level, wording_points.point_facts(result), result.notes, examined=examined
    )


@_section.register
def _(result: Escape, key: str, level: int, *, interactive: bool) -> Markup:
    chart = wording_points.escape_chart(result)
    return _facts(
        result,
        key,
        level,
        wording_points.escape_facts(result),
        result.certificate.notes,
        chart=chart,
    )


@_section.register
def _(result: Atlas, key: str, level: int, *, interactive: bool) -> Markup:
    drawn = (
        _section(part, f"{key}p{i}", level, interactive=interactive)
        for i, part in enumerate(result.parts)
    )
    return Markup("").join(drawn)


def _facts(
    result: Result,
    key: str,
    level: int,
    facts: Any,
    notes: Any,
    *,
    examined: str = "",
    chart: Any = None,
) -> Markup:
    """A sentence, a picture, and rows of facts."""
    return rendered(
        "facts.html", result=result, key=key, level=level, facts=facts, notes=notes,
        examined=examined, chart=chart,
    )  # fmt: skip


@_section.register
def _(result: LossPath, key: str, level: int, *, interactive: bool) -> Markup:
    return _body("path.html", result, key, level, interactive=interactive)


def rendered(template: str, **context: Any) -> Markup:
    """A template of this folder as safe HTML; its values are escaped."""
    return Markup(_render(template, **context))


def _body(template: str, result: Result, key: str, level: int, **more: Any) -> Markup:
    return Markup(_render(template, result=result, key=key, level=level, **more))


def _render(template: str, **context: Any) -> str:
    return _templates().get_template(template).render(**context)


@functools.cache
def _templates() -> Any:
    """The jinja2 environment; jinja2 is imported here because `import sounding` must stay light."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: numbers.printable(value) if type(value) is str else value,
    )
    environment.globals.update(
        attribution_svg=attribution_svg,
        chart_svg=chart_svg,
        compare=wording_compare,
        curvature=wording_curvature,
        curvature_tables=tables_curvature,
        depth=depth,
        depth_svg=depth_svg,
        depth_finding=finding,
        excerpt=excerpt,
        figure_data=_figure_data,
        landscape=wording_landscape,
        landscape_tables=tables_landscape,
        section=_section,
        loss_series=_loss_series,
        losses_svg=losses_svg,
        numbers=numbers,
        paired_svg=paired_svg,
        paste=code,
        path_svg=path_svg,
        profile_svg=profile_svg,
        relief_data=tables_landscape.relief_data,
        series_svg=series_svg,
        sharpness=wording_sharpness,
        sharpness_svg=sharpness_svg,
        spectrum_svg=spectrum_svg,
        studies=wording_study,
        tables=tables,
        wording=wording,
    )
    return environment


def _loss_series(training: Training) -> Series:
    values = training.loss
    return Series(quantity="training loss", unit="", steps=training.steps, values=values)


def _figure_data(chart: Any) -> Markup:
    """What the cursor says."""
    return _safe(json.dumps(tables.cursor_rows(chart), ensure_ascii=True, separators=(",", ":")))


def _safe(text: str) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _asset(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(str(text).encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _environment() -> str:
    """The versions that wrote the page."""
    versions = []
    for package in ("sounding", "torch", "numpy"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{package} (not installed)")
    return ", ".join([*versions, f"Python {platform.python_version()}"])
