"""The documentation is true: its code runs, its commands exist, each rule and study has a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from sounding.cli import main
from sounding.rules import RULES
from sounding.rules.pages import explain

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("docs/**/*.md"), ROOT / "README.md"])


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize(
    "page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: str(p.relative_to(ROOT))
)
def test_python_on_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page are one program, run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join(blocks(page, "python")), str(page), "exec"), {"__name__": "docs"})


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_on_a_page_exist(page: Path) -> None:
    for line in re.findall(r"^\$? ?sounding ([a-z]+)", page.read_text(encoding="utf-8"), re.M):
        assert line in main.commands, f"{page.name} names `sounding {line}`"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_every_rule_has_its_page(rule) -> None:
    page = explain(rule.code)
    assert page.startswith(f"# {rule.code} {rule.name}\n")
    assert explain(rule.name) == page
    assert CliRunner().invoke(main, ["explain", rule.code]).output.strip() == page.strip()


def test_every_study_stands_in_the_table_of_verdicts() -> None:
    from sounding.studies import STUDIES

    table = (ROOT / "docs" / "studies" / "README.md").read_text(encoding="utf-8")
    assert len(STUDIES) > 30
    for name, claim in STUDIES.items():
        assert f"| `{name}` |" in table
        assert claim.claim.split("|")[0] in table


def test_the_glossary_has_the_words_of_the_results() -> None:
    words = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    for word in ("checkup", "finding", "remedy", "proof", "repair", "verdict", "study", "spread"):
        assert f"**{word}" in words or f", {word}" in words
