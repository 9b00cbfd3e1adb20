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
from typing import Any, NamedTuple

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


def user_line() -> str:
    """'file:line' of the innermost frame of the user's own code that is running, '' if none is."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((_OURS, _TORCH, *_PYTHON)):
            return f"{_shown(file)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def _constructs(frame: FrameType, module: nn.Module) -> bool:
    """Whether the frame is an ``__init__`` of `module` itself, which calls its base class."""
    if frame.f_code.co_name != "__init__" or not frame.f_code.co_varnames:
        return False
    return frame.f_locals.get(frame.f_code.co_varnames[0]) is module


# -- afterwards, from the source --------------------------------------------------------------


class _Place(NamedTuple):
    """The line of an expression, and those of the elements that it was written out with."""

    line: int
    elements: tuple[_Place, ...]

    def at(self, path: tuple[str, ...]) -> _Place:
        """The element at `path`, or the last one on the way to it that was written out."""
        place = self
        for part in path:
            if not part.isdigit() or int(part) >= len(place.elements):
                break
            place = place.elements[int(part)]
        return place


def _is_container(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)


@functools.lru_cache(maxsize=2048)
def _assigned(owner: type, path: tuple[str, ...]) -> str:
    """The line in a class of the user's that assigns ``self.<path[0]>``, or the element below."""
    for kind in owner.__mro__:
        file = _written_in(kind) if issubclass(kind, nn.Module) else ""
        if not file or file.startswith(_TORCH):
            continue
        place = _places(file).get((kind.__qualname__, path[0]))
        if place is not None:
            return f"{_shown(file)}:{place.at(path[1:]).line}"
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
        if value is model and (place := _places(file).get(("", name))) is not None:
            return f"{_shown(file)}:{place.at(path).line}"
    return ""


@functools.lru_cache(maxsize=64)
def _places(file: str) -> dict[tuple[str, str], _Place]:
    """(class, attribute) -> what is assigned to it; ('', name) for globals.

    Only places are kept, because a parsed file takes a hundred times its size.
    """
    found: dict[tuple[str, str], _Place] = {}

    def visit(node: ast.AST, prefix: str, owner: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner, inside = prefix, owner
            if isinstance(child, ast.ClassDef):
                inside = f"{prefix}{child.name}"
                inner = f"{inside}."
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = f"{prefix}{child.name}.<locals>."
            for attribute, value in _given(child, inside):
                found.setdefault((inside, attribute), _place(value))
            visit(child, inner, inside)

    try:
        visit(ast.parse("".join(linecache.getlines(file))), "", "")
    except (SyntaxError, ValueError):
        return {}
    return found


def _given(node: ast.AST, owner: str) -> Iterator[tuple[str, ast.expr]]:
    """The attributes (outside of classes the names) that a statement sets, and to what."""
    if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            for one in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(one, ast.Attribute) and owner:
                    yield one.attr, node.value
                elif isinstance(one, ast.Name) and not owner:
                    yield one.id, node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) > 1:
        name = node.args[0]
        if node.func.attr in ("add_module", "register_module") and isinstance(name, ast.Constant):
            yield str(name.value), node.args[1]


def _place(value: ast.expr) -> _Place:
    """Where an expression stands, with the elements of written-out Sequentials and module lists."""
    elements: list[ast.expr] = []
    if isinstance(value, ast.Call) and _called(value) in ("Sequential", "ModuleList"):
        elements = value.args
        if len(elements) == 1 and isinstance(elements[0], ast.List | ast.Tuple):
            elements = elements[0].elts
        unrolled = ast.Starred | ast.GeneratorExp | ast.ListComp
        if any(isinstance(element, unrolled) for element in elements):
            elements = []
    return _Place(value.lineno, tuple(_place(element) for element in elements))


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _shown(file: str) -> str:
    return _relative(file, str(Path.cwd()))


@functools.lru_cache(maxsize=256)
def _relative(file: str, folder: str) -> str:
    """The path as the user would type it: relative where it lies below the current folder."""
    try:
        return str(Path(file).resolve().relative_to(folder))
    except (ValueError, OSError):
        return file
