"""The most likely cause first; what follows from it is said to do so."""

from __future__ import annotations

import dataclasses

from sounding.rules.finding import Finding

# Which finding explains which others, strongest cause first.
#
# A NaN hides everything else, but steps that are sums of gradients may explode into one. A loss
# that is called wrongly, a graph that is cut and parameters that nobody moves are exact
# contradictions: whatever the net then does not learn follows. Zero or equal weights, and dead
# layers, stop signals exactly; a wrong scale makes products over layers vanish or explode. In a
# random net one factor acts on the difference of two inputs and on the gradient, so the two vanish
# together: the gradient is what training feels, and is named first. A signal that explodes takes
# the gradient along. What a sound pass became as the training went on is an effect of the weights
# that it began with, or of steps that were too large, and never their cause. Where another cause is
# known, that another learning rate would help too is its effect. That new weights, or a warm-up,
# stand a rate that ruins trained ones is no fault of those weights.
PASS = ("SD201", "SD202", "SD203", "SD204", "SD205", "SD206")  # of signal and gradient
RATE = ("SD501", "SD502", "SD506", "SD701", "SD103")
CALL = ("SD403", "SD401", "SD402", "SD404", "SD405", "SD412", "SD414", "SD407", "SD406")
STATE = (*PASS, "SD303")  # of the net, which training changes
LATER = ("SD303", "SD506", "SD501", "SD410")  # what makes a sound pass sick as it is trained
LAST = "SD104"  # that a run came to nothing, whatever the reason
STOOD = ("SD704", "SD705", "SD708")  # how a run ends that could go on
LEARNING = ("SD304", "SD305", "SD408", "SD411", "SD212", *RATE, *STOOD, LAST)  # how that may look
SUMS = ("SD210", "SD211")  # of gradients, whose steps may explode
LOOP = ("SD208", "SD209", "SD207", "SD507")
CAUSES = {
    **dict.fromkeys(SUMS, ("SD101", *PASS, *LEARNING, "SD303", "SD409", "SD410", "SD213")),
    "SD101": (*PASS, "SD301", "SD302", "SD303", *LEARNING, "SD409", "SD410"),
    **dict.fromkeys(CALL, (*PASS, "SD303", *LEARNING, "SD504", "SD603")),
    **dict.fromkeys(LOOP, (*PASS, *LEARNING, "SD303", "SD409", "SD410", "SD213")),
    "SD702": LEARNING,
    "SD703": (),
    "SD415": LEARNING,
    "SD417": LEARNING,
    "SD419": (*PASS, *LEARNING),
    "SD420": LEARNING,
    "SD416": LEARNING,
    "SD102": (*PASS, *LEARNING),
    "SD503": LEARNING,
    "SD508": ("SD303", "SD509", *LEARNING),
    "SD509": LEARNING,
    "SD510": LEARNING,
    "SD511": ("SD504", *LEARNING),
    "SD609": (*PASS, "SD303", *LEARNING, "SD409", "SD410"),
    "SD504": (*PASS, *LEARNING, "SD606"),
    "SD301": ("SD201", "SD203", "SD205", "SD302", "SD303", *LEARNING),
    "SD302": (*PASS, "SD303", *LEARNING),
    "SD409": (*PASS, *LEARNING, "SD410"),
    "SD606": (*PASS, "SD303", *LEARNING),
    "SD203": ("SD201", "SD205", "SD303", *LEARNING),
    "SD303": ("SD201", "SD202", "SD204", "SD205", "SD206", *LEARNING),
    "SD204": ("SD201", "SD202", "SD205", *LEARNING),
    "SD206": ("SD202", *LEARNING),
    "SD201": ("SD205", *LEARNING),
    "SD205": LEARNING,
    "SD202": LEARNING,
    "SD410": LEARNING,
    "SD413": LEARNING,
    "SD603": LEARNING,
    "SD601": (*LEARNING, "SD605"),
    "SD608": ("SD605",),
    **dict.fromkeys(("SD602", "SD604", "SD605", "SD607"), ()),  # evaluation is off
    "SD304": (*RATE, *STOOD, LAST),
    "SD305": ("SD411", *RATE, *STOOD, LAST),
    "SD506": ("SD501", "SD103", "SD408", "SD213", "SD701", *STOOD, LAST),
    "SD408": ("SD502", *STOOD, LAST),
    "SD411": ("SD502", *STOOD, LAST),
    "SD505": (*STOOD, LAST),
    "SD418": ("SD501", "SD502", "SD512", *STOOD, LAST),
    "SD512": ("SD502", "SD705", LAST),
    "SD212": ("SD502", *STOOD, LAST),
    "SD213": ("SD501", "SD502", *STOOD, LAST),
    "SD501": ("SD103", "SD701", *STOOD, LAST),
    "SD502": ("SD705", LAST),
    "SD103": (LAST,),
    "SD701": (LAST,),
    "SD704": ("SD705", "SD708", LAST),
    "SD708": ("SD705", LAST),
    "SD705": (LAST,),
    LAST: (),
    "SD706": (),
    "SD707": (),
}
ORDER = tuple(CAUSES)
# what may end in numbers that float32 cannot hold
EXPLODED = ("SD409", "SD303", "SD206", "SD202", "SD410", "SD506", "SD508", "SD509", "SD501")


def rank(findings: list[Finding]) -> tuple[Finding, ...]:
    """Problems before cautions, causes before what they cause; each effect names its cause."""
    present = {f.code: f for f in findings}
    linked = []
    for finding in findings:
        if finding.code == "SD101" and "overflow" in finding.measured:
            grew = next((code for code in (*SUMS, *EXPLODED) if code in present), "")
            linked.append(dataclasses.replace(finding, because=grew))
            continue
        causes = [code for code, effects in CAUSES.items() if finding.code in effects]
        if finding.since and finding.code in STATE:
            causes += LATER
        cause = next((c for c in causes if c in present and _explains(present[c], finding)), "")
        linked.append(dataclasses.replace(finding, because=cause))
    return tuple(sorted(linked, key=_key))


def _explains(cause: Finding, effect: Finding) -> bool:
    """A caution does not cause a problem; nor does what came later, or only grew too large."""
    if cause.since and {cause.code, effect.code} & {*LATER}:
        return False
    if cause.code == "SD101" and "overflow" in cause.measured:
        return False
    return cause.severity == "problem" or effect.severity == "caution"


def _key(finding: Finding) -> tuple:
    place = ORDER.index(finding.code) if finding.code in ORDER else len(ORDER)
    return (bool(finding.because), finding.severity != "problem", place, finding.code)
