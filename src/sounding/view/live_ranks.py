"""All processes of one run, each of which writes a file: followed together for the live page.

The page shows one process at a time, which its reader chooses, and beside it the losses of the
others. Their files may appear later than the first one, lag behind, be cut, or never come.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from sounding.rules import Finding
from sounding.view.live_data import Cursor, Story, lean, said
from sounding.view.numbers import printable
from sounding.watch.ranks import CODES, file_of, put_together
from sounding.watch.reader import Reader
from sounding.watch.watched import Gathered, Watched

MOST = 64  # processes that are followed
PATIENCE = 0.3  # seconds: a long run's file takes one to read
POINTS, OF = 400, 8  # of another process's loss; with more than OF of them fewer


class Stories:
    """The files beside the one that `reader` reads, of the processes that took part."""

    def __init__(self, reader: Reader) -> None:
        self._path = reader.path
        self._stories = {0: Story(reader)}
        self._readers: list[Reader] = []
        self._joint: tuple[Any, tuple[Finding, ...]] = (None, ())
        self.look()

    @property
    def processes(self) -> int:
        """That took part, as the first one's file says; the file of another one stands alone."""
        run = self._stories[0].gathered.run
        return 1 if run.get("rank") else int(run.get("ranks", 1))

    @property
    def heard(self) -> tuple[Any, ...]:
        """What changes whenever something new was read."""
        return tuple((k, *story.heard) for k, story in sorted(self._stories.items()))

    def refresh(self) -> None:
        """Read what was written since in the files that are known."""
        for story in self._stories.values():
            story.refresh()

    def look(self) -> None:
        """Read files that are new, for PATIENCE seconds; what is left is read the next time."""
        began = time.monotonic()
        for number in range(1, min(self.processes, MOST)):
            if number not in self._stories and time.monotonic() - began < PATIENCE:
                with contextlib.suppress(OSError, ValueError):  # not yet, or not whole yet
                    reader = Reader(file_of(self._path, number))
                    self._readers.append(reader)
                    self._stories[number] = Story(reader)

    def close(self) -> None:
        """Let go of the files that were opened here."""
        for reader in self._readers:
            reader.close()

    def result(self) -> Watched:
        """All that the files say by now."""
        first, *others = ((k, s.gathered.result()) for k, s in sorted(self._told().items()))
        return put_together(first[1], dict(others), self._path)

    def judged(self) -> int:
        """How many processes have ended with an examination."""
        return sum(story.gathered.checkup is not None for story in self._told().values())

    def since(self, cursor: Cursor) -> dict[str, Any] | None:
        """What a page that is at `cursor` must be told, which it is at then; None for nothing."""
        heard = self.heard
        if heard == cursor.heard:
            return None
        cursor.heard = heard
        story = self._told().get(cursor.rank)
        told = story.since(cursor, anyway=True) if story else None
        if told is None:
            told = {"whole": True, "run": None, "trainings": [], "metrics": []}
        told["findings"] = self._findings()
        told["judged"] = self.judged()
        if self.processes > 1:
            told["ranks"] = self._ranks(cursor.rank)
        return told

    def _told(self) -> dict[int, Story]:
        """The stories of this run: an old file of another script may lie beside it."""
        subject = self._stories[0].gathered.run.get("subject")
        return {
            k: story
            for k, story in self._stories.items()
            if k < self.processes and story.gathered.run.get("subject") == subject
        }

    def _ranks(self, pick: int) -> dict[str, Any]:
        told = self._told()
        points = POINTS if len(told) <= OF else POINTS // 4
        others = [story.gathered for k, story in sorted(told.items()) if k != pick]
        picked = told[pick].gathered.trainings if pick in told else {}
        return {
            "of": self.processes,
            "pick": pick,
            "followed": min(self.processes, MOST),
            "others": [_state(k, s.gathered) for k, s in sorted(told.items())],
            "losses": [
                [_loss(other, number, points) for other in others if number in other.trainings]
                for number in sorted(picked)
            ],
        }

    def _findings(self) -> list[dict[str, Any]]:
        """What the rules say in any process; once all have ended, what they say of all together."""
        told = self._told()
        found = said({k: story.gathered for k, story in sorted(told.items())})
        if len(told) > 1 and self.judged() == len(told):
            known = [one for one in found if one["code"] not in CODES]
            joint = [f for f in self._together() if f.code in CODES]
            found = [
                *({"code": f.code, "name": f.name, "severity": f.severity, "message": f.message,
                   "since": None, "ranks": sorted(told)} for f in joint),
                *known,
            ]  # fmt: skip
        return found

    def _together(self) -> tuple[Finding, ...]:
        if self._joint[0] != self.heard:
            checkup = self.result().checkup
            self._joint = self.heard, () if checkup is None else checkup.findings
        return self._joint[1]


def _state(number: int, gathered: Gathered) -> dict[str, Any]:
    """How far a process has come."""
    last = [t.columns()["step"][-1:] for t in gathered.trainings.values()]
    return {
        "rank": number,
        "steps": int(max((s[0] for s in last if len(s)), default=-1)) + 1,
        "end": printable(str(gathered.end.get("reason", ""))),
    }


def _loss(gathered: Gathered, number: int, points: int) -> dict[str, Any]:
    columns = gathered.trainings[number].columns()
    return lean(columns["step"], columns["loss"], points)
