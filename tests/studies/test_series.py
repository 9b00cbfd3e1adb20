"""A series of studies: what fails, what is known, what the commands say."""

import dataclasses
import json

import pytest
from click.testing import CliRunner

from sounding import load
from sounding.cli import main
from sounding.store import Store
from sounding.studies import catalogue
from sounding.studies.claim import Claim, Studies
from sounding.studies.series import study_all
from sounding.verdict import every

RAN = []


def _quick(lab):
    RAN.append(lab.study)
    runs = lab.map(half, [{"seed": seed} for seed in range(3)])
    errors = [abs(run["half"] - 0.5) for run in runs]
    return (every(errors, below=1e-12, statement="half is a half"),), ()


def _broken(lab):
    raise RuntimeError("the sample is empty")


def half(seed):
    return {"half": 1 / 2}


@pytest.fixture(autouse=True)
def studies(monkeypatch):
    RAN.clear()
    claim = Claim(
        name="a-half", topic="activations", claim="Half is a half", source="Euclid", criterion="c",
        quick=_quick, full=_quick, how="By division.",
    )  # fmt: skip
    broken = dataclasses.replace(claim, name="broken", quick=_broken)
    known = {"a-half": claim, "broken": broken}
    for module in (catalogue, *_users()):
        monkeypatch.setattr(module, "STUDIES", known)


def _users():
    import sounding.studies as package
    from sounding.studies import series

    return package, series


def test_a_failing_study_does_not_end_the_series():
    told = []
    result = study_all(told=told.append)
    assert [one.name for one in result.studies] == ["a-half"]
    assert result.failures == {"broken": "RuntimeError: the sample is empty"}
    assert told[0].outcome == "supported"
    assert told[1] == "broken failed: RuntimeError: the sample is empty"
    assert Studies.from_dict(result.to_dict()).to_dict() == result.to_dict()


def test_what_the_store_knows_is_not_judged_again(tmp_path, monkeypatch):
    with Store(tmp_path / "s.sqlite") as store:
        first = study_all(["a-half"], store=store)
        again = study_all(["a-half"], store=store)
        assert RAN == ["a-half"]
        assert again.to_dict() == first.to_dict()
        study_all(["a-half"], store=store, again=True)
        assert len(RAN) == 2
        monkeypatch.setattr("sounding.studies.series.version_of", lambda name: "another")
        study_all(["a-half"], store=store)
        assert len(RAN) == 3
        assert len(store.keys("a-half")) == 3  # its runs were known all along


def test_the_commands_make_a_store_and_a_book_of_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(main, ["study", "all", "--jobs", "1", "--only", "half", "--json", "-"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["studies"][0]["name"] == "a-half"
    book = CliRunner().invoke(main, ["study", "book", "book.html", "--table", "t.md"])
    assert book.exit_code == 0, book.output
    assert "Half is a half" in (tmp_path / "book.html").read_text()
    assert (
        "| Half is a half. Euclid | `a-half` | ✓ supported | not run |"
        in (tmp_path / "t.md").read_text()
    )
    site = CliRunner().invoke(main, ["study", "book", "site"])
    assert site.exit_code == 0, site.output
    assert (tmp_path / "site" / "a-half.html").exists()
    merged = CliRunner().invoke(main, ["study", "merge", "all.sqlite", "studies.sqlite"])
    assert "studies.sqlite: 4 new" in merged.output


def test_a_failure_counts_and_stands_in_the_book(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(main, ["study", "all", "--jobs", "1", "--report", "book.html",
                                    "--json", "all.json"])  # fmt: skip
    assert run.exit_code == 1
    assert "the sample is empty" in (tmp_path / "book.html").read_text()
    assert load("all.json").failures


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "a-hafl"], "did you mean a-half"),
        (["all", "--only", "zzz"], "no study has 'zzz'"),
        (["book", "x.html"], "sounding study all --store studies.sqlite"),
        (["run", "a-half", "--engine", "rya"], "did you mean ray"),
        (["run", "a-half", "--jobs", "0"], "jobs is 0"),
        (["merge", "all.sqlite", "none.sqlite"], "there is no store none.sqlite"),
    ],
)
def test_wrong_use_is_one_sentence(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(main, ["study", *arguments])
    assert run.exit_code == 2
    assert said in run.output
    assert not list(tmp_path.iterdir())
