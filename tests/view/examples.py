"""Synthetic results with the numbers of real ones, so that views can be tried without training.

The sick net is the demo's: 30 linear layers, ReLU between, PyTorch's default initialisation, whose
weights have variance 1/(3 fan_in) where ReLU needs 2/fan_in: the spread falls by sqrt(6) per layer.
"""

import dataclasses
import math

import numpy as np

from sounding.compare import Comparison, Tuned
from sounding.exam import Checkup
from sounding.measure.readings import (
    Attribution,
    Call,
    Expectation,
    Gradients,
    Optimiser,
    Readings,
    Signal,
    Weights,
)
from sounding.pairs import LOSS, estimates, measured_in, pairs_of
from sounding.prove import Proof, Repair
from sounding.remedies.remedy import Remedy
from sounding.result import Profile, Series
from sounding.rules.finding import Finding, Outcome
from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Study
from sounding.train import Trial
from sounding.verdict import Verdict

HOSTILE = "</script><img src=x onerror=1>"
SICK = 1 / math.sqrt(6)  # factor on the rms per layer
WIDTH = 64
REINITIALISE = Remedy(name="reinitialise", arguments={"scheme": "kaiming"}, touches="weights")
NORMALISE = Remedy(name="insert_norm", arguments={"kind": "batch"}, touches="architecture")


def readings(
    *,
    depth: int = 30,
    factor: float = SICK,
    names: tuple[str, ...] = (),
    seed: int = 0,
    bias_rms: float = 0.0,
) -> Readings:
    """A chain of linear and ReLU calls whose rms changes by `factor` per linear layer."""
    rng = np.random.default_rng(seed)
    names = names or tuple(f"layers.{2 * k}" for k in range(depth))
    calls, path = _calls(names)
    walk = np.exp(np.cumsum(rng.normal(0, 0.03, depth)))
    theory = 0.58 * factor ** np.arange(depth)
    gradient_theory = 0.02 * factor ** np.arange(depth)[::-1]
    spread = theory * walk
    rms = np.sqrt(spread**2 + bias_rms**2)
    gradient = gradient_theory * (walk[::-1] / walk[0])
    needed = 2.0 if factor else math.nan
    return Readings(
        model="DeepNet",
        step=0,
        batch=64,
        device="cpu",
        dtype="float32",
        loss=2.3031,
        loss_name="cross_entropy",
        calls=calls,
        path=path,
        signal=_signal(calls, path, rms, spread),
        gradients=_gradients(calls, path, names, gradient),
        weights=_weights(names, 2 * factor**2, needed, rng),
        forward=_attribution(names, rms, backwards=False),
        backward=_attribution(names, gradient, backwards=True),
        expectation=Expectation(
            rms=np.sqrt(theory**2 + bias_rms**2),
            spread=theory,
            gradient=gradient_theory,
            chi=np.full(depth, factor**2),
            source="mean field, Schoenholz et al. 2017",
        ),
        optimiser=Optimiser(name="SGD", lr=0.1, adaptive=False, eps=math.nan),
    )


def _calls(names: tuple[str, ...]) -> tuple[tuple[Call, ...], tuple[int, ...]]:
    calls, path = [], []
    for k, name in enumerate(names):
        path.append(len(calls))
        calls.append(
            Call(
                name=name,
                module=name,
                operation="linear",
                role="weight",
                inputs=(len(calls) - 1,) if calls else (),
                main=len(calls) - 1,
                weight=f"{name}.weight",
                bias=f"{name}.bias",
                fan_in=WIDTH,
                fan_out=WIDTH,
                units=WIDTH,
                activation="relu",
                source="digits_deep.py:18",
            )
        )
        if k < len(names) - 1:
            calls.append(
                Call(
                    name=f"layers.{2 * k + 1}",
                    module=f"layers.{2 * k + 1}",
                    operation="relu",
                    role="activation",
                    main=len(calls) - 1,
                    units=WIDTH,
                    source="digits_deep.py:19",
                )
            )
    calls.append(Call(name="#cross_entropy", module="", operation="cross_entropy", role="loss"))
    return tuple(calls), tuple(path)


def _spread_out(calls: tuple[Call, ...], path: tuple[int, ...], values: np.ndarray) -> np.ndarray:
    """`values` of the weighted calls put at their calls, 0.7 of them at the ReLU that follows."""
    out = np.full(len(calls), math.nan)
    out[list(path)] = values
    for i, call in enumerate(calls):
        if call.role == "activation":
            out[i] = 0.7 * out[i - 1]
    return out


