"""What the commands share: options for files, the checks before, the writing after."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

FORMATS = ("text", "github", "sarif")


def report_options(command: Any) -> Any:
    """The options that every examining command has."""
    options = (
        click.option("--report", metavar="FILE.html", help="Write a self-contained HTML report."),
        click.option(
            "--json", "json_", metavar="FILE", help="Write the result as JSON (-: stdout)."
        ),
        click.option("--force", is_flag=True, help="Overwrite files that exist."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def format_options(command: Any) -> Any:
    """How findings are told to a code host."""
    options = (
        click.option(
            "--format",
            "form",
            type=click.Choice(FORMATS),
            default="text",
            show_default=True,
            help="Annotations for GitHub Actions, or SARIF 2.1.0, beside the text.",
        ),
        click.option("--output", metavar="FILE", help="Where they are written (default: stdout)."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def check_format(form: str, output: str | None, json_: str | None, force: bool) -> None:
    """Before anything is run: is it clear where what goes, and can it be written?"""
    if form == "text" and output is not None:
        raise ValueError("--output is for --format github and sarif; use --report or --json")
    if form == "sarif" and json_ == "-" and output in (None, "-"):
        raise ValueError("--json - and --format sarif both write to stdout; name a file for one")
    check_outputs(output, None, force)


def own(file: str | None) -> str | None:
    """Of several processes each has files of its own: out.html, out.1.html, ..."""
    number, _ = processes()
    if not number or file in (None, "-"):
        return file
    from sounding.watch.ranks import file_of

    return str(file_of(Path(str(file)), number))


def processes() -> tuple[int, int]:
    """The number of this process, from 0, and how many a launcher such as torchrun started."""
    number, count = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    return int(number) if number.isdigit() else 0, int(count) if count.isdigit() else 1


def check_outputs(report: str | None, json_: str | None, force: bool) -> None:
    """Before anything is run: can the outputs be written?"""
    for name in (report, json_):
        if name is None or name == "-":
            continue
        path = Path(name)
        if path.is_dir():
            raise ValueError(f"{name} is a folder; name a file in it")
        if path.exists() and not force:
            raise ValueError(f"{name} exists; choose another name, or overwrite it with --force")
        if not path.absolute().parent.is_dir():
            raise ValueError(f"there is no folder {path.absolute().parent} to write {name} in")
        if not os.access(path.absolute().parent, os.W_OK):
            raise ValueError(f"{name} cannot be written: no permission in its folder")


def make_console() -> Any:
    """Standard error: nothing of ours goes where a script prints."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def progress_bar() -> Any:
    """A bar for a long job, to be entered with `with`."""
    from sounding.view.terminal import progress

    return progress(make_console())


def finish(result: Any, report: str | None, json_: str | None, force: bool, *, code: int) -> None:
    """Show the result, write its files, and end with the exit code."""
    from sounding.view.terminal import show

    console = make_console()
    show(console, result)
    write_files(console, result, report, json_, force)
    sys.exit(code)


def write_format(
    console: Any, exam: Any, form: str, output: str | None, target: str, force: bool
) -> None:
    """The findings in the form that was asked for; of no examination there are none."""
    if form == "text" or exam is None:
        return
    from sounding.integrations.github import github
    from sounding.integrations.sarif import sarif
    from sounding.result import write_text

    text = github(exam, target) if form == "github" else json.dumps(sarif(exam, target), indent=1)
    if output in (None, "-"):
        click.echo(text, nl=form == "sarif")
    else:
        console.print(f"Wrote {write_text(str(output), text, overwrite=force)}")


def write_files(
    console: Any, result: Any, report: str | None, json_: str | None, force: bool
) -> None:
    """The files that were asked for, and what to do with them."""
    if result is None:
        if report or json_:
            console.print("sounding: nothing was examined, so no file was written")
        return
    if report:
        from sounding.view import report as write

        console.print(f"Wrote {write([result], report, overwrite=force)}")
    if json_ == "-":
        click.echo(json.dumps(result.to_dict(), allow_nan=False))
    elif json_:
        console.print(f"Wrote {result.save(json_, overwrite=force)}")
