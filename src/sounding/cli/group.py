"""The command itself: wrong use of any kind is one sentence and exit code 2."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from sounding import __version__


class _Wrong(click.ClickException):
    """One sentence on standard error, exit code 2."""

    exit_code = 2


class _Commands(click.Group):
    """Wrong use of any kind is one sentence and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, TypeError, OSError) as error:
            if os.environ.get("SOUNDING_DEBUG"):
                raise
            raise _Wrong(_said(error)) from error
        except ImportError as error:
            if "sounding[" not in str(error):  # where an extra is missing, ours name it
                raise
            raise _Wrong(str(error)) from error


def _said(error: Exception) -> str:
    """Its sentence; the system's own about a missing file says where it was looked for."""
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"there is no file {error.filename} in {Path.cwd()}"
    return str(error)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sounding")
def main() -> None:
    """Say why a PyTorch network trains badly, repair it, and prove the repair.

    \b
    sounding run train.py --epochs 3     your script, unchanged: findings at the end
    sounding repair train.py             tries the remedies, proves the best one
    sounding explain SD303               what a finding means
    """  # noqa: D301 - click reads the character itself