def _signal(
    calls: tuple[Call, ...], path: tuple[int, ...], rms: np.ndarray, spread: np.ndarray
) -> Signal:
    relu = np.array([c.role == "activation" for c in calls])
    rms_all, spread_all = _spread_out(calls, path, rms), _spread_out(calls, path, spread)
    unknown = np.full(len(calls), math.nan)
    return Signal(
        rms=rms_all,
        rms_error=0.02 * rms_all,
        mean=0.1 * rms_all,
        std=rms_all,
        spread=spread_all,
        spread_error=0.03 * spread_all,
        correlation=np.where(np.isnan(rms_all), math.nan, 0.98),
        correlation_error=np.where(np.isnan(rms_all), math.nan, 0.01),
        zeros=np.where(relu, 0.497, math.nan),
        dead=np.where(relu, 3.0, math.nan),
        saturated=unknown,
        saturated_error=unknown,
        slope=np.where(relu, 0.503, math.nan),
        nonfinite=(),
    )


def _gradients(
    calls: tuple[Call, ...], path: tuple[int, ...], names: tuple[str, ...], rms: np.ndarray
) -> Gradients:
    rms_all = _spread_out(calls, path, rms)
    return Gradients(
        rms=rms_all,
        rms_error=0.02 * rms_all,
        parameters=tuple(f"{name}.weight" for name in names),
        norm=rms * WIDTH,
        weight_norm=np.full(len(names), 4.6),
        ratio=rms * WIDTH / 4.6,
        nonfinite=(),
    )


def _weights(
    names: tuple[str, ...], variance_fan_in: float, needed: float, rng: np.random.Generator
) -> Weights:
    n = len(names)
    variance = variance_fan_in / WIDTH * (1 + rng.normal(0, 0.01, n))
    return Weights(
        parameters=tuple(f"{name}.weight" for name in names),
        variance=variance,
        variance_error=0.02 * variance,
        second_moment=variance,
        fan_in=np.full(n, WIDTH),
        fan_out=np.full(n, WIDTH),
        needed=np.full(n, needed),
        scheme=("torch default",) * n,
        units=np.full(n, WIDTH),
        rank=np.full(n, 32),
        duplicates=np.zeros(n, dtype=np.int64),
        symmetric=np.zeros(n, dtype=np.int64),
    )


def _attribution(names: tuple[str, ...], values: np.ndarray, *, backwards: bool) -> Attribution:
    total = np.diff(np.log(values)) * (-1 if backwards else 1)
    activation = np.full(len(total), math.log(math.sqrt(0.5)))
    nothing = np.zeros(len(total))
    return Attribution(
        layers=names,
        weight=total - activation,
        activation=activation,
        normalisation=nothing,
        skip=nothing,
        other=nothing,
        total=total,
    )


def findings(names: tuple[str, ...]) -> tuple[Finding, ...]:
    """One cause with two consequences, and an unrelated caution."""
    return (
        Finding(
            code="SD303",
            name="initialisation-mismatch",
            severity="problem",
            message=(
                f"The weights of {len(names)} layers have variance x fan_in 0.333 where the ReLU "
                "that follows needs 2: the signal loses a factor 2.45 per layer"
            ),
            layers=names,
            source="digits_deep.py:18",
            measured={"variance x fan_in": 0.3334, "factor per layer": 0.408},
            expected={"variance x fan_in": 2.0, "factor per layer": 1.0},
            confidence="measured",
            remedies=(REINITIALISE, NORMALISE),
        ),
        Finding(
            code="SD101",
            name="vanishing-signal",
            severity="caution",
            message="The spread between inputs falls by 11.3 decades over 30 layers",
            layers=names[-3:],
            source="digits_deep.py:18",
            measured={"decades": -11.3},
            expected={"decades": -11.28},
            confidence="theory",
            because="SD303",
        ),
        Finding(
            code="SD201",
            name="vanishing-gradient",
            severity="caution",
            message="The gradient falls by 11.2 decades on the way to the first layer",
            layers=names[:1],
            source="digits_deep.py:18",
            measured={"decades": -11.2},
            expected={"decades": -11.28},
            confidence="theory",
            because="SD101",
        ),
        Finding(
            code="SD105",
            name="dead-units",
            severity="caution",
            message="3 of 64 units of layers.41 are zero on the whole batch",
            layers=("layers.41",),
            source="",
            measured={"dead units": 3.0},
            expected={"dead units": 0.0},
            confidence="exact",
            remedies=(
                Remedy(
                    name="change_activation",
                    arguments={"to": "leaky_relu", "slope": 0.1},
                    touches="architecture",
                ),
            ),
        ),
    )


