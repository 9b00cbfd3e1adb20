"""Where in the user's code a module was made: 'train.py:18'."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import os
import sys
import textwrap
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

_lines: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()
_INSIDE = (os.path.dirname(torch.__file__), os.path.dirname(os.path.dirname(__file__)))


@contextlib.contextmanager
def remembered() -> Iterator[None]:
    """Modules constructed inside remember the user's line that constructed them."""
    original = nn.Module.__init__

    @functools.wraps(original)
    def init(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        _lines[self] = _calling_line()

    nn.Module.__init__ = init
    try:
        yield
    finally:
        nn.Module.__init__ = original


def source_of(model: nn.Module, name: str) -> str:
    """'file:line' of the construction of the submodule `name`, '' where Python cannot tell.

    Exact for modules made under :func:`remembered`; else the line of the parent class that assigns
    the attribute, read from its source.
    """
    parts = name.split(".") if name else []
    module: nn.Module = model
    chain = [model]
    for part in parts:
        module = getattr(module, part, None) or dict(module.named_children()).get(part, module)
        chain.append(module)
    if module in _lines:
        return _lines[module]
    for depth in range(len(parts), 0, -1):
        line = _assignment_line(type(chain[depth - 1]), parts[depth - 1])
        if line:
            return line
    return ""


def _calling_line() -> str:
    """The innermost frame of the user's code that is no module's own ``__init__`` chain."""
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        inside = file.startswith(_INSIDE) or file.startswith("<frozen")
        own = frame.f_code.co_name == "__init__" and _is_super_call(frame)
        if not inside and not own:
            return f"{_shown(file)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def _is_super_call(frame: Any) -> bool:
    """Whether this ``__init__`` is the constructed module's own, calling its base class."""
    first = next(iter(frame.f_code.co_varnames), "")
    owner = frame.f_locals.get(first)
    return isinstance(owner, nn.Module) and owner not in _lines


@functools.lru_cache(maxsize=512)
def _assignment_line(owner: type, attribute: str) -> str:
    if owner.__module__.startswith("torch."):
        return ""
    try:
        file = inspect.getsourcefile(owner) or ""
        lines, start = inspect.getsourcelines(owner)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return ""
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else []
        for target in targets:
            if isinstance(target, ast.Attribute) and target.attr == attribute:
                return f"{_shown(file)}:{start + node.lineno - 1}"
    return ""


def _shown(file: str) -> str:
    """The path as the user would type it: relative where it lies below the current folder."""
    try:
        return str(Path(file).resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return file
