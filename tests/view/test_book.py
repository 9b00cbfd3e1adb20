"""The book: what a reader finds for each claim, and that its pages hold together."""

import dataclasses
import re

import pytest

from sounding.verdict import untested
from sounding.view.book import markdown, one_page, site, write_book


@pytest.fixture
def studies(examples):
    quick = examples.study()
    missing = untested(
        quick.claim, unit="accuracy", criterion=quick.criterion, note="a CUDA device is needed"
    )
    full = dataclasses.replace(quick, scale="full", verdicts=(missing,), charts=())
    other = dataclasses.replace(
        quick,
        name="other-2021",
        topic="normalisation",
        claim="A <b>net</b> learns | so",
        seconds=180.0,
    )
    return [quick, full, other]


def test_every_claim_has_its_row_with_both_scales_side_by_side(studies):
    index = site(studies)["index.html"]
    rows = re.findall(r"<tr>\s*<th scope=\"row\">.*?</tr>", index, re.S)
    assert len(rows) == 2
    first = re.sub(r"<[^>]+>", " ", rows[0])
    assert re.search(r"supported\s+–\s+not tested\s+0.87 \[0.84, 0.90\] accuracy\s+62 s", first)
    assert "not run" in rows[1]
    assert "3 min" in rows[1]
    assert "2 claims. At the quick scale: 2 supported. At the full scale: 1 not tested." in index


def test_links_of_the_site_lead_to_its_pages(studies):
    pages = site(studies)
    for text in pages.values():
        for link in re.findall(r'<a href="([^"#]+)"', text):
            assert link in pages


def test_one_page_holds_all_of_it_and_its_links_lead_inside(studies):
    text = one_page(studies)
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    for link in re.findall(r'<a href="#([^"]+)"', text):
        assert link in ids
    assert "a CUDA device is needed" in text
    assert "sounding study run he-2015-depth --scale full" in text


def test_text_of_a_claim_is_text(studies):
    assert "A <b>net</b>" not in one_page(studies)
    assert "A &lt;b&gt;net&lt;/b&gt; learns" in one_page(studies)


def test_the_table_for_docs_has_as_many_cells_in_every_row(studies):
    rows = [line for line in markdown(studies).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}
    assert "| ✓ supported | – not tested |" in markdown(studies)


def test_nothing_is_overwritten_unasked(studies, tmp_path):
    index = write_book(studies, tmp_path / "book")
    assert index.name == "index.html"
    with pytest.raises(FileExistsError, match=r"index\.html exists"):
        write_book(studies, tmp_path / "book")
    write_book(studies, tmp_path / "book", overwrite=True)


def test_an_empty_book_says_how_to_begin():
    with pytest.raises(ValueError, match="sounding study all"):
        one_page([])