def outcomes(found: tuple[Finding, ...]) -> tuple[Outcome, ...]:
    """What 13 rules came to."""
    names = {
        "SD101": "vanishing-signal",
        "SD102": "exploding-signal",
        "SD103": "not-finite",
        "SD105": "dead-units",
        "SD106": "saturated-units",
        "SD201": "vanishing-gradient",
        "SD202": "exploding-gradient",
        "SD301": "zero-initialisation",
        "SD302": "symmetric-units",
        "SD303": "initialisation-mismatch",
        "SD401": "loss-at-start",
        "SD402": "inputs-ignored",
        "SD403": "rows-mixed",
    }
    severities = {f.code: f.severity for f in found}
    reasons = {
        "SD106": "no activation that saturates",
        "SD403": "no normalisation over the batch",
    }
    return tuple(
        Outcome(
            code=code,
            name=name,
            outcome=severities.get(code, "not applicable" if code in reasons else "passed"),
            reason=reasons.get(code, ""),
        )
        for code, name in names.items()
    )


def sick(*, depth: int = 30, names: tuple[str, ...] = ()) -> Checkup:
    """A deep net with PyTorch's default initialisation."""
    measured = readings(depth=depth, names=names, bias_rms=0.08)
    found = findings(tuple(measured.calls[i].name for i in measured.path))
    return Checkup(
        findings=found,
        outcomes=outcomes(found),
        readings=measured,
        seconds=0.412,
        subject="examples/digits_deep.py",
    )


def healthy(*, depth: int = 30) -> Checkup:
    """The same net with Kaiming's initialisation."""
    return Checkup(
        findings=(),
        outcomes=outcomes(()),
        readings=readings(depth=depth, factor=1.0, seed=1),
        seconds=0.398,
        subject="examples/digits_healthy.py",
    )


def hostile() -> Checkup:
    """A checkup whose layers try to break out of the page."""
    return sick(depth=3, names=(HOSTILE, "a\x1b[31mred", "b\u202etxt"))


def accuracy(n: int = 5) -> Verdict:
    """The verdict on the accuracy, by paired seeds."""
    rng = np.random.default_rng(5)
    return Verdict(
        statement="reinitialise(scheme='kaiming') raises the accuracy",
        outcome="supported",
        effect=0.869,
        interval=(0.839, 0.899),
        unit="accuracy",
        level=0.95,
        criterion="the interval of the paired difference lies above 0",
        seeds=tuple(range(n)),
        before=0.1 + rng.normal(0, 0.008, n),
        after=0.97 + rng.normal(0, 0.008, n),
    )


def loss(n: int = 5) -> Verdict:
    """The verdict on the training loss."""
    rng = np.random.default_rng(6)
    return Verdict(
        statement="reinitialise(scheme='kaiming') lowers the training loss",
        outcome="supported",
        effect=1.32,
        interval=(1.17, 1.47),
        unit="decades of loss",
        level=0.95,
        criterion="the interval of the paired difference lies above 0",
        seeds=tuple(range(n)),
        before=np.log10(2.303 + rng.normal(0, 0.002, n)),  # decades: logarithms
        after=np.log10(0.11 * np.exp(rng.normal(0, 0.2, n))),
    )


def inconclusive() -> Verdict:
    """A verdict that says so."""
    return dataclasses.replace(
        loss(),
        statement="insert_norm(kind='batch') lowers the training loss",
        outcome="inconclusive",
        effect=0.11,
        interval=(-0.21, 0.43),
        level=0.975,
        after=np.log10([2.1, 2.3, 0.9, 2.3, math.inf]),
        note="1 of 5 treated runs diverged",
    )


def curves(n: int, steps: int, floor: float, seed: int) -> tuple[Series, ...]:
    """Loss curves from ln 10 to `floor`, one a seed."""
    rng = np.random.default_rng(seed)
    at = np.arange(steps)
    return tuple(
        Series(
            quantity="training loss",
            unit="",
            steps=at,
            values=(floor + (2.303 - floor) * np.exp(-at / 60))
            * np.exp(rng.normal(0, 0.06, steps)),
        )
        for _ in range(n)
    )


def proof(n: int = 5) -> Proof:
    """The remedy that works."""
    return Proof(
        remedy=REINITIALISE,
        verdict=loss(n),
        metrics=(accuracy(n),),
        before=curves(n, 300, 2.3, 1),
        after=curves(n, 300, 0.1, 2),
        code="from sounding.remedies import reinitialise\n\n"
        "model = reinitialise(model, scheme='kaiming')",
    )


