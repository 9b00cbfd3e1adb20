"""The commands that judge: the doctor on its zoo, and claims of theory."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click

from sounding.cli.group import main
from sounding.cli.outputs import (
    check_outputs,
    finish,
    progress_bar,
    report_options,
)

STORE = "studies.sqlite"  # in the current folder


@main.group()
def zoo() -> None:
    """Judge the doctor: trainings whose diagnosis is known."""


@zoo.command(name="run")
@click.option("--seeds", default=3, show_default=True, help="Runs of each training.")
@click.option("--only", default="", metavar="TEXT", help="Trainings with this text in their name.")
@click.option("--cured", is_flag=True, help="The sick ones without their fault: nothing is found.")
@click.option("--json", "json_", metavar="FILE", help="Write the result as JSON (-: stdout).")
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
def run_zoo(seeds: int, only: str, cured: bool, json_: str | None, force: bool) -> None:
    """Train and diagnose every program of the zoo; print hits and false alarms.

    Example: sounding zoo run --seeds 1 --only softmax
    """
    if seeds < 1:
        raise ValueError(f"--seeds is {seeds}; it must be at least 1")
    check_outputs(None, json_, force)
    from sounding.confusion import examine_programs
    from sounding.zoo.programs import PROGRAMS
    from sounding.zoo.programs.healthy_all import HEALTHY_PROGRAMS

    every = PROGRAMS if cured else (*PROGRAMS, *HEALTHY_PROGRAMS)
    chosen = [program for program in every if only.lower() in program.name.lower()]
    if not chosen:
        raise ValueError(f"no training of the zoo has {only!r} in its name")
    with progress_bar() as progress:
        result = examine_programs(chosen, seeds=range(seeds), cured=cured, progress=progress)
    finish(result, None, json_, force, code=0)


@main.group()
def study() -> None:
    """Judge the claims of the theory on this machine."""


def engine_options(command: Any) -> Any:
    """Where runs are made, and where they are kept."""
    options = (
        click.option("--scale", type=click.Choice(["quick", "full"]), default="quick"),
        click.option("--engine", default="local", show_default=True, help="local, or ray."),
        click.option("--jobs", type=int, help="Runs at once (default: one a core)."),
        click.option("--address", metavar="HOST:PORT", help="Of a Ray cluster that is running."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@study.command(name="list")
def list_() -> None:
    """Name the studies and what they claim."""
    from sounding.studies import STUDIES

    topic = ""
    for name, one in STUDIES.items():
        if one.topic != topic:
            topic = one.topic
            click.echo(f"\n{topic}")
        click.echo(f"  {name}\n      {one.claim}")


@study.command(name="run")
@report_options
@engine_options
@click.option("--store", metavar="FILE", help="Keep the runs there, and look them up first.")
@click.option("--smoke", is_flag=True,
              help="See that the full scale's program runs to its end: on the CPU, at small sizes; "
              "nothing is judged or stored.")  # fmt: skip
@click.argument("name")
def run_study(
    report: str | None, json_: str | None, force: bool, scale: str, engine: str, jobs: int | None,
    address: str | None, store: str | None, smoke: bool, name: str,
) -> None:  # fmt: skip
    """Run one study and print its verdict.

    Example: sounding study run he-2015-depth
    """
    check_outputs(report, json_, force)
    from sounding.engine import opened
    from sounding.studies import study as judge
    from sounding.studies.catalogue import check

    check(name, scale)
    if smoke:
        if store is not None:
            raise ValueError("a smoke run judges nothing, so nothing is stored; leave out --store")
        from sounding.studies.smoke import smoke as try_out

        with opened(engine, jobs=jobs, address=address) as executor, progress_bar() as progress:
            result = try_out(name, progress, executor=executor)
        finish(result, report, json_, force, code=0)
    with (
        _store(store) as kept,
        opened(engine, jobs=jobs, address=address) as executor,
        progress_bar() as progress,
    ):
        result = judge(name, scale, progress, store=kept, executor=executor)
    finish(result, report, json_, force, code=0 if result.outcome == "supported" else 1)


@study.command(name="all")
@report_options
@engine_options
@click.option("--store", metavar="FILE", default=STORE, show_default=True,
              help="Keep the runs there; an interrupted series goes on from it.")  # fmt: skip
@click.option("--only", default="", metavar="TEXT", help="Studies with this text in name or topic.")
@click.option("--again", is_flag=True, help="Judge anew also what the store has a verdict of.")
def all_studies(
    report: str | None, json_: str | None, force: bool, scale: str, engine: str, jobs: int | None,
    address: str | None, store: str, only: str, again: bool,
) -> None:  # fmt: skip
    """Run every study; a table of verdicts at the end, and --report writes the book of them.

    Example: sounding study all --report book.html
    """
    check_outputs(report, json_, force)
    from sounding.engine import opened
    from sounding.studies import STUDIES
    from sounding.studies.series import study_all

    names = [n for n, one in STUDIES.items() if only.lower() in f"{n} {one.topic}".lower()]
    if not names:
        raise ValueError(f"no study has {only!r} in name or topic; see: sounding study list")
    with (
        _store(store) as kept,
        opened(engine, jobs=jobs, address=address) as executor,
        progress_bar() as progress,
    ):
        result = study_all(
            names, scale, store=kept, executor=executor, again=again, progress=progress
        )
    good = not result.failures and all(
        one.outcome in ("supported", "not tested") for one in result.studies
    )
    finish(result, report, json_, force, code=0 if good else 1)


@study.command()
@click.option("--store", metavar="FILE", default=STORE, show_default=True, help="Of the verdicts.")
@click.option("--table", metavar="FILE.md", help="Write the table of verdicts as Markdown too.")
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
@click.argument("target", metavar="FOLDER|FILE.html")
def book(store: str, table: str | None, force: bool, target: str) -> None:
    """Make a site, or one HTML file, of all verdicts in a store.

    Example: sounding study book book.html
    """
    check_outputs(table, None, force)
    from sounding.result import write_text
    from sounding.store import Store
    from sounding.studies import finished
    from sounding.view.book import markdown, one_page, write_book

    if not Path(store).exists():
        raise ValueError(
            f"there is no store {store}; this makes it: sounding study all --store {store}"
        )
    with Store(store, read_only=True) as kept:
        studies = finished(kept)
    if target.endswith(".html"):
        check_outputs(target, None, force)
        path = write_text(target, one_page(studies), overwrite=force)
    else:
        path = write_book(studies, target, overwrite=force)
    click.echo(f"Wrote {path}", err=True)
    if table:
        click.echo(f"Wrote {write_text(table, markdown(studies), overwrite=force)}", err=True)


@study.command()
@click.argument("store", metavar="FILE")
@click.argument("others", metavar="OTHER...", nargs=-1, required=True)
def merge(store: str, others: tuple[str, ...]) -> None:
    """Take runs and verdicts of other stores into one; of two alike the newer one stays.

    Example: sounding study merge studies.sqlite from-the-cluster.sqlite
    """
    from sounding.store import Store

    if missing := [other for other in others if not Path(other).exists()]:
        raise ValueError(f"there is no store {missing[0]}; nothing was merged")
    with Store(store) as kept:
        for other in others:
            found = kept.merge(other)
            click.echo(f"{other}: {found.added} new, {found.replaced} newer, {found.kept} known")


def _store(path: str | None) -> Any:
    """The store, to be entered with `with`; nothing where there is no path."""
    from sounding.store import Store

    return contextlib.nullcontext() if path is None else Store(path)
