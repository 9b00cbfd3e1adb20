"""The live page of several processes: files that come late, lag, are cut, or hold hostile names.

The oracle is what was written for each process. No other test sees a page that shows one process's
numbers under another one's name.
"""

import dataclasses
import http.client
import json
import signal
import urllib.parse

import numpy as np
import pytest

import sounding
from sounding.rules import Finding
from sounding.view.live_data import Cursor
from sounding.view.live_ranks import Stories
from sounding.watch.file import Writer, encoded
from sounding.watch.ranks import counted, file_of
from sounding.watch.reader import Reader

HOSTILE = '<img src=x onerror="document.title=1">\u202e</script>'


def entries(rank, steps=40, subject="train.py"):
    yield {
        "kind": "run", "version": 1, "subject": subject, "started": "2026", "rank": rank,
        "ranks": 3,
    }  # fmt: skip
    yield {
        "kind": "training", "training": 0, "model": f"Net{HOSTILE}", "optimiser": "Adam",
        "eps": 1e-8, "parallel": "DistributedDataParallel", "weights": "1.0",
    }  # fmt: skip
    yield {"kind": "layers", "training": 0, "number": 0, "layers": [HOSTILE], "parameters": []}
    yield block(0, steps, 1.0 + rank)
    yield {
        "kind": "depth", "training": 0, "step": 0, "layers": 0, "lr": 0.1, "signal": [10.0**rank],
        "gradient": [1.0],
    }  # fmt: skip


def block(at, count, loss):
    values = np.full(count, loss)
    return {
        "kind": "steps", "training": 0, "at": at, "loss": values, "gradient_norm": values,
        "seconds": 0.5, "waited": 0.125,
    }  # fmt: skip


def found(code, severity="caution"):
    return Finding(
        code=code, name=code.lower(), severity=severity, message=f"{code} {HOSTILE}", layers=(),
        source="", measured={}, expected={}, confidence="exact",
    )  # fmt: skip


def said(*codes):
    parts = [
        {"code": code, "name": HOSTILE, "severity": "caution", "message": HOSTILE} for code in codes
    ]
    return {"kind": "findings", "step": 7, "found": parts}


@pytest.fixture
def checkup(examples):
    """The last entry of a process that found this."""
    plain = examples.healthy(depth=3)

    def made(*findings):
        exam = dataclasses.replace(plain, findings=findings)
        return {"kind": "checkup", "checkup": exam.to_dict()}

    return made


@pytest.fixture
def write(tmp_path):
    """Write entries for a process into its file, and go on writing."""
    writers = {}

    def writes(rank, *given):
        path = file_of(tmp_path / "run.sounding", rank)
        writers.setdefault(rank, Writer(path) if rank not in writers else None)
        for entry in given:
            writers[rank].add(entry)
        return path

    yield writes
    for writer in writers.values():
        writer.close()


@pytest.fixture
def stories(write):
    with Reader(write(0, *entries(0))) as reader:
        made = Stories(reader)
        yield made
        made.close()


def told(stories, rank=0):
    stories.look()
    stories.refresh()
    return stories.since(Cursor(rank=rank))


def losses(news):
    return [one["value"].tolist() for one in news["ranks"]["losses"][0]]


def test_a_file_may_come_late_lag_and_never_come(stories, write):
    first = told(stories)
    assert first["ranks"]["of"] == 3
    assert [one["rank"] for one in first["ranks"]["others"]] == [0]
    write(1, *entries(1, steps=10))
    later = told(stories)
    assert [(one["rank"], one["steps"]) for one in later["ranks"]["others"]] == [(0, 40), (1, 10)]
    assert losses(later) == [[2.0] * 10]
    absent = told(stories, rank=2)
    assert (absent["run"], absent["trainings"]) == (None, [])
    write(2, *entries(2), {"kind": "end", "reason": f"ended {HOSTILE}", "overhead": 0.1})
    chosen = told(stories, rank=2)
    assert chosen["trainings"][0]["series"]["loss"].tolist() == [3.0] * 40
    assert losses(chosen) == [[1.0] * 40, [2.0] * 10]
    assert chosen["ranks"]["others"][2]["end"] == "ended " + HOSTILE.replace("\u202e", "\\u202e")


def test_news_of_any_process_is_news_once(stories, write):
    stories.refresh()
    cursor = Cursor()
    assert stories.since(cursor)["whole"]
    assert stories.since(cursor) is None
    write(1, *entries(1))
    stories.look()
    news = stories.since(cursor)
    assert not news["whole"]
    assert losses(news) == [[2.0] * 40]
    assert stories.since(cursor) is None


