"""The commands that find a fault, repair it, and prove the repair."""

from __future__ import annotations

import ast
import sys
from typing import Any

import click

from sounding.cli.group import main
from sounding.cli.outputs import (
    check_format,
    check_outputs,
    finish,
    format_options,
    make_console,
    own,
    processes,
    progress_bar,
    report_options,
    write_files,
    write_format,
)

SCRIPT = {"ignore_unknown_options": True, "allow_interspersed_args": False}
PASSED_ON = {"nargs": -1, "required": True, "type": click.UNPROCESSED}


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


@main.command(context_settings=SCRIPT)
@report_options
@format_options
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
    form: str,
    output: str | None,
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
    report, json_, output = map(own, (report, json_, output))
    check_outputs(report, json_, force)
    check_outputs(own(record), None, force)
    check_format(form, output, json_, force)
    from sounding.run import observe, seen
    from sounding.script.execute import leave_as, script_file

    console = make_console()
    observer, error = observe(target, budget=overhead, every=every, record=record, overwrite=force)
    sys.stdout.flush()
    tests = tests and not isinstance(error, KeyboardInterrupt)
    with progress_bar() as progress:
        result = seen(observer, " ".join(target), tests=tests, progress=progress)
    _show_run(console, result)
    if record:
        what = "all processes" if processes()[1] > 1 else "it"
        console.print(f"Wrote {own(record)}; look at {what} with: sounding live {record}")
    write_files(console, result.checkup, report, json_, force)
    write_format(console, result.checkup, form, output, script_file(target), force)
    code = leave_as(error)
    if code == 0 and check and result.problems:
        code = 1
    sys.exit(code)


@main.command()
@report_options
@format_options
@click.option("--deep", is_flag=True, help="Train the case and examine its training.")
@click.option("--steps", type=int, help="Of --deep: optimiser steps (default: the recipe's).")
@click.option("--ignore", metavar="CODES", default="", help="Rules to leave out: SD203,SD204.")
@click.argument("case_file", metavar="CASE.py")
def checkup(
    report: str | None,
    json_: str | None,
    force: bool,
    form: str,
    output: str | None,
    deep: bool,
    steps: int | None,
    ignore: str,
    case_file: str,
) -> None:
    """Examine the `case` of a Python file on one batch, or with --deep over its training.

    Example: sounding checkup --deep case.py
    """
    check_outputs(report, json_, force)
    check_format(form, output, json_, force)
    from sounding.checkup import checkup as examine
    from sounding.script.casefile import load_case
    from sounding.train.recipe import check_count

    if steps is not None:
        check_count("--steps", steps, 1)
        deep = True
    codes = tuple(code.strip().upper() for code in ignore.split(",") if code.strip())
    case = load_case(case_file)
    with progress_bar() as progress:
        exam = examine(case, deep=deep, steps=steps, ignore=codes, progress=progress)
    write_format(make_console(), exam, form, output, case_file, force)
    finish(exam, report, json_, force, code=1 if exam.problems else 0)


@main.command(context_settings=SCRIPT)
@report_options
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
    check_outputs(report, json_, force)
    from sounding.script.procedures import repair_target

    with progress_bar() as progress:
        result = repair_target(target, seeds=seeds, steps=steps, jobs=jobs, progress=progress)
    solved = bool(result.kept) or not result.checkup.problems
    finish(result, report, json_, force, code=0 if solved else 1)


@main.command(context_settings=SCRIPT)
@report_options
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
    check_outputs(report, json_, force)
    parsed = _parse_remedy(remedy)
    from sounding.script.procedures import prove_target

    with progress_bar() as progress:
        proof = prove_target(parsed, target, seeds=seeds, steps=steps, jobs=jobs, progress=progress)
    finish(proof, report, json_, force, code=0 if proof.verdict.outcome == "supported" else 1)


@main.command()
@report_options
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
    check_outputs(report, json_, force)
    from sounding.script.procedures import compare_target

    names = [name.strip() for name in arms.split(",") if name.strip()]
    with progress_bar() as progress:
        result = compare_target(
            case_file,
            names,
            trials=trials,
            seeds=seeds,
            steps=steps,
            metric=metric,
            progress=progress,
        )
    finish(result, report, json_, force, code=0)


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


def _show_run(console: Any, result: Any) -> None:
    from sounding.view.terminal import show
    from sounding.view.wording import headline

    number, count = processes()
    whose = f"process {number} of {count}" if count > 1 else ""
    if number and result.checkup is not None and not result.checkup.findings:
        console.print(f"{whose}: {headline(result.checkup)}")
        return
    console.print(whose)
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
