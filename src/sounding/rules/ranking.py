"""The most likely cause first; what follows from it is said to do so."""

from __future__ import annotations

import dataclasses

from sounding.rules.finding import Finding

# Which finding explains which others, strongest cause first. A NaN hides everything else; zero or
# equal weights, and dead layers, stop signals exactly; a wrong scale makes products over layers
# vanish or explode. In a random net one factor acts on the difference of two inputs and on the
# gradient, so the two vanish together: the gradient is what training feels, and is named first. A
# signal that explodes takes the gradient along.
CAUSES = {
    "SD101": ("SD201", "SD202", "SD203", "SD204", "SD205", "SD206", "SD301", "SD302", "SD303"),
    "SD301": ("SD201", "SD203", "SD205", "SD302", "SD303"),
    "SD302": ("SD201", "SD202", "SD203", "SD204", "SD205", "SD206", "SD303"),
    "SD203": ("SD201", "SD205", "SD303"),
    "SD303": ("SD201", "SD202", "SD204", "SD205", "SD206"),
    "SD204": ("SD201", "SD202", "SD205"),
    "SD206": ("SD202",),
    "SD201": ("SD205",),
}
ORDER = (*CAUSES, "SD205", "SD202")


def rank(findings: list[Finding]) -> tuple[Finding, ...]:
    """Problems before cautions, causes before what they cause; each effect names its cause."""
    present = {f.code: f for f in findings}
    linked = []
    for finding in findings:
        cause = next(
            (
                code
                for code, effects in CAUSES.items()
                if finding.code in effects and code in present and _explains(present[code], finding)
            ),
            "",
        )
        linked.append(dataclasses.replace(finding, because=cause))
    return tuple(sorted(linked, key=_key))


def _explains(cause: Finding, effect: Finding) -> bool:
    """A caution does not cause a problem; a partly dead layer does not either."""
    return cause.severity == "problem" or effect.severity == "caution"


def _key(finding: Finding) -> tuple:
    place = ORDER.index(finding.code) if finding.code in ORDER else len(ORDER)
    return (bool(finding.because), finding.severity != "problem", place, finding.code)
