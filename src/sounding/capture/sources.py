"""Where in the user's code a module was made: 'train.py:18'."""

from __future__ import annotations

import ast
import contextlib
import functools
import linecache
import sys
import sysconfig
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, FunctionType
from typing import Any

import torch
from torch import nn

_lines: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()

_OURS = str(Path(__file__).parents[1]) + "/"
_TORCH = str(Path(torch.__file__).parent) + "/"
_PYTHON = (str(Path(sysconfig.get_path("stdlib"))) + "/", "<frozen")
_INSTALLED = ("/site-packages/", "/dist-packages/")


@contextlib.contextmanager
def remembered() -> Iterator[None]:
    """Modules constructed inside remember the user's line that constructed them."""
    original = nn.Module.__init__

    @functools.wraps(original)
    def init(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        with contextlib.suppress(Exception):  # a strange module is no reason to disturb its maker
            _lines[self] = _calling_line(self)

    nn.Module.__init__ = init
    try:
        yield
    finally:
        nn.Module.__init__ = original


def source_of(model: nn.Module, name: str) -> str:
    """'file:line' of the construction of the submodule `name`, '' where Python cannot tell.

    Exact for modules made under :func:`remembered`. For others the line that assigns the attribute,
    or the element of a container, read from the source of the parent's class; for the model itself
    the line of the main script that assigns it. Where a module has none (a layer inside one of
    torch's own blocks) its parent's line is the answer.
    """
    parts = name.split(".") if name else []
    chain = [model]
    for part in parts:
        child = chain[-1]._modules.get(part)
        chain.append(chain[-1] if child is None else child)
    for depth in range(len(parts), -1, -1):
        with contextlib.suppress(TypeError):  # a module that cannot be hashed
            if line := _lines.get(chain[depth], ""):
                return line
        for above in range(depth - 1, -1, -1):  # a container in a container has no class to ask
            if line := _assigned(type(chain[above]), tuple(parts[above:depth])):
                return line
            if not _is_container(chain[above]):
                break
    return _global_line(model, tuple(parts))


# -- while modules are made -------------------------------------------------------------------


def _calling_line(module: nn.Module) -> str:
    """The innermost frame of the user's own code that is not this module's ``__init__`` chain.

    Code of installed packages counts only where nothing else is there.
    """
    frame: FrameType | None = sys._getframe(2)
    installed = ""
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((_OURS, _TORCH, *_PYTHON)) and not _constructs(frame, module):
            if not any(folder in file for folder in _INSTALLED):
                return f"{_shown(file)}:{frame.f_lineno}"
            installed = installed or f"{_shown(file)}:{frame.f_lineno}"
        frame = frame.f_back
    return installed


def _constructs(frame: FrameType, module: nn.Module) -> bool:
    """Whether the frame is an ``__init__`` of `module` itself, which calls its base class."""
    if frame.f_code.co_name != "__init__" or not frame.f_code.co_varnames:
        return False
    return frame.f_locals.get(frame.f_code.co_varnames[0]) is module


# -- afterwards, from the source --------------------------------------------------------------


def _is_container(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)


@functools.lru_cache(maxsize=2048)
def _assigned(owner: type, path: tuple[str, ...]) -> str:
    """The line in a class of the user's that assigns ``self.<path[0]>``, or the element below."""
    for kind in owner.__mro__:
        file = _written_in(kind) if issubclass(kind, nn.Module) else ""
        if not file or file.startswith(_TORCH):
            continue
        definition = _classes(file).get(kind.__qualname__)
        for node in ast.walk(definition) if definition is not None else ():
            if (value := _value_for(node, path[0])) is not None:
                return f"{_shown(file)}:{_element(value, path[1:]).lineno}"
    return ""


def _written_in(kind: type) -> str:
    """The file, or the notebook's cell, that holds the methods of a class; '' if it has none."""
    methods = (value for value in vars(kind).values() if isinstance(value, FunctionType))
    return next((method.__code__.co_filename for method in methods), "")


def _global_line(model: nn.Module, path: tuple[str, ...]) -> str:
    """The line of the main script that assigns the model to a global name."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None) or ""
    for name, value in list(vars(main).items()) if main is not None and file else ():
        if value is not model:
            continue
        for node in getattr(_parsed(file), "body", ()):
            targets = node.targets if isinstance(node, ast.Assign) else ()
            if any(isinstance(t, ast.Name) and t.id == name for t in targets):
                return f"{_shown(file)}:{_element(node.value, path).lineno}"
    return ""


def _value_for(node: ast.AST, attribute: str) -> ast.expr | None:
    """What a statement gives to ``self.<attribute>``, directly or by ``add_module``."""
    if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            several = target.elts if isinstance(target, ast.Tuple) else [target]
            if any(isinstance(t, ast.Attribute) and t.attr == attribute for t in several):
                return node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        named = node.args and isinstance(node.args[0], ast.Constant)
        if named and node.func.attr in ("add_module", "register_module") and len(node.args) > 1:
            return node.args[1] if node.args[0].value == attribute else None  # type: ignore[attr-defined]
    return None


def _element(value: ast.expr, path: tuple[str, ...]) -> ast.expr:
    """The expression at `path` inside written-out Sequentials and lists of modules."""
    for part in path:
        if not isinstance(value, ast.Call) or not part.isdigit():
            break
        listed = len(value.args) == 1 and isinstance(value.args[0], ast.List | ast.Tuple)
        elements = value.args[0].elts if listed else value.args  # type: ignore[attr-defined]
        plain = not any(
            isinstance(e, ast.Starred | ast.GeneratorExp | ast.ListComp) for e in elements
        )
        if not plain or int(part) >= len(elements) or not _makes_container(value):
            break
        value = elements[int(part)]
    return value


def _makes_container(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name in ("Sequential", "ModuleList")


@functools.lru_cache(maxsize=64)
def _classes(file: str) -> dict[str, ast.ClassDef]:
    """The classes of a file by their qualified names, those inside functions too."""
    found: dict[str, ast.ClassDef] = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, ast.ClassDef):
                found[f"{prefix}{child.name}"] = child
                inner = f"{prefix}{child.name}."
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = f"{prefix}{child.name}.<locals>."
            visit(child, inner)

    if (tree := _parsed(file)) is not None:
        visit(tree, "")
    return found


@functools.lru_cache(maxsize=64)
def _parsed(file: str) -> ast.Module | None:
    try:
        return ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return None


def _shown(file: str) -> str:
    return _relative(file, str(Path.cwd()))


@functools.lru_cache(maxsize=256)
def _relative(file: str, folder: str) -> str:
    """The path as the user would type it: relative where it lies below the current folder."""
    try:
        return str(Path(file).resolve().relative_to(folder))
    except (ValueError, OSError):
        return file
