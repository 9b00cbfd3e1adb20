"""Findings as annotations of GitHub Actions: lines that the runner shows beside the code."""

from __future__ import annotations

from sounding.exam import Checkup
from sounding.integrations.places import place
from sounding.rules import Finding

LEVELS = {"problem": "error", "caution": "warning"}


def github(checkup: Checkup, target: str = "") -> str:
    """One workflow command a finding, each on a line of its own; '' where nothing was found.

    The form is that of docs.github.com, "Workflow commands for GitHub Actions", where percent
    signs, line ends, and in properties commas and colons are escaped.

    Args:
        checkup: What was found.
        target: The file examined, for findings that know no line of their own.
    """
    return "".join(_command(finding, target) + "\n" for finding in checkup.findings)


def _command(finding: Finding, target: str) -> str:
    properties = {}
    where = place(finding, target)
    if where is not None:
        properties = {"file": where.path, "line": str(where.line)}
    properties["title"] = f"{finding.code} {finding.name}"
    given = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{LEVELS[finding.severity]} {given}::{_data(said(finding))}"


def said(finding: Finding) -> str:
    """The message, and what to try first."""
    remedy = f"; try {finding.remedies[0]}" if finding.remedies else ""
    return finding.message + remedy


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
