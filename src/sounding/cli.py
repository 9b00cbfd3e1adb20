"""The command line: one public function a command; parses, calls, prints, sets the exit code.

Exit codes: 0 nothing found (or proven), 1 problems found (or nothing proven), 2 wrong use. `run`
keeps the script's own code, unless --check is given and the script itself ended well.
"""

from __future__ import annotations

import ast
import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from sounding import __version__

SCRIPT = {"ignore_unknown_options": True, "allow_interspersed_args": False}
PASSED_ON = {"nargs": -1, "required": True, "type": click.UNPROCESSED}


class _Wrong(click.ClickException):
    """One sentence on standard error, exit code 2."""

    exit_code = 2


class _Percent(click.ParamType):
    """``2%`` or ``2``: a fraction of 0.02."""

    name = "percent"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """The fraction."""
        try:
            percent = float(str(value).removesuffix("%"))
        except ValueError:
            percent = float("nan")
        if not 0 < percent <= 100:
            raise ValueError(f"--overhead is {value}; give percent above 0, at most 100")
        return percent / 100


class _Commands(click.Group):
    """Wrong use of any kind is one sentence and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, TypeError, OSError) as error:
            if os.environ.get("SOUNDING_DEBUG"):
                raise
            raise _Wrong(str(error)) from error
        except ImportError as error:
            if "sounding[" not in str(error):  # where an extra is missing, ours name it
                raise
            raise _Wrong(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sounding")
def main() -> None:
    r"""Say why a PyTorch network trains badly, repair it, and prove the repair.

    \b
    sounding run train.py --epochs 3     your script, unchanged: findings at the end
    sounding repair train.py             tries the remedies, proves the best one
    sounding explain SD303               what a finding means
    """


def _report_options(command: Any) -> Any:
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


@main.command(context_settings=SCRIPT)
@_report_options
@click.option("--check", is_flag=True, help="Exit with 1 if problems are found.")
@click.option(
    "--overhead",
    metavar="PERCENT",
    type=_Percent(),
    help="Of the time it may take (default: 1% where a step takes 10 ms or more, else 3%).",
)
@click.option("--every", type=int, help="Examine every so many steps, whatever it costs.")
@click.option("--record", metavar="FILE.sounding", help="Write the run as it goes on.")
@click.option(
    "--tests/--no-tests",
    default=True,
    show_default=True,
    help="Decide suspicions by short tests on the trained model, after the script has ended.",
)
@click.argument("target", metavar="SCRIPT [ARGS]...", **PASSED_ON)
def run(
    report: str | None,
    json_: str | None,
    force: bool,
    check: bool,
    overhead: float | None,
    every: int | None,
    record: str | None,
    tests: bool,
    target: tuple[str, ...],
) -> None:
    """Run a training script, unchanged, and examine the training from within.

    Everything of ours goes to standard error, once, at the end. Options before the script are ours,
    those behind it are the script's.

    Example: sounding run --report train.html train.py --epochs 3
    """
    _check_outputs(report, json_, force)
    _check_outputs(record, None, force)
    from sounding.run import observe, seen
    from sounding.script.execute import leave_as

    console = _console()
    observer, error = observe(target, budget=overhead, every=every, record=record, overwrite=force)
    sys.stdout.flush()
    tests = tests and not isinstance(error, KeyboardInterrupt)
    with _progress() as progress:
        result = seen(observer, " ".join(target), tests=tests, progress=progress)
    _show_run(console, result)
    if record:
        console.print(f"Wrote {record}; look at it with: sounding live {record}")
    _write(console, result.checkup, report, json_, force)
    code = leave_as(error)
    if code == 0 and check and result.problems:
        code = 1
    sys.exit(code)


@main.command()
@_report_options
@click.option("--deep", is_flag=True, help="Train the case and examine its training.")
@click.option("--steps", type=int, help="Of --deep: optimiser steps (default: the recipe's).")
@click.option("--ignore", metavar="CODES", default="", help="Rules to leave out: SD203,SD204.")
@click.argument("case_file", metavar="CASE.py")
def checkup(
    report: str | None,
    json_: str | None,
    force: bool,
    deep: bool,
    steps: int | None,
    ignore: str,
    case_file: str,
) -> None:
    """Examine the `case` of a Python file on one batch, or with --deep over its training.

    Example: sounding checkup --deep case.py
    """
    _check_outputs(report, json_, force)
    from sounding.checkup import checkup as examine
    from sounding.script.casefile import load_case
    from sounding.train.recipe import check_count

    if steps is not None:
        check_count("--steps", steps, 1)
        deep = True
    codes = tuple(code.strip().upper() for code in ignore.split(",") if code.strip())
    case = load_case(case_file)
    with _progress() as progress:
        exam = examine(case, deep=deep, steps=steps, ignore=codes, progress=progress)
    _finish(exam, report, json_, force, code=1 if exam.problems else 0)


@main.command(context_settings=SCRIPT)
@_report_options
@click.option("--seeds", default=5, show_default=True, help="Paired seeds of a proof.")
@click.option("--steps", type=int, help="Optimiser steps of a run (script: 600; case: its own).")
@click.option(
    "--jobs", type=int, help="Trials of a script that run at once (default: cores, at most 4)."
)
@click.argument("target", metavar="SCRIPT_OR_CASE [ARGS]...", **PASSED_ON)
def repair(
    report: str | None,
    json_: str | None,
    force: bool,
    seeds: int,
    steps: int | None,
    jobs: int | None,
    target: tuple[str, ...],
) -> None:
    """Find the fault, try the remedies with paired seeds, keep what is proven.

    Takes a plain training script with its arguments, or a file that defines a `case`. No file of
    yours is changed: a script's trials write to a scratch folder.

    Example: sounding repair train.py --epochs 3
    """
    _check_outputs(report, json_, force)
    from sounding.script.procedures import repair_target

    with _progress() as progress:
        result = repair_target(target, seeds=seeds, steps=steps, jobs=jobs, progress=progress)
    solved = bool(result.kept) or not result.checkup.problems
    _finish(result, report, json_, force, code=0 if solved else 1)


@main.command(context_settings=SCRIPT)
@_report_options
@click.option("--remedy", required=True, help="Such as \"reinitialise(scheme='kaiming')\".")
@click.option("--seeds", default=5, show_default=True, help="Paired seeds of the proof.")
@click.option("--steps", type=int, help="Optimiser steps of a run (script: 600; case: its own).")
@click.option(
    "--jobs", type=int, help="Trials of a script that run at once (default: cores, at most 4)."
)
@click.argument("target", metavar="SCRIPT_OR_CASE [ARGS]...", **PASSED_ON)
def prove(
    report: str | None,
    json_: str | None,
    force: bool,
    remedy: str,
    seeds: int,
    steps: int | None,
    jobs: int | None,
    target: tuple[str, ...],
) -> None:
    """Judge one remedy on a script or case: with and without it, on the same seeds.

    Example: sounding prove --remedy "insert_norm(kind='batch')" train.py
    """
    _check_outputs(report, json_, force)
    parsed = _parse_remedy(remedy)
    from sounding.script.procedures import prove_target

    with _progress() as progress:
        proof = prove_target(parsed, target, seeds=seeds, steps=steps, jobs=jobs, progress=progress)
    _finish(proof, report, json_, force, code=0 if proof.verdict.outcome == "supported" else 1)


@main.command()
@_report_options
@click.option(
    "--arms", metavar="NAMES", default="", help="Such as sgd,adam (default), or the file's own."
)
@click.option("--trials", default=20, show_default=True, help="Settings tried for each arm.")
@click.option("--seeds", default=5, show_default=True, help="Fresh seeds of the final runs.")
@click.option("--steps", type=int, help="Optimiser steps of a run (default: the recipe's).")
@click.option("--metric", help="Tune for and judge by it (default: the final training loss).")
@click.argument("case_file", metavar="CASE.py")
def compare(
    report: str | None,
    json_: str | None,
    force: bool,
    arms: str,
    trials: int,
    seeds: int,
    steps: int | None,
    metric: str | None,
    case_file: str,
) -> None:
    """Compare optimisers on a case, each tuned with the same effort, then on fresh seeds.

    The file may define recipes of its own to compare: arms = {"mine": sounding.Recipe(...), ...}.

    Example: sounding compare case.py --arms sgd,adam --trials 20
    """
    _check_outputs(report, json_, force)
    from sounding.script.procedures import compare_target

    names = [name.strip() for name in arms.split(",") if name.strip()]
    with _progress() as progress:
        result = compare_target(
            case_file,
            names,
            trials=trials,
            seeds=seeds,
            steps=steps,
            metric=metric,
            progress=progress,
        )
    _finish(result, report, json_, force, code=0)


@main.command()
@click.option("--at", metavar="CHECKPOINT", help="safetensors, or torch.save of a state dict.")
@click.option(
    "--along",
    default="filter",
    show_default=True,
    help="filter, layer, random, eigen, gradient, path, trajectory.",
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
    _check_outputs(html, json_, force or (resume is not None and resume == json_))
    from sounding.load import load
    from sounding.script.landscape import landscape_target

    earlier = load(resume) if resume else None
    with _progress() as progress:
        result = landscape_target(**given, limit=samples, resume=earlier, progress=progress)
    _finish(result, html, json_, force or (resume is not None and resume == json_), code=0)


@main.command()
@click.argument("code")
def explain(code: str) -> None:
    """Print the page of a rule: what it measures, when it is wrong, what to do.

    Example: sounding explain SD303
    """
    from sounding.rules.pages import explain as page

    text = page(code)
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text))
    else:
        click.echo(text)


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
    _check_outputs(target, None, force)
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
    _check_outputs(None, json_, force)
    from sounding.confusion import examine_programs
    from sounding.zoo.programs import PROGRAMS
    from sounding.zoo.programs.healthy_all import HEALTHY_PROGRAMS

    every = PROGRAMS if cured else (*PROGRAMS, *HEALTHY_PROGRAMS)
    chosen = [program for program in every if only.lower() in program.name.lower()]
    if not chosen:
        raise ValueError(f"no training of the zoo has {only!r} in its name")
    with _progress() as progress:
        result = examine_programs(chosen, seeds=range(seeds), cured=cured, progress=progress)
    _finish(result, None, json_, force, code=0)


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
@_report_options
@click.option("--scale", type=click.Choice(["quick", "full"]), default="quick", show_default=True)
@click.argument("name")
def run_study(report: str | None, json_: str | None, force: bool, scale: str, name: str) -> None:
    """Run one study and print its verdict.

    Example: sounding study run he-2015-depth
    """
    _check_outputs(report, json_, force)
    from sounding.studies import study as judge

    with _progress() as progress:
        result = judge(name, scale=scale, progress=progress)
    supported = result.verdicts[0].outcome == "supported"
    _finish(result, report, json_, force, code=0 if supported else 1)


# -- what the commands share ----------------------------------------------------------------------


def _check_outputs(report: str | None, json_: str | None, force: bool) -> None:
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


def _parse_remedy(text: str) -> Any:
    """A Remedy from ``name(key=value, ...)``; only literals are read, nothing is run."""
    from sounding.remedies import prescribe

    try:
        call = ast.parse(text, mode="eval").body
        if isinstance(call, ast.Name):
            call = ast.Call(func=call, args=[], keywords=[])
        assert isinstance(call, ast.Call)
        assert isinstance(call.func, ast.Name)
        assert not call.args
        name = call.func.id
        arguments = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, AssertionError, ValueError) as error:
        raise ValueError(f"{text!r} is no remedy; write it as name(key='value')") from error
    return prescribe(name, **arguments)


def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def _progress() -> Any:
    from sounding.view.terminal import progress

    return progress(_console())


def _show_run(console: Any, result: Any) -> None:
    from sounding.view.terminal import show

    console.print()
    if result.checkup is not None:
        show(console, result.checkup)
        at = ", ".join(map(str, result.examined[:5])) + (
            ", ..." if len(result.examined) > 5 else ""
        )
        console.print(
            f"{result.steps} optimiser steps seen, examined at step {at}; "
            f"examining took {result.overhead:.1%} of the time.",
            style="dim",
        )
    if result.note:
        console.print(f"sounding: {result.note}")


def _finish(result: Any, report: str | None, json_: str | None, force: bool, *, code: int) -> None:
    from sounding.view.terminal import show

    console = _console()
    show(console, result)
    _write(console, result, report, json_, force)
    sys.exit(code)


def _write(console: Any, result: Any, report: str | None, json_: str | None, force: bool) -> None:
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


def _reportable(result: Any) -> Any:
    """A saved Run is shown by its examination."""
    return getattr(result, "checkup", result) if type(result).__name__ == "Run" else result
