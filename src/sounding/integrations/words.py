"""Findings as a list in Markdown, for loggers that show text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def listed(found: Sequence[Mapping[str, Any]]) -> str:
    """One point a finding: severity, code, name and message.

    >>> print(listed([{"severity": "problem", "code": "SD1", "name": "n", "message": "m"}]))
    - **problem SD1 n**: m
    """
    points = (f"- **{f['severity']} {f['code']} {f['name']}**: {f['message']}" for f in found)
    return "\n".join(points) or "nothing found"
