"""What a terminal, a pipe and a console without UTF-8 get. Only here would leaked escapes show."""

import dataclasses
import io
import operator

import numpy as np
import pytest
from rich.console import Console

from sounding.view.terminal import progress, show

KINDS = ["sick", "healthy", "repair", "proof", "accuracy", "loss", "inconclusive", "study",
         "hostile", "readings", "profile", "comparison", "hostile_comparison",
         *(f"curvature.{name}" for name in (
             "spectrum", "eigenpairs", "single", "density", "trace", "no_density", "not_converged",
             "not_a_number", "zero_matrix", "one_sided", "all_negative", "huge", "sharpness",
             "empty_series", "broken_series", "layers", "hostile", "point", "adam"))]  # fmt: skip


def _pipe(encoding="utf-8", width=None):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    return Console(file=file, width=width, highlight=False)


def _text(console):
    console.file.flush()
    return console.file.buffer.getvalue().decode(console.file.encoding)


def _shown(result, **console):
    console = _pipe(**console)
    show(console, result)
    return _text(console)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipe_gets_plain_text_of_at_most_eighty_columns(examples, kind, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    text = _shown(operator.attrgetter(kind)(examples)())
    assert "\x1b" not in text
    assert "\u202e" not in text
    for line in text.splitlines():
        assert line == line.rstrip()
        assert len(line) <= 80, line


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize("kind", KINDS)
def test_without_utf8_nothing_fails_and_nothing_is_lost(examples, kind, encoding):
    text = _shown(operator.attrgetter(kind)(examples)(), encoding=encoding)
    assert "?" not in text.replace("(?", "")
    assert text.strip()


def test_a_finding_shows_code_name_source_numbers_layers_and_remedies(examples):
    text = _shown(examples.sick())
    lines = text.splitlines()
    head = next(line for line in lines if line.startswith("problem  SD303"))
    assert "initialisation-mismatch" in head
    assert head.endswith("digits_deep.py:18")
    assert "variance x fan_in 0.333 (expected 2)" in text.replace("\n             ", " ")
    assert "layers.0 ... layers.58 (30 layers)" in text
    assert "reinitialise(scheme='kaiming')  (weights)" in text


def test_consequences_are_one_line_each_under_their_cause(examples):
    lines = _shown(examples.sick()).splitlines()
    assert sum("SD101" in line for line in lines) == 1
    assert sum("SD201" in line for line in lines) == 1
    cause = next(i for i, line in enumerate(lines) if "SD303" in line)
    consequence = next(i for i, line in enumerate(lines) if "SD201" in line)
    other = next(i for i, line in enumerate(lines) if "SD105" in line)
    assert cause < consequence < other


def test_findings_come_before_the_chart_and_the_summary_after_it(examples):
    lines = [line for line in _shown(examples.sick()).splitlines() if line]
    chart = next(i for i, line in enumerate(lines) if "│" in line and "1e" in line)
    assert max(i for i, line in enumerate(lines) if "SD" in line) < chart
    summary = "1 problem, 1 caution, 2 consequences, 7 checks passed, 2 not applicable"
    assert lines.index(summary) > chart
    assert lines[lines.index(summary) + 1].startswith("To paste")


def test_healthy_is_said_aloud(examples):
    assert "Nothing found in 11 checks." in _shown(examples.healthy())


def test_the_excerpt_is_the_line_of_the_file(examples, tmp_path):
    script = tmp_path / "digits_deep.py"
    script.write_text("\n" * 17 + "    layers.append(nn.Linear(width, width))\n")
    checkup = dataclasses.replace(examples.sick(), subject=str(script))
    assert "    18 │ layers.append(nn.Linear(width, width))" in _shown(checkup)


@pytest.mark.parametrize("depth", [1, 2, 3, 30, 120])
def test_the_chart_takes_at_most_twelve_lines(examples, depth):
    for factor in (examples.SICK, 1.0, 3.0):
        lines = _shown(examples.readings(depth=depth, factor=factor)).splitlines()
        assert len([line for line in lines if line]) <= 12


def test_the_chart_puts_marks_in_the_row_of_their_power_of_ten(examples):
    """Oracle: rows are labelled; the spread's last value is 0.58 / 6**14.5 = 3e-12."""
    lines = _shown(examples.readings()).splitlines()
    rows = {line.split("│")[0].strip(): line for line in lines if "│" in line}
    assert rows["1e0"].split("│")[1].startswith("■")
    assert rows["1e-12"].rstrip().endswith("■")
    assert "0.407" in lines[-1] or "0.408" in lines[-1]


def test_a_chart_with_zeros_and_nan_is_drawn(examples):
    readings = examples.readings(depth=4)
    signal = dataclasses.replace(
        readings.signal,
        rms=np.zeros_like(readings.signal.rms),
        nonfinite=(readings.path[2],),
    )
    text = _shown(dataclasses.replace(readings, signal=signal, expectation=None))
    assert "The signal is NaN or Inf at layers.4." in text


def test_repair_shows_the_verdicts_and_code_that_can_be_pasted(examples):
    text = _shown(examples.repair())
    said = "supported: accuracy 0.10 -> 0.97 (+0.87 [0.84, 0.90], 95 %, 5 paired seeds)"
    assert said in text
    assert "inconclusive: loss 2.30 ->" in text
    assert "Repaired: accuracy 0.10 -> 0.97" in text
    assert "\n    model = reinitialise(model, scheme='kaiming')\n" in text


def test_long_code_is_not_wrapped(examples):
    code = "x = " + " + ".join(f"layer_{k}" for k in range(40))
    assert code in _shown(dataclasses.replace(examples.proof(), code=code))


def test_study_shows_claim_criterion_and_each_value_beside_theory(examples):
    text = _shown(examples.study())
    assert "he-2015-depth" in text
    assert "0.03 -> -8.7 ± 0.108  (theory 0 -> -8.73)" in text
    assert "He, Zhang, Ren, Sun 2015" in text


def test_a_terminal_gets_colour_and_no_color_takes_it_away(examples, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = Console(file=io.StringIO(), force_terminal=True, width=90, color_system="256")
    show(coloured, examples.sick())
    assert "\x1b[1;31mproblem" in coloured.file.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Console(file=io.StringIO(), force_terminal=True, width=90, color_system="256")
    show(plain, examples.sick())
    assert "31m" not in plain.file.getvalue()


def test_markup_in_names_is_text(examples):
    checkup = examples.sick(depth=2, names=("[red]a[/red]", "[/]"))
    assert "[red]a[/red], [/]" in _shown(checkup)


def test_unknown_kinds_are_refused_by_name(examples):
    with pytest.raises(TypeError, match=r"a Remedy has no form in a terminal; .*Checkup"):
        show(_pipe(), examples.REINITIALISE)


def test_progress_into_a_pipe_says_the_plan_and_nothing_else():
    console = _pipe()
    with progress(console) as tell:
        tell("at most 10 runs of 300 steps", 0, 10)
        for done in range(1, 11):
            tell(f"seed {done}", done, 10)
    assert _text(console) == "at most 10 runs of 300 steps\n"


def test_progress_on_a_terminal_draws_a_bar():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with progress(console) as tell:
        tell("at most 4 runs", 0, 4)
        tell("untreated: seed 0", 1, 4)
    drawn = console.file.getvalue()
    assert "1/4" in drawn
    assert "untreated: seed 0" in drawn
