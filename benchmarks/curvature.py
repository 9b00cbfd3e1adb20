"""Eigenvalues, trace and density of a Hessian: what they cost here, and with other libraries.

    make bench    or, of it,
    .venv/bin/python tools/get_peers.py
    .venv/bin/python benchmarks/curvature.py [--nets mlp,transformer,resnet] [--seeds 3]
        [--questions top,five,smallest,trace,density,warm,products] [--json FILE] [--data FOLDER]
    .venv/bin/python benchmarks/curvature.py --never-wrong

Peers: PyHessian 0.1, hessian-eigenthings 1.0.0a5, and curvlinops 3.0.1 with scipy's eigsh. All in
one process, on one thread, in CPU time, taking turns; medians over seeds of the random starts. The
unit is one product on a kept graph, measured right before and after each run.

A peer gets, of a ladder of settings, the cheapest that reaches the error in the median over the
seeds (the trace: root mean square; both random estimates: over 4 to 12 seeds), against references
that it does not know: an oracle which its users do not have. It is not charged for the search.
Where its cheapest setting does not make it say that it converged, the cheapest that does has its
own line; so has a finer ladder, where that helps.

Sounding is asked once, for that error, and has to find out by itself when to stop.

Making the Hessian is left out, and has lines of its own: Sounding and curvlinops check it there.
After a step of SGD the Hessian is another one: there making it counts, and checks are off.

The error of a density is the Wasserstein-1 distance to the reference over the latter's standard
deviation: of the measures of nodes and weights for the peers, before any smoothing; of the density
on its grid for Sounding. The reference has 12 starts of 100 steps (6 of 80 where a product takes
over half a second), or every eigenvalue.

The second table: one product beside one plain gradient, `loss.backward()` as torch comes.

The resnet takes about an hour, the other two a few minutes each. The goal: the cheapest answer of
the peers costs 2.5 times ours or more.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from curvature_parts import certain, costs, nets, truth
from curvature_parts.contest import Row, attempt, measured_unit, search, time_them
from curvature_parts.questions import QUESTIONS, Question, Setting, warm
from curvature_parts.sides import PEERS, SIDES, Curvlinops, Sounding, differentiable
from threadpoolctl import threadpool_limits

GOAL = 2.5  # the cheapest peer over ours
RATE = 0.05  # of the SGD step
SMALL = 10_000  # parameters up to which all eigenvalues are computed
FAST, SLOW = 0.05, 0.5  # seconds of a product: where 12 seeds are affordable, where few starts are


class Net:
    """One net with its truth, and every library's Hessian of it."""

    def __init__(self, problem: nets.Problem) -> None:
        self.problem = problem
        with differentiable():
            self.product = truth.kept(problem)
        measured_unit(self.product, problem.size)  # torch warms up
        self.unit = measured_unit(self.product, problem.size)
        self.remembered = truth.Remembered(self.product)
        self.truth: truth.Truth | None = None

    def enough(self, question: str) -> int:
        """Seeds on which a random estimate is judged: more where they take little time."""
        quick = FAST if question == "density" else SLOW
        return 12 if self.unit < quick else 4

    def find_truth(self, start: torch.Tensor | None = None, *, both: bool = True) -> truth.Truth:
        """The extreme eigenvalues; from a vector near the first where there is one."""
        if start is None:
            start = torch.randn(self.problem.size, generator=torch.Generator().manual_seed(99))
        with differentiable():
            self.truth, self._run = truth.extremes(self.product, start, both=both)
        return self.truth

    def find_more(self, wanted: str) -> None:
        """The reference of the trace or of the density."""
        assert self.truth is not None
        self.remembered.forget()
        slow, size = self.unit > SLOW, self.problem.size
        with differentiable():
            if size < SMALL:
                if self.truth.measure is None:
                    values = truth.solved(self.product, size)
                    self.truth.measure = values, np.full(size, 1 / size)
                    self.truth.trace, self.truth.trace_error = float(values.sum()), 0.0
            elif wanted == "trace":
                found = truth.trace(self.product, self._run, 64 if slow else 256)
                self.truth.trace, self.truth.trace_error = found
            else:
                starts, steps = (6, 80) if slow else (12, 100)
                self.truth.measure = truth.measure(self.product, size, starts, steps)
        if wanted == "trace":
            print(f"\nreference: trace {self.truth.trace:.5g} ± {self.truth.trace_error:.2g}")


def note(words: str) -> None:
    """Where we are, for who watches."""
    print(f"  [{time.process_time():6.0f} s] {words}", file=sys.stderr, flush=True)