def repair() -> Repair:
    """A case with one proven remedy, and one that was tried in vain."""
    failed = Proof(
        remedy=NORMALISE,
        verdict=inconclusive(),
        metrics=(),
        before=curves(5, 300, 2.3, 3),
        after=curves(5, 300, 2.1, 4),
        code="model = insert_norm(model, kind='batch')",
    )
    return Repair(
        checkup=sick(),
        proofs=(proof(), failed),
        kept=(REINITIALISE,),
        after=healthy(),
        code="from sounding.remedies import reinitialise\n\n"
        "model = reinitialise(model, scheme='kaiming')",
        subject="examples/digits_deep.py",
        seconds=41.3,
    )


def profile() -> Profile:
    """Measured beside predicted, for three schemes."""
    return Profile(
        quantity="mean square, last layer over first",
        unit="decades",
        layers=("Kaiming", "Xavier", "PyTorch default"),
        values=np.array([-0.09, -8.70, -22.5]),
        error=np.array([0.12, 0.10, 0.11]),
        expected=np.array([0.0, -8.73, -22.57]),
        source="He et al. 2015, section 2.2",
    )


def chart() -> Chart:
    """The mean square over depth, for two schemes, beside theory."""
    layers = np.arange(1, 31)
    lines = []
    for label, slope in (("Kaiming", 0.0), ("Xavier", -0.30103)):
        theory = slope * (layers - 1) + 0.0
        error = 0.02 * np.sqrt(layers - 1)
        lines += [
            Line(label=label, x=layers, y=theory + 0.03, error=error),
            Line(label=f"{label}, theory", x=layers, y=theory, theory=True),
        ]
    return Chart(
        title="Mean square of the signal",
        x_label="layer",
        y_label="decades",
        lines=tuple(lines),
    )


def study() -> Study:
    """He et al.'s claim on depth."""
    return Study(
        name="he-2015-depth",
        claim="A 30-layer ReLU net trains with Kaiming's initialisation and stalls with Xavier's",
        source="He, Zhang, Ren, Sun 2015, section 2.2",
        criterion="variance ratio within 0.5 decade of theory on 8 seeds; accuracy above 0.5 "
        "with Kaiming's on all of 5 seeds",
        scale="quick",
        verdicts=(accuracy(), inconclusive()),
        topic="initialisation",
        charts=(chart(),),
        how="Thirty layers of width 512, eight seeds.",
        depends="Adam rescues Xavier's net.",
        changed="The grid was widened after a first look.",
        seconds=62.0,
    )


def comparison(*, diverged: bool = False, name: str = "adam") -> Comparison:
    """Two arms that do not differ and a third that is worse, or that diverges on two seeds."""
    floors = {"sgd": 0.030, name: 0.031, "adagrad": 0.12}
    final = [_trials(floor, k, diverged and k == 2) for k, floor in enumerate(floors.values())]
    measured = measured_in(final)
    judged = {q: pairs_of(q, tuple(floors), v, tuple(range(5))) for q, v in measured.items()}
    tried = ({"lr": 0.1, "weight_decay": 1e-6, "warmup": 1.0}, {"lr": 0.137, "warmup": 12.0})
    arms = [
        Tuned(
            name=arm,
            space={"lr": (1e-3, 10.0), "weight_decay": (1e-6, 1e-2), "warmup": (1.0, 75.0)},
            tried=tuple({"weight_decay": 1.96e-5, **settings} for settings in tried),
            scores=np.array([math.inf, 0.033]),
            best=1,
            final=final[k],
            outcomes=estimates(measured)[k],
            note="the best learning rate lies at the edge of its space, 0.001 to 10" * (k == 2),
        )
        for k, arm in enumerate(floors)
    ]
    pairs = judged.pop(LOSS)
    return Comparison(
        arms=tuple(arms),
        pairs=pairs,
        beside=tuple(pair for several in judged.values() for pair in several),
        quantity=LOSS,
        trials=2,
        tuning_seeds=(5, 6),
        more_seeds=(7, 8, 9),
        seeds=tuple(range(5)),
        steps=300,
        subject="digits",
        seconds=10.6,
    )


def hostile_comparison() -> Comparison:
    """An arm whose name would break a page, and one that diverges."""
    return comparison(diverged=True, name=HOSTILE)


def _trials(floor: float, seed: int, diverged: bool) -> tuple[Trial, ...]:
    series = curves(5, 300, floor, seed)
    lost = [diverged and k < 2 for k in range(5)]
    return tuple(
        Trial(
            seed=k,
            loss=dataclasses.replace(one, values=np.where(lost[k], np.nan, one.values)),
            metrics={} if lost[k] else {"accuracy": 1 - floor},
            diverged=lost[k],
            seconds=0.1,
        )
        for k, one in enumerate(series)
    )
