"""The commands that show: the landscape, saved results, a run as it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sounding.cli.group import main
from sounding.cli.outputs import (
    check_outputs,
    finish,
    progress_bar,
)


@main.command()
@click.option("--at", metavar="CHECKPOINT", help="safetensors, or torch.save of a state dict.")
@click.option(
    "--along",
    help="filter, layer, random, eigen, gradient, path, trajectory (default: filter; with --map "
    "eigen).",
)
@click.option(
    "--to", multiple=True, metavar="CHECKPOINT", help="Other end; or all of a trajectory."
)
@click.option("--kind", default="line", show_default=True, help="Of a path: line, bezier, chain.")
@click.option("--match", is_flag=True, help="Permute the other end's hidden units first.")
@click.option("--dims", type=click.IntRange(1, 2), default=2, show_default=True)
@click.option("--points", default=25, show_default=True, help="Along each axis, or of the path.")
@click.option("--span", type=float, help="How far to go either way, in the axes' units.")
@click.option(
    "--refine", default=0, show_default=True, help="Further grid lines where it is steep."
)
@click.option("--map", "whole", is_flag=True, help="Also which point this is, and its spectrum.")
@click.option("--escape", is_flag=True, help="As --map; leaves a saddle and draws the way.")
@click.option("--batch-norm", help="running, batch or recalibrated statistics.")
@click.option(
    "--samples", default=2048, show_default=True, help="Samples of the case's that count."
)
@click.option("--seed", default=0, show_default=True, help="Of random directions.")
@click.option("--resume", metavar="FILE", help="Go on with an interrupted surface's --json file.")
@click.option("--html", metavar="FILE", help="Write the pictures as one HTML page.")
@click.option("--json", "json_", metavar="FILE", help="Write the result as JSON (-: stdout).")
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
@click.argument("case_file", metavar="CASE.py")
def landscape(
    html: str | None, json_: str | None, force: bool, resume: str | None, samples: int, **given: Any
) -> None:
    """Show the loss around a checkpoint, or on a path to another one.

    Example: sounding landscape case.py --at model.safetensors --html landscape.html
    """
    check_outputs(html, json_, force or (resume is not None and resume == json_))
    from sounding.load import load
    from sounding.script.landscape import landscape_target

    earlier = load(resume) if resume else None
    with progress_bar() as progress:
        result = landscape_target(**given, limit=samples, resume=earlier, progress=progress)
    finish(result, html, json_, force or (resume is not None and resume == json_), code=0)


@main.command(name="report")
@click.option(
    "--output", "-o", metavar="FILE.html", help="Where to write (default: beside the first)."
)
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
@click.argument("files", nargs=-1, required=True)
def report_(output: str | None, force: bool, files: tuple[str, ...]) -> None:
    """Make one HTML page of saved results.

    Example: sounding report checkup.json -o checkup.html
    """
    target = output or str(Path(files[0]).with_suffix(".html"))
    check_outputs(target, None, force)
    from sounding.load import load
    from sounding.view import report as write

    path = write([_reportable(load(file)) for file in files], target, overwrite=force)
    click.echo(f"Wrote {path}", err=True)


@main.command()
@click.option("--port", default=0, help="Of 127.0.0.1 (default: one that is free).")
@click.argument("file", metavar="FILE.sounding")
def live(port: int, file: str) -> None:
    """Look at a run in the browser, while it goes on or afterwards.

    Example: sounding live run.sounding
    """
    from sounding.view.live import serve

    serve(file, port=port, said=lambda address: click.echo(f"Look at {address}\nCtrl-C ends."))


def _reportable(result: Any) -> Any:
    """A saved Run is shown by its examination."""
    return getattr(result, "checkup", result) if type(result).__name__ == "Run" else result