# -- one question -----------------------------------------------------------------------------


def contest(net: Net, name: str, question: Question, seeds: int, live: dict[str, Any]) -> list[Row]:
    """Every library's row, and those of the defaults; `live` are the sides that are timed."""
    assert net.truth is not None
    searched = max(seeds, net.enough(name)) if question.fixed else seeds
    sides = {side.name: side(net.problem, net.remembered) for side in SIDES}
    known = {"net": net.problem.name, "question": name}
    wanted = question.wanted
    if wanted is None:
        first = question.defaults["PyHessian"]
        found = attempt(question, sides["PyHessian"], first, net.truth, searched, float("inf"))
        wanted = found.error
    pairs: list[tuple[Row, Setting]] = []
    for library, ladders in question.ladders.items():
        note(f"{net.problem.name}, {name}: {library}")
        side = sides[library.partition(",")[0]]
        try:
            best, sure = search(question, ladders, side, net.truth, searched, wanted)
        except ImportError as missing:
            note(f"left out: {missing}")
            continue
        found = {"tuned": best, "sure": sure}
        if library in question.finer:
            finer = search(question, question.finer[library], side, net.truth, searched, wanted)[0]
            found["finer"] = finer if finer.products < best.products else None
        pairs += [
            (one.row(library=library, kind=kind, wanted=wanted, **known), one.setting)
            for kind, one in found.items()
            if one is not None
        ]
    note(f"{net.problem.name}, {name}: timing")
    timed = [(row, s) for row, s in pairs if row.reached or row.library == Sounding.name]
    time_them(question, live, timed, net.product, net.problem.size, seeds)
    others = []
    for library, setting in question.defaults.items():
        if net.unit > SLOW and library == Curvlinops.name:
            continue  # ARPACK to machine precision takes a thousand products
        found = attempt(question, sides[library], setting, net.truth, seeds, float("inf"))
        others.append(found.row(library=library, kind="defaults", wanted=wanted, **known))
    return [*(row for row, _ in pairs), *others]


def set_up(net: Net) -> tuple[dict[str, Any], list[Row]]:
    """Every library's Hessian, and what making it costs (the second time)."""
    live, rows = {}, []
    for side in SIDES:
        side(net.problem)
        start = time.process_time()
        live[side.name] = side(net.problem)
        taken = time.process_time() - start
        rows.append(
            Row(
                net=net.problem.name, question="set-up", library=side.name, setting="defaults",
                kind="defaults", products=0, error=0, wanted=0, claimed="", seconds=taken,
                units=taken / net.unit,
            )
        )  # fmt: skip
    return live, rows


def followed(net: Net, seeds: int) -> list[Row]:
    """The top eigenvalue after a step, each library's Hessian made anew within the time."""
    assert net.truth is not None
    model = copy.deepcopy(net.problem.model)
    moved = dataclasses.replace(net.problem, model=model)
    moved.value().backward()
    torch.optim.SGD(model.parameters(), RATE).step()
    for parameter in model.parameters():
        parameter.grad = None
    after = Net(moved)
    top = net.truth.top / net.truth.top.norm()
    random = torch.randn(moved.size, generator=torch.Generator().manual_seed(99))
    after.find_truth(top + random / random.norm(), both=False)
    unchecked: dict[str, dict[str, Any]] = {
        Sounding.name: {"check": False},
        Curvlinops.name: {"check_deterministic": False},
    }
    makers = {side.name: (lambda s=side: s(moved, **unchecked.get(s.name, {}))) for side in SIDES}
    return contest(after, "warm", warm(top), seeds, makers)


def examine(name: str, asked: list[str], seeds: int, data: Path) -> tuple[list[Row], Any]:
    """All rows about one net, and its row of the table of costs."""
    problem = nets.problem(name, data)
    row = None
    if "products" in asked:
        note(f"{name}: products")
        row = costs.measured(problem, 9)
        print("\n" + costs.table({name: row}), flush=True)
        if asked == ["products"]:
            return [], row
    note(f"{name}: references")
    net = Net(problem)
    found = net.find_truth()
    print(f"\n{name}: {problem.size:,} parameters, one product {1e3 * net.unit:.3g} ms; reference: "
          f"largest {', '.join(f'{v:.5g}' for v in found.largest)}; smallest "
          f"{found.smallest[0]:.5g} (to {found.error:.0e})")  # fmt: skip
    live, rows = set_up(net)
    print(table(rows), flush=True)
    for question in [*QUESTIONS, "warm"]:
        if question not in asked:
            continue
        if question == "warm":
            new = followed(net, seeds)
        else:
            if question in ("trace", "density"):
                net.find_more(question)
            new = contest(net, question, QUESTIONS[question], seeds, live)
        print(table(new), flush=True)
        rows += new
    return rows, row


