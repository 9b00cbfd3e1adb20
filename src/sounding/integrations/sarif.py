"""Findings in SARIF 2.1.0, the OASIS format that code hosts and editors read.

"Static Analysis Results Interchange Format (SARIF) Version 2.1.0", OASIS Standard, 27 March 2020.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from sounding import __version__
from sounding.exam import Checkup
from sounding.integrations.github import said
from sounding.integrations.places import place
from sounding.rules import Finding
from sounding.rules.pages import explain

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS = {"problem": "error", "caution": "warning"}
LAYERS = 20  # of a finding that are named
ROOT = "%SRCROOT%"  # what relative addresses start from: the repository

Json = dict[str, Any]


def sarif(checkup: Checkup, target: str = "") -> Json:
    """The document: one run, one result a finding, and the page of every rule that spoke.

    Args:
        checkup: What was found.
        target: The file examined, for findings that know no line of their own.
    """
    codes = list(dict.fromkeys(finding.code for finding in checkup.findings))
    names = {finding.code: finding.name for finding in checkup.findings}
    driver = {
        "name": "Sounding",
        "semanticVersion": __version__,
        "rules": [_rule(code, names[code]) for code in codes],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": True}],
        "results": [_result(f, codes.index(f.code), target) for f in checkup.findings],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(code: str, name: str) -> Json:
    """A reportingDescriptor (3.49); a rule of the user's own has no page."""
    found: Json = {"id": code, "name": name, "shortDescription": {"text": name.replace("-", " ")}}
    try:
        page = explain(code)
    except ValueError:
        return found
    measures = re.search(r"## What it measures\n+(.+?)\n\n", page, re.DOTALL)
    if measures is not None:
        found["fullDescription"] = {"text": " ".join(measures[1].split())}
    return found | {"help": {"text": page, "markdown": page}}


def _result(finding: Finding, rule: int, target: str) -> Json:
    """A result (3.27)."""
    location: Json = {}
    where = place(finding, target)
    if where is not None:
        location["physicalLocation"] = {
            "artifactLocation": _address(where.path),
            "region": {"startLine": where.line},
        }
    if finding.layers:
        location["logicalLocations"] = [
            {"fullyQualifiedName": layer, "kind": "module"} for layer in finding.layers[:LAYERS]
        ]
    return {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": LEVELS[finding.severity],
        "kind": "fail",
        "message": {"text": said(finding)},
        "locations": [location] if location else [],
        "partialFingerprints": {"layers/v1": _fingerprint(finding.code, finding.layers)},
        "properties": {
            "confidence": finding.confidence,
            "remedies": [str(remedy) for remedy in finding.remedies],
            "because": finding.because,
        },
    }


def _address(path: str) -> Json:
    """An artifactLocation (3.4); a path outside of the repository is absolute."""
    if path.startswith("/"):
        return {"uri": "file://" + quote(path)}
    return {"uri": quote(path), "uriBaseId": ROOT}


def _fingerprint(code: str, layers: Iterable[str]) -> str:
    """Stays the same when lines move, so that a finding that is known is no new alert."""
    return hashlib.sha256("\n".join([code, *layers]).encode()).hexdigest()[:32]
