"""The commands that judge: the doctor on its zoo, and claims of theory."""

from __future__ import annotations

import click

from sounding.cli.group import main
from sounding.cli.outputs import (
    check_outputs,
    finish,
    progress_bar,
    report_options,
)


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
    """Judge a claim of the theory on this machine."""


@study.command(name="list")
def list_() -> None:
    """Name the studies and what they claim."""
    from sounding.studies import STUDIES

    for name, one in STUDIES.items():
        click.echo(f"{name}\n    {one.claim}")


@study.command(name="run")
@report_options
@click.option("--scale", type=click.Choice(["quick", "full"]), default="quick", show_default=True)
@click.argument("name")
def run_study(report: str | None, json_: str | None, force: bool, scale: str, name: str) -> None:
    """Run one study and print its verdict.

    Example: sounding study run he-2015-depth
    """
    check_outputs(report, json_, force)
    from sounding.studies import study as judge

    with progress_bar() as progress:
        result = judge(name, scale=scale, progress=progress)
    supported = result.verdicts[0].outcome == "supported"
    finish(result, report, json_, force, code=0 if supported else 1)