# -- tables -----------------------------------------------------------------------------------


def table(rows: list[Row]) -> str:
    """The rows about one question, with the ratio of the best peer to ours."""
    question = rows[0].question
    titles = {"set-up": "making the Hessian", "warm": warm(None).title}
    title = titles.get(question) or QUESTIONS[question].title
    head = f"{'':22}{'products':>9}{'units':>9}{'seconds':>9}{'error':>9} {'said':>6}  setting"
    return "\n".join(["", title + ratio(rows), head, *map(line, rows)])


def line(row: Row) -> str:
    """One row as text; `x` where the error was not reached."""
    units = "" if row.units is None else f"{row.units:.1f}"
    seconds = "" if row.seconds is None else f"{row.seconds:.3g}"
    if row.question == "set-up":
        return f"{row.library:22}{'':9}{units:>9}{seconds:>9}"
    error = f"{row.error:.1e}" + ("" if row.reached else "x")
    setting = {"defaults": "by default: ", "finer": "finer: "}.get(row.kind, "") + row.setting
    return (
        f"{row.library:22}{row.products:>9g}{units:>9}{seconds:>9}{error:>9} {row.claimed:>6}  "
        f"{setting}"
    )


def ratio(rows: list[Row]) -> str:
    """': best peer / ours 3.1; ...', with `!` where that misses the goal."""
    timed = [(row, row.units) for row in rows if row.units is not None and row.reached]
    ours = [units for row, units in timed if row.library == Sounding.name]
    careless = [units for row, units in timed if row.library.startswith("Sounding,")]
    peers = [(row, units) for row, units in timed if not row.library.startswith("Sounding")]
    plain = [units for row, units in peers if row.kind != "finer"]
    if not ours or not plain or rows[0].question == "set-up":
        return ""
    found = {"best peer / ours": min(plain) / ours[0]}
    sure = [units for row, units in peers if row.sure and row.kind != "finer"]
    if sure:
        found["where it says that it converged"] = min(sure) / ours[0]
    finer = min(units for _, units in peers)
    if finer < min(plain):
        found["on the finer ladder"] = finer / ours[0]
    if careless:
        found["and ours on a ladder too"] = finer / careless[0]
    words = [f"{title} {value:.2f}{'!' * (value < GOAL)}" for title, value in found.items()]
    return ": " + "; ".join(words)


def chosen(given: str, known: list[str], what: str) -> list[str]:
    """A comma-separated list of names, each of which is known."""
    names = given.split(",")
    wrong = [name for name in names if name not in known]
    if wrong:
        sys.exit(f"{what} {', '.join(wrong)}: there are {', '.join(known)}")
    return names


def main() -> None:
    """Measure, print the tables, and write the numbers if wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    everything = [*QUESTIONS, "warm", "products"]
    parser.add_argument("--nets", default=",".join(nets.NETS), help="of %(default)s")
    parser.add_argument("--seeds", type=int, default=3, help="random starts")
    parser.add_argument("--questions", default=",".join(everything), help="of %(default)s")
    parser.add_argument("--data", type=Path, default=nets.SHARED, help="holds cifar10/ and text/")
    parser.add_argument("--json", metavar="FILE", help="write the numbers here")
    parser.add_argument("--never-wrong", action="store_true", help="only count wrong answers")
    given = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)  # numpy and scipy: CPU time would count threads that wait
    if given.never_wrong:
        counted = certain.count(200)
        print(certain.table(counted))
        written(given.json, counted)
        return
    if not PEERS.is_dir():
        sys.exit("the peers are not installed: run make bench, or python tools/get_peers.py")
    torch.backends.mha.set_fastpath_enabled(False)  # it has no derivatives
    asked = chosen(given.questions, everything, "questions")
    rows, costly = [], {}
    for name in chosen(given.nets, list(nets.NETS), "nets"):
        found, cost = examine(name, asked, given.seeds, given.data)
        rows += [dataclasses.asdict(row) for row in found]
        costly |= {name: cost} if cost else {}
    written(given.json, {"rows": rows, "costs": costly})


def written(file: str | None, numbers: Any) -> None:
    """Put the numbers into a file, if one is given."""
    if file:
        Path(file).write_text(json.dumps(numbers, indent=1))
        print(f"Wrote {file}")


if __name__ == "__main__":
    main()
