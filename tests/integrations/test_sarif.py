"""SARIF and annotations: what the standard and GitHub ask for, checked without their tools.

The structure is that of "SARIF Version 2.1.0" (OASIS Standard, 2020), whose sections are named;
`test_hosts.py` checks it again with classes that were generated from the official schema.
"""

import json
import re
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import pytest

import sounding
from sounding.exam import Checkup
from sounding.integrations.github import github
from sounding.integrations.sarif import sarif
from sounding.remedies import Remedy
from sounding.rules import Finding

CASE = """
import torch
from torch import nn
import sounding

torch.manual_seed(0)
x, y = torch.randn(64, 16), torch.randint(0, 4, (64,))


def build():
    layers = [m for _ in range(20) for m in (nn.Linear(16, 16), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(16, 4))


case = sounding.Case(
    build, nn.functional.cross_entropy, (x, y), sounding.Recipe(lr=0.1, steps=20)
)
"""


KAIMING = Remedy(name="reinitialise", arguments={"scheme": "kaiming"}, touches="weights")


def finding(**changes):
    given = {
        "code": "SD303", "name": "initialisation-mismatch", "severity": "problem",
        "message": "100% wrong: a, b\nand c", "layers": ("net.0", "net.2"), "source": "net.py:7",
        "measured": {}, "expected": {}, "confidence": "theory",
        "remedies": (KAIMING,),
    }  # fmt: skip
    return Finding(**given | changes)


def checkup(*findings):
    return Checkup(findings=findings, outcomes=(), readings=None, seconds=0.0)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A folder below the root of a repository."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "some folder").mkdir()
    monkeypatch.chdir(tmp_path / "some folder")
    return tmp_path


def check(document):
    """Section by section; every property that is there is one that the standard knows."""
    assert document["version"] == "2.1.0"  # 3.13.2
    assert re.match(r"https://.+sarif.*2\.1\.0.*json$", document["$schema"])  # 3.13.3
    (run,) = document["runs"]
    assert set(run) <= {"tool", "results", "invocations", "columnKind"}
    assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")  # 3.14.17
    assert [i["executionSuccessful"] for i in run["invocations"]] == [True]  # 3.20.14, required
    driver = run["tool"]["driver"]  # 3.18.2
    assert driver["name"]  # 3.19.8, required
    assert re.fullmatch(r"\d+\.\d+\.\d+", driver["semanticVersion"])  # 3.19.11
    rules = driver["rules"]  # 3.19.23
    assert len({rule["id"] for rule in rules}) == len(rules)
    for rule in rules:
        assert set(rule) <= {"id", "name", "shortDescription", "fullDescription", "help"}  # 3.49
        assert rule["shortDescription"]["text"]
        if "help" in rule:
            assert set(rule["help"]) == {"text", "markdown"}  # 3.12
    for result in run["results"]:
        check_result(result, rules)


def check_result(result, rules):
    assert set(result) <= {
        "ruleId", "ruleIndex", "level", "kind", "message", "locations", "partialFingerprints",
        "properties",
    }  # fmt: skip
    assert rules[result["ruleIndex"]]["id"] == result["ruleId"]  # 3.27.5, 3.27.6
    assert result["kind"] == "fail"  # 3.27.9, as a level other than none requires
    assert result["level"] in ("none", "note", "warning", "error")  # 3.27.10
    assert result["message"]["text"]  # 3.27.11, 3.11: required
    assert all(isinstance(v, str) for v in result["partialFingerprints"].values())  # 3.27.17
    for location in result["locations"]:  # 3.28
        assert set(location) <= {"physicalLocation", "logicalLocations"}
        if "physicalLocation" in location:
            physical = location["physicalLocation"]  # 3.29
            assert physical["region"]["startLine"] >= 1  # 3.30.5
            uri = physical["artifactLocation"]["uri"]  # 3.4.3: a valid URI reference
            assert re.fullmatch(r"[\w.~/%:-]+", uri, re.ASCII)


def test_a_finding_becomes_a_result_with_its_line_level_and_rule(repository):
    first, second = finding(), finding(code="SD203", name="dead-units", severity="caution")
    document = sarif(checkup(first, second, finding(source="net.py:9", layers=("net.4",))))
    check(document)
    (run,) = document["runs"]
    assert [r["level"] for r in run["results"]] == ["error", "warning", "error"]
    assert [r["ruleIndex"] for r in run["results"]] == [0, 1, 0]
    location = run["results"][0]["locations"][0]
    address = location["physicalLocation"]["artifactLocation"]
    assert address == {"uri": "some%20folder/net.py", "uriBaseId": "%SRCROOT%"}
    assert location["physicalLocation"]["region"] == {"startLine": 7}
    assert [one["fullyQualifiedName"] for one in location["logicalLocations"]] == ["net.0", "net.2"]
    assert "reinitialise(scheme='kaiming')" in run["results"][0]["message"]["text"]
    page = run["tool"]["driver"]["rules"][0]
    assert page["help"]["markdown"] == sounding.explain("SD303")
    assert page["fullDescription"]["text"].startswith("The variance of each layer's weights")


