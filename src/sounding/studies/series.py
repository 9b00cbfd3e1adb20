"""Many studies one after the other, over one store and one engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from sounding.store import Store
from sounding.studies.catalogue import STUDIES, study, version_of
from sounding.studies.claim import Studies, Study
from sounding.train import Progress, silent


def study_all(
    names: Sequence[str] | None = None,
    scale: str = "quick",
    *,
    store: Store | None = None,
    executor: Executor | None = None,
    again: bool = False,
    progress: Progress = silent,
    told: Callable[[Study | str], None] | None = None,
) -> Studies:
    """Judge many claims; what `store` has of them, made by the same code, is not made again.

    A study that fails is noted, and the others go on. Ctrl-C ends the series; the runs that were
    done are in the store, and the next call goes on behind them.

    Args:
        names: Keys of `STUDIES`; None: all of them.
        scale: 'quick' or 'full'.
        store: Where runs and verdicts are kept and looked up.
        executor: Where runs are made; see :func:`study`.
        again: Whether to judge anew what is judged already; its runs are still looked up.
        progress: Told of every run, with the study's name before it.
        told: Given each Study as it ends, or the sentence on why there is none.

    Raises:
        ValueError: If a name or the scale is unknown.
    """
    chosen = list(STUDIES) if names is None else list(names)
    known = {} if store is None or again else _known(store, scale)
    done: list[Study] = []
    failures: dict[str, str] = {}
    for place, name in enumerate(chosen, 1):
        said = _behind(progress, f"{place} of {len(chosen)}, {name}")
        try:
            judged = known.get(name) or study(name, scale, said, store=store, executor=executor)
        except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError) as error:
            failures[name] = f"{type(error).__name__}: {error}"
            judged = None
        if judged is not None:
            done.append(judged)
        if told is not None:
            told(judged or f"{name} failed: {failures[name]}")
    return Studies(studies=tuple(done), failures=failures)


def _known(store: Store, scale: str) -> dict[str, Study]:
    """The verdicts in the store that the code of today would give again."""
    kept = [one for one in store.studies() if one.scale == scale and one.name in STUDIES]
    current = [one for one in kept if one.version == version_of(one.name)]
    return {one.name: Study.from_dict(one.values) for one in current}


def _behind(progress: Progress, name: str) -> Progress:
    def said(message: str, done: int, total: int) -> None:
        progress(f"{name}: {message}", done, total)

    return said