def test_a_file_cut_before_its_first_line_or_of_another_script_is_left_out(stories, write):
    path = write(1)
    line = encoded(next(entries(1)))
    path.write_bytes(line[:20])
    write(2, *entries(2, subject="other.py"))
    assert [one["rank"] for one in told(stories)["ranks"]["others"]] == [0]
    path.write_bytes(line + b"0000 half a li")
    found = told(stories)
    assert [(one["rank"], one["steps"]) for one in found["ranks"]["others"]] == [(0, 40), (1, 0)]
    assert sounding.load(write(0)).others == ("run.1.sounding",)


def test_a_file_that_is_begun_anew_is_taken_up_once_its_first_line_is_there(stories, write):
    path = write(0)
    path.unlink()
    path.write_bytes(b"")
    assert told(stories)["trainings"][0]["series"]["loss"].tolist() == [1.0] * 40
    path.write_bytes(b"".join(map(encoded, entries(0, steps=4))))
    assert told(stories)["trainings"][0]["series"]["loss"].tolist() == [1.0] * 4


def test_findings_are_said_once_with_who_says_them_and_since_when(stories, write):
    write(1, *entries(1), said("SD201", "SD301"))
    write(0, said("SD301"))
    (first, second) = sorted(told(stories)["findings"], key=lambda one: one["code"])
    assert (first["code"], first["ranks"], first["since"]) == ("SD201", [1], 7)
    assert (second["code"], second["ranks"]) == ("SD301", [0, 1])
    assert "\u202e" not in first["message"] + first["name"]


def test_the_end_of_all_is_judged_together(stories, write, checkup):
    """The gradients differ from process to process, which copies of one model must not."""
    write(0, checkup(found("SD201")))
    write(1, *entries(1), checkup(found("SD201"), found("SD301", "problem")))
    news = told(stories)
    assert news["judged"] == 2
    codes = {one["code"]: one["ranks"] for one in news["findings"]}
    assert codes == {"SD702": [0, 1], "SD201": [0, 1], "SD301": [1]}
    whole = stories.result()
    messages = {f.code: f.message for f in whole.checkup.findings}
    assert messages["SD301"].endswith("(process 1 alone)")
    assert messages["SD201"] == f"SD201 {HOSTILE}"
    assert [s.quantity for s in whole.trainings[0].beside] == ["process 1"]
    assert sounding.load(write(0)).to_dict() == whole.to_dict()


def test_processes_in_words():
    assert counted([2]) == "process 2"
    assert counted([0, 1, 3]) == "processes 0, 1 and 3"
    assert counted(range(60)) == "60 processes"


# -- over the wire, and in the browser -------------------------------------------------------------


@pytest.fixture
def served(write, python, tmp_path):
    process = python.start("-m", "sounding", "live", write(0, *entries(0)), cwd=tmp_path)
    yield process.stdout.readline().split()[-1]
    process.send_signal(signal.SIGTERM)
    process.communicate()


def test_only_a_number_chooses_a_process(served):
    url = urllib.parse.urlsplit(served)
    for query, status in (("1", 200), ("99999", 200), ("-1", 404), ("../x", 404), ("9" * 9, 404)):
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
        connection.request("GET", f"{url.path}events?rank={urllib.parse.quote(query)}")
        answer = connection.getresponse()
        assert answer.status == status, query
        if status == 200:
            news = json.loads(answer.readline().removeprefix(b"data: "))
            assert news["ranks"]["pick"] == int(query)
        connection.close()


def test_a_process_is_chosen_and_its_names_are_text(served, write, browser):
    complaints = []
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(served)
    says = lambda selector, text: tab.locator(selector).get_by_text(text).first.wait_for()  # noqa: E731
    says(".ranks .others", "Processes 1 and 2 have written nothing yet.")
    end = {"kind": "end", "reason": HOSTILE, "overhead": 0.0}
    write(1, *entries(1), said("SD201"), end)
    says(".ranks .others", "Process 1: 40 steps, <img src=x")
    says(".news .kind", "process 1")
    says(".loss .legend", "other processes")
    says(".loss .readout", "in the other process 2")
    tab.locator(".ranks select").select_option("1")
    says(".loss .readout", "(25 % waiting for data); in the other process 1")
    says(".loss .legend", "process 1, each step")
    says(".deep .readout", "examination 1 of 1")
    tab.locator(".ranks select").select_option("2")
    says(".state", "process 2 has written nothing yet")
    assert not tab.locator(".loss canvas").first.is_visible()
    assert tab.locator("img").count() == 0
    assert tab.title().endswith("Sounding")
    assert complaints == []
    tab.close()
