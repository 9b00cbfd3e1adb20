"""What holds for every rule: a page with every heading, a place in the index, one way to be added.

A rule without a page, or one that takes the others down when it fails, would pass all else.
"""

import dataclasses
import re
from pathlib import Path

import pytest
from torch import nn

from sounding.remedies import REMEDIES
from sounding.result import NotApplicable
from sounding.rules import RULES, Finding, Rule
from sounding.rules.pages import HERE
from sounding.zoo import SICK
from sounding.zoo.nets import mlp
from sounding.zoo.programs import PROGRAMS

INDEX = Path(__file__).parents[2] / "docs" / "rules" / "README.md"
HEADINGS = (
    "What it measures",
    "Why it matters",
    "When it is wrong",
    "Example",
    "Remedies",
    "Source",
    "How often it fires on healthy nets",
)
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)


def page(rule):
    return (Path(HERE) / f"{rule.code}.md").read_text(encoding="utf-8")


def test_codes_are_unique_and_in_order():
    codes = [rule.code for rule in RULES]
    assert codes == sorted(set(codes))


@each_rule
def test_page_has_every_heading_in_order(rule):
    text = page(rule)
    assert text.startswith(f"# {rule.code} {rule.name}\n")
    assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == HEADINGS


@each_rule
def test_rates_are_generated_not_typed(rule):
    rates = re.search(r"<!-- rates -->\n(.+)\n<!-- /rates -->", page(rule), re.DOTALL)[1]
    assert re.search(r"On healthy (nets|trainings) of the zoo: \d+ of \d+, ", rates)


@each_rule
def test_page_names_only_remedies_that_exist(rule):
    named = re.findall(r"^- `(\w+)\(", page(rule), re.MULTILINE)
    assert set(named) <= set(REMEDIES)


@each_rule
def test_example_on_the_page_runs(rule):
    code = re.search(r"```python\n(.*?)```", page(rule), re.DOTALL)[1]
    assert rule.code in code
    exec(compile(code, rule.code, "exec"), {})


@each_rule
def test_index_has_the_rule(rule):
    line = next(one for one in INDEX.read_text().splitlines() if one.startswith(f"| [{rule.code}]"))
    assert rule.name in line
    assert f"rules/pages/{rule.code}.md" in line


def test_the_zoo_knows_its_rules():
    expected = {code for entry in (*SICK, *PROGRAMS) for code in entry.expected}
    assert expected <= {rule.code for rule in RULES}


@each_rule
def test_check_says_what_it_found_under_its_own_code(rule, examine):
    for found in examine(mlp(64, *[64] * 20, 10)).findings:
        if found.code == rule.code:
            assert found.name == rule.name


def test_a_rule_of_ones_own_in_ten_lines(examine):
    def wide_layer(readings):
        """A layer is wider than 100 units."""
        wide = [c for c in readings.path_calls() if c.units > 100]
        if not wide:
            return None
        return Finding(
            code="MY001", name="wide-layer", severity="caution", message=f"{wide[0].units} units",
            layers=(wide[0].name,), source=wide[0].source, measured={"units": wide[0].units},
            expected={"units": 100.0}, confidence="exact",
        )  # fmt: skip

    mine = Rule("MY001", "wide-layer", wide_layer)
    found = examine(mlp(64, 128, 10), rules=(*RULES, mine)).findings
    assert [(f.code, f.message) for f in found] == [("MY001", "128 units")]
    assert examine(mlp(64, 64, 10), rules=(*RULES, mine)).findings == ()


def test_a_rule_that_fails_is_a_row_and_no_crash(examine):
    def broken(readings):
        raise ZeroDivisionError("oh")

    def unfit(readings):
        raise NotApplicable("no moon")

    def unsure(readings):
        return "suspected, but refuted"

    mine = (Rule("MY1", "a", broken), Rule("MY2", "b", unfit), Rule("MY3", "c", unsure))
    exam = examine(mlp(64, *[64] * 20, 10), rules=(*RULES, *mine))
    rows = {o.code: (o.outcome, o.reason) for o in exam.outcomes}
    assert rows["MY1"] == ("skipped", "the rule itself failed: ZeroDivisionError: oh")
    assert rows["MY2"] == ("not applicable", "no moon")
    assert rows["MY3"] == ("passed", "suspected, but refuted")
    assert exam.findings[0].code == "SD303"


def test_every_rule_has_an_outcome_and_ignored_ones_say_so(examine):
    exam = examine(mlp(64, *[64] * 20, 10), ignore=("SD303",))
    assert [o.code for o in exam.outcomes] == [rule.code for rule in RULES]
    assert {o.outcome for o in exam.outcomes if o.code == "SD303"} == {"ignored"}
    assert exam.findings[0].code == "SD201"
    with pytest.raises(ValueError, match="no rule is called SD999"):
        examine(mlp(64, 10), ignore=("SD999",))


def test_findings_carry_numbers_and_applicable_remedies(examine):
    for net in (mlp(64, *[64] * 20, 10), mlp(64, *[64] * 9, 10, activation=nn.Sigmoid)):
        for found in examine(net).findings:
            assert found.measured
            assert set(found.measured) & set(found.expected)
            assert {remedy.name for remedy in found.remedies} <= set(REMEDIES)
            assert dataclasses.is_dataclass(found)
