"""Tell a case file from a plain script, and load the case."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path
from typing import Any

from sounding.capture.sources import remembered
from sounding.train import Case, Recipe


def is_case_file(path: str) -> bool:
    """Whether the file assigns a `case` at its top level and imports sounding; it is not run."""
    try:
        tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return False
    names = [
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    ]
    return "case" in names and any("sounding" in ast.unparse(n) for n in tree.body if _imports(n))


def load_case(path: str) -> Case:
    """The `case` of a Python file, which is run for it.

    Modules made by its `build` remember their source lines.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it defines no `case`, or one of another type; says what to write.
    """
    return _case_in(_names_in(path), path)


def load_case_and_arms(path: str) -> tuple[Case, dict[str, Recipe]]:
    """The `case` of a Python file, and its `arms`: recipes by name, none where it defines none.

    Raises:
        ValueError: As `load_case`, or if `arms` is anything else.
    """
    names = _names_in(path)
    arms = names.get("arms", {})
    if not isinstance(arms, dict) or not all(isinstance(r, Recipe) for r in arms.values()):
        raise ValueError(f"`arms` in {path} must be a dict of sounding.Recipe by name")
    return _case_in(names, path), arms


def _names_in(path: str) -> dict[str, Any]:
    """What the file defines when it is run."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path} in {Path.cwd()}")
    folder = str(Path(path).resolve().parent)
    sys.path.insert(0, folder)
    try:
        with remembered():
            return runpy.run_path(path, run_name="__sounding_case__")
    finally:
        sys.path.remove(folder)


def _case_in(names: dict[str, Any], path: str) -> Case:
    if "case" not in names:
        raise ValueError(
            f"{path} defines no `case`; write case = sounding.Case(build, loss, batches, "
            "sounding.Recipe(...)), or use `sounding run` for a plain script"
        )
    if not isinstance(names["case"], Case):
        kind = type(names["case"]).__name__
        raise ValueError(f"`case` in {path} is a {kind}; it must be a sounding.Case")
    case = names["case"]
    return case.replace(build=_remembering(case), name=case.name or Path(path).name)


def _remembering(case: Case):
    build = case.build

    def built():
        with remembered():
            return build()

    return built


def _imports(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)
