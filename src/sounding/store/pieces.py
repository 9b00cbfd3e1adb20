"""A Python source as pieces: what each top-level name is made of, and which names it uses.

Nothing is run. Comments, docstrings, blank lines and line breaks are no part of a piece.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)
LOOSE = ""  # the name of all statements that bind none: they run whatever is imported
WHOLE = "*"  # the name of everything in a module

Imported = tuple[str, str]  # (module, name taken from it)
Use = tuple[str, str]  # (name, attribute taken from it); '' is the name itself


@dataclasses.dataclass(frozen=True)
class Piece:
    """The statements that bind one name."""

    digest: str
    uses: frozenset[Use]
    imports: frozenset[Imported]  # inside the statements


@dataclasses.dataclass(frozen=True)
class Source:
    """One file: its pieces, and its imports at the top, by the names that they bind."""

    pieces: dict[str, Piece]
    imports: dict[str, Imported]
    gathered: dict[str, Imported]  # those of an ``__init__``, whose names they are


def source(file: Path, package: str) -> Source:
    """The pieces of `file`, which lies in `package`; read again only when it has changed.

    Raises:
        OSError: If it cannot be read.
        SyntaxError: If it is no Python.
    """
    state = file.stat()
    return _source(file, package, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=4096)
def _source(file: Path, package: str, _changed: int, _size: int) -> Source:
    tree = ast.parse(file.read_bytes(), str(file))
    statements: dict[str, list[ast.stmt]] = {LOOSE: []}
    imports: dict[str, Imported] = {}
    gathers = file.name == "__init__.py"
    for statement in _top(tree, types=gathers):
        if isinstance(statement, IMPORTS) and WHOLE not in (a.name for a in statement.names):
            imports |= _bindings(statement, package)
            continue
        for name in _bound(statement):
            statements.setdefault(name, []).append(statement)
    pieces = {name: _piece(parts, package) for name, parts in statements.items()}
    return Source(pieces, imports, imports if gathers else {})


def _top(tree: ast.Module, *, types: bool) -> Iterator[ast.stmt]:
    """The statements of a file; those for type checkers only where `types` says so.

    They do nothing, but an ``__init__`` whose names are imported lazily lists them there.
    """
    for statement in _without_docstring(tree.body):
        if not (isinstance(statement, ast.If) and _is_type_checking(statement.test)):
            yield statement
        elif types:
            yield from statement.body


def _is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


def _bound(statement: ast.stmt) -> list[str]:
    """The names under which a statement is found."""
    if isinstance(statement, DEFINITIONS):
        return [LOOSE if _registers(statement) else statement.name]
    if isinstance(statement, ast.Assign):
        nodes = [node for target in statement.targets for node in ast.walk(target)]
        plain = all(isinstance(node, ast.Name | ast.Tuple | ast.expr_context) for node in nodes)
        return [node.id for node in nodes if isinstance(node, ast.Name)] if plain else [LOOSE]
    if isinstance(statement, ast.AnnAssign | ast.AugAssign):
        return [statement.target.id] if isinstance(statement.target, ast.Name) else [LOOSE]
    return [LOOSE]


def _registers(definition: ast.stmt) -> bool:
    """Whether a decorator, as ``@draw.register``, hands it to a function that will find it."""
    calls = (getattr(d, "func", d) for d in getattr(definition, "decorator_list", ()))
    return any(isinstance(call, ast.Attribute) and call.attr == "register" for call in calls)


def _piece(statements: Sequence[ast.stmt], package: str) -> Piece:
    uses: set[Use] = set()
    imports: set[Imported] = set()
    left: list[ast.AST] = list(statements)
    while left:
        node = left.pop()
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            uses.add((node.value.id, node.attr))
            continue  # or the name would count as used by itself
        if isinstance(node, ast.Name):
            uses.add((node.id, ""))
        elif isinstance(node, IMPORTS):
            imports |= set(_bindings(node, package).values())
        left += ast.iter_child_nodes(node)
    digest = hashlib.sha256(_text(list(statements)).encode()).hexdigest()
    return Piece(digest, frozenset(uses), frozenset(imports))


def _bindings(statement: ast.Import | ast.ImportFrom, package: str) -> dict[str, Imported]:
    """What an import binds to which names."""
    if isinstance(statement, ast.ImportFrom):
        module = statement.module or ""
        if statement.level:
            parents = package.split(".")
            module = ".".join(
                filter(None, (*parents[: len(parents) - statement.level + 1], module))
            )
        return {alias.asname or alias.name: (module, alias.name) for alias in statement.names}
    first = {alias.name: alias.name.partition(".")[0] for alias in statement.names}
    return {
        alias.asname or first[alias.name]: (
            alias.name if alias.asname else first[alias.name],
            WHOLE,
        )
        for alias in statement.names
    }


def _text(node: Any) -> str:
    """A syntax tree as text that is the same in all versions of Python that know its nodes."""
    if isinstance(node, list):
        return f"[{','.join(map(_text, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: getattr(node, name, None) for name in node._fields if name != "ctx"}
    if isinstance(node, DEFINITIONS):
        fields["body"] = _without_docstring(node.body)
    said = (f"{name}={_text(v)}" for name, v in fields.items() if v is not None and v != [])
    return f"{type(node).__name__}({','.join(said)})"


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0].value if body and isinstance(body[0], ast.Expr) else None
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        return body[1:]
    return body