def test_a_fingerprint_outlives_a_move_of_lines_and_tells_layers_apart(repository):
    known, moved, other = (
        sarif(checkup(one))["runs"][0]["results"][0]["partialFingerprints"]["layers/v1"]
        for one in (finding(), finding(source="net.py:70"), finding(layers=("net.4",)))
    )
    assert known == moved != other


def test_without_a_line_the_file_examined_is_named_and_a_cell_is_no_file(repository):
    for source in ("", "<ipython-input-3>:4", "<stdin>:1"):
        exam = checkup(finding(source=source))
        (location,) = sarif(exam, "case.py")["runs"][0]["results"][0]["locations"]
        place = location["physicalLocation"]
        assert unquote(place["artifactLocation"]["uri"]) == "some folder/case.py"
        assert place["region"] == {"startLine": 1}
        (location,) = sarif(exam)["runs"][0]["results"][0]["locations"]
        assert list(location) == ["logicalLocations"]
        assert github(exam).startswith("::error title=SD303")


def test_a_file_outside_of_the_repository_is_named_in_full(repository):
    document = sarif(checkup(finding(source="/opt/other nets/net.py:3")))
    check(document)
    (location,) = document["runs"][0]["results"][0]["locations"]
    address = location["physicalLocation"]["artifactLocation"]
    assert address == {"uri": "file:///opt/other%20nets/net.py"}


def test_a_rule_of_the_users_own_needs_no_page_and_nothing_found_is_a_document(repository):
    document = sarif(checkup(finding(code="MY1", name="my-rule", layers=(), source="")))
    check(document)
    assert document["runs"][0]["results"][0]["locations"] == []
    check(sarif(checkup()))
    assert sarif(checkup())["runs"][0]["results"] == []
    assert github(checkup()) == ""


def test_annotations_escape_what_would_end_them(repository):
    text = github(checkup(finding(), finding(severity="caution", source="a,b:c.py:3")))
    first, second = text.splitlines()
    assert first == (
        "::error file=some folder/net.py,line=7,title=SD303 initialisation-mismatch::"
        "100%25 wrong: a, b%0Aand c; try reinitialise(scheme='kaiming')"
    )
    assert second.startswith("::warning file=some folder/a%2Cb%3Ac.py,line=3,")


# --- the command line --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("project")
    (path / ".git").mkdir()
    (path / "case.py").write_text(CASE)
    return path


@pytest.fixture
def call(python, folder):
    return partial(python.run, "-m", "sounding", cwd=folder)


def test_checkup_writes_sarif_and_sets_the_code(folder, call):
    done = call("checkup", "--format", "sarif", "--output", "out.sarif", "case.py")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Wrote out.sarif" in done.stderr
    document = json.loads((folder / "out.sarif").read_text())
    check(document)
    first = document["runs"][0]["results"][0]
    assert first["ruleId"] == "SD303"
    place = first["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "case.py"
    line = (folder / "case.py").read_text().splitlines()[place["region"]["startLine"] - 1]
    assert "nn.Linear(16, 16)" in line
    again = call("checkup", "--format", "sarif", "--output", "out.sarif", "case.py")
    assert again.returncode == 2
    assert "out.sarif exists" in again.stderr


def test_a_run_annotates_behind_the_scripts_own_output(folder, call):
    script = CASE + (
        "\nmodel = build()\noptimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "for _ in range(20):\n    optimizer.zero_grad()\n"
        "    nn.functional.cross_entropy(model(x), y).backward()\n    optimizer.step()\n"
        "print('the script is done')\n"
    )
    (folder / "train.py").write_text(script)
    done = call("run", "--check", "--no-tests", "--format", "github", "train.py")
    own, first, *_ = done.stdout.splitlines()
    assert (done.returncode, own) == (1, "the script is done")
    assert first.startswith("::error file=train.py,line=11,title=SD303 initialisation-mismatch::")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "sarif", "--json", "-"], "both write to stdout"),
        (["--output", "x"], "--output is for --format github and sarif"),
        (["--format", "junit"], "'junit' is not one of 'text', 'github', 'sarif'"),
        (["--format", "sarif", "--output", "no/x"], "there is no folder"),
    ],
)
def test_wrong_use_is_one_sentence(folder, arguments, said):
    from click.testing import CliRunner

    from sounding.cli import main

    result = CliRunner().invoke(main, ["checkup", *arguments, str(Path(folder) / "case.py")])
    assert result.exit_code == 2
    assert said in result.output
