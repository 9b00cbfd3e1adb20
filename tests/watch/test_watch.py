"""`watch` around a loop, and `sounding run --record`: what stands in the file is what happened.

The oracle is the loop's own bookkeeping: its losses, norms, updates and weights, computed by hand.
"""

import importlib
import signal
import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sounding
from sounding.result import Series
from sounding.watch import watch
from sounding.watch.rows import FIRST, MOST, Row, Rows


def data():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(64, 8, generator=generator), torch.randint(0, 4, (64,), generator=generator)


def net():
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 4))


def train(model, optimizer, steps=30, clip=None, kept=None):
    x, y = data()
    for _ in range(steps):
        rows = torch.randint(0, 64, (32,))
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x[rows]), y[rows])
        loss.backward()
        before = None if clip is None else nn.utils.clip_grad_norm_(model.parameters(), clip)
        if kept is not None:
            norms = [p.grad.norm() for p in model.parameters()]
            weights = [p.detach().clone() for p in model.parameters()]
        optimizer.step()
        if kept is not None:
            moved = [
                float((p.detach() - w).norm() / w.norm())
                for p, w in zip(model.parameters(), weights, strict=True)
            ]
            kept.append((loss.item(), torch.stack(norms).norm().item(), before, moved))
    return model


def adam(model, **how):
    return torch.optim.Adam(model.parameters(), lr=0.01, **how)


def test_the_file_holds_what_the_loop_did(tmp_path):
    torch.manual_seed(0)
    model, kept = net(), []
    optimizer = adam(model)
    with watch(model, optimizer, tmp_path / "run.sounding", every=10, tests=False) as seen:
        train(model, optimizer, clip=0.5, kept=kept)
    found = sounding.load(tmp_path / "run.sounding")
    (training,) = found.trainings
    loss, norm, before, moved = zip(*kept, strict=True)
    np.testing.assert_allclose(training.loss, loss, rtol=1e-5)
    np.testing.assert_allclose(training.gradient_norm, norm, rtol=1e-5)
    np.testing.assert_allclose(training.clipped_from, [float(b) for b in before], rtol=1e-5)
    np.testing.assert_array_equal(training.steps, np.arange(30))
    np.testing.assert_array_equal(training.lr, 0.01)
    assert training.seconds.min() > 0
    assert list(training.examined) == list(seen.examined) == [0, 10, 20]
    assert training.layers == ("0", "3")
    assert training.parameters == ("0.weight", "0.bias", "3.weight", "3.bias")
    np.testing.assert_allclose(training.ratio, np.array(moved)[[0, 10, 20]], rtol=1e-3)
    assert (found.end, found.damaged, found.subject) == ("finished", 0, "Sequential")
    assert found.checkup is not None
    assert seen.findings == found.checkup.findings == ()


def test_signal_gradient_and_second_moment_are_those_of_the_first_step(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
    optimizer = adam(model, eps=1e-3)
    x, y = data()
    hidden = model[0](x)
    hidden.retain_grad()
    output = model[2](model[1](hidden))
    F.cross_entropy(output, y).backward()
    rms = hidden.detach().square().mean().sqrt().item()
    back = hidden.grad.square().mean().sqrt().item()
    second = model[0].weight.grad.square().mean().sqrt().item()
    with watch(model, optimizer, tmp_path / "run", every=100, tests=False):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    (training,) = sounding.load(tmp_path / "run").trainings
    assert training.signal[0, 0] == pytest.approx(rms, rel=1e-3)
    assert training.gradient[0, 0] == pytest.approx(back, rel=1e-3)
    assert 0 < training.signal_error[0, 0] < 0.2 * rms
    assert training.second[0, 0] == pytest.approx(second, rel=1e-3)  # its bias corrected, at step 1
    assert training.effective_lr[0, 0] == pytest.approx(0.01 / (second + 1e-3), rel=2e-3)


@pytest.mark.parametrize("how", [{"every": 1}, {"every": 7}, {"overhead": 1.0}, {}])
def test_the_training_keeps_its_bits_and_its_random_numbers(tmp_path, how):
    results = []
    for watched in (False, True):
        torch.manual_seed(3)
        model = net()
        optimizer = adam(model)
        if watched:
            with watch(model, optimizer, tmp_path / "run", tests=False, **how) as seen:
                train(model, optimizer, clip=1.0)
            assert seen.note == ""
            assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
        else:
            train(model, optimizer, clip=1.0)
        results.append([*model.state_dict().values(), torch.get_rng_state()])
    assert all(map(torch.equal, *results))


def test_a_fault_is_found_and_stands_in_the_file_before_the_end(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(net(), nn.Softmax(1))
    optimizer = adam(model)
    with watch(model, optimizer, tmp_path / "run", every=5, tests=False) as seen:
        train(model, optimizer, steps=60)
    assert [finding.code for finding in seen.findings] == ["SD401"]
    assert sounding.load(tmp_path / "run").checkup.findings[0].code == "SD401"
    text = (tmp_path / "run").read_text()
    assert 0 < text.index('"kind":"findings"') < text.index('"kind":"end"')
    assert '"code":"SD401"' in text[: text.index('"kind":"end"')]


def test_two_nets_have_a_training_each(tmp_path):
    torch.manual_seed(0)
    one, other = net(), net()
    first, second = adam(one), torch.optim.SGD(other.parameters(), lr=0.5)
    x, y = data()
    with watch([one, other], [first, second], tmp_path / "run", every=4, tests=False):
        for _ in range(8):
            for model, optimizer in ((one, first), (other, second)):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
    trainings = sounding.load(tmp_path / "run").trainings
    assert [t.optimiser for t in trainings] == ["Adam", "SGD"]
    assert [len(t.loss) for t in trainings] == [8, 8]
    assert np.isnan(trainings[1].second).all()


def test_numbers_of_ones_own_and_no_file(tmp_path):
    model = net()
    optimizer = adam(model)
    with watch(model, optimizer, tmp_path / "run", tests=False) as seen:
        train(model, optimizer, steps=2)
        seen.log(accuracy=0.5)
        train(model, optimizer, steps=2)
        sounding.log(accuracy=0.75)
    (metric,) = seen.result().metrics
    assert isinstance(metric, Series)
    assert metric.quantity == "accuracy"
    assert list(zip(metric.steps, metric.values, strict=True)) == [(2, 0.5), (4, 0.75)]
    with watch(model, optimizer, None, tests=False) as seen:
        train(model, optimizer, steps=2)
    with pytest.raises(ValueError, match="name a file"):
        seen.result()


def test_an_exception_passes_through_and_is_noted(tmp_path):
    model = net()
    optimizer = adam(model)
    seen = watch(model, optimizer, tmp_path / "run", tests=False)

    def unlucky():
        with seen:
            train(model, optimizer, steps=5)
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        unlucky()
    found = seen.result()
    assert found.end == "RuntimeError: out of luck"
    assert len(found.trainings[0].loss) == 5
    with pytest.raises(FileExistsError):
        watch(model, optimizer, tmp_path / "run").__enter__()


@pytest.mark.parametrize("how", [{"every": 0}, {"overhead": 0.0}, {"overhead": 2.0}])
def test_a_cadence_that_makes_no_sense_is_refused(how):
    with pytest.raises(ValueError, match="give a"):
        watch(net(), **how)


# -- a script --------------------------------------------------------------------------------------

SCRIPT = """
import time, torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range({steps}):
    optimizer.zero_grad()
    model(torch.randn(32, 8)).square().mean().backward()
    optimizer.step()
    if step == 20:
        print("ready", flush=True)
        time.sleep({pause})
"""


@pytest.fixture
def script(python, tmp_path):
    def start(*, steps=40, pause=0.0):
        (tmp_path / "train.py").write_text(SCRIPT.format(steps=steps, pause=pause))
        how = ["--no-tests", "--record", "run.sounding"]
        return python.start("-m", "sounding", "run", *how, "train.py", cwd=tmp_path)

    return start


def test_a_script_leaves_the_same_file(tmp_path, script):
    process = script()
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert "run.sounding" in said
    found = sounding.load(tmp_path / "run.sounding")
    assert (found.end, found.subject) == ("finished", "train.py")
    assert len(found.trainings[0].loss) == 40
    again = script()
    _, said = again.communicate()
    assert again.returncode == 2
    assert "run.sounding exists" in said


@pytest.mark.parametrize(
    ("number", "end", "least"),
    [
        (signal.SIGTERM, "ended by SIGTERM", 21),
        (signal.SIGINT, "interrupted by Ctrl-C", 21),
        (signal.SIGKILL, "", 0),
    ],
)
def test_a_signal_leaves_a_file_that_says_so(tmp_path, script, number, end, least):
    process = script(pause=60)
    next(line for line in process.stdout if "ready" in line)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == -number
    found = sounding.load(tmp_path / "run.sounding")
    assert (found.end, found.damaged) == (end, 0)
    assert found.trainings[0].examined[0] == 0
    assert len(found.trainings[0].loss) >= least


# -- rows ------------------------------------------------------------------------------------------


def test_rows_are_bounded_and_keep_their_first_and_last():
    rows, total = Rows(), MOST + 50_000
    for i in range(total):
        rows.append(Row(loss=float(i)))
    loss = rows.column("loss")
    assert rows.count == total
    assert len(loss) <= MOST + 1
    np.testing.assert_array_equal(loss[:FIRST], np.arange(FIRST))
    np.testing.assert_array_equal(loss[-1000:], np.arange(total - 1000, total))
    assert np.all(np.diff(loss) > 0)


def test_an_optimiser_that_nobody_named_is_met_at_its_first_step(tmp_path):
    torch.manual_seed(0)
    model = net()
    optimizer = adam(model)
    with watch(model, (), tmp_path / "run", every=10, tests=False) as seen:
        train(model, optimizer)
    assert list(seen.examined) == [0, 10, 20]
    (training,) = sounding.load(tmp_path / "run").trainings
    assert (training.optimiser, len(training.loss)) == ("Adam", 30)


def test_a_glance_sees_what_a_full_examination_sees(tmp_path):
    """With a rate of 0 every step has the same numbers; the first two are read in full."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    x, y = data()
    with watch(model, optimizer, tmp_path / "run", every=1, tests=False):
        for _ in range(6):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    (training,) = sounding.load(tmp_path / "run").trainings
    assert list(training.examined) == list(range(6))
    for name in ("signal", "signal_error", "gradient", "gradient_error"):
        table = getattr(training, name)
        assert np.isfinite(table).all()
        np.testing.assert_allclose(table, np.broadcast_to(table[0], table.shape), rtol=1e-3)


def test_what_torch_loads_at_its_first_step_is_not_ours(monkeypatch):
    """A clock that only the model's own work moves: a long first step, and short ones after it."""
    clock = [0.0]

    class Loading(nn.Linear):
        def forward(self, x):
            clock[0] += 1.0 if clock[0] else 100.0
            return super().forward(x)

    model = Loading(8, 4)
    optimizer = adam(model)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    with watch(model, optimizer, None, tests=False) as seen:
        train(model, optimizer, steps=10)
        taken = seen.overhead
    assert (seen.steps, seen.examined[0]) == (10, 0)
    way = importlib.import_module("sounding.watch.pace").WAY  # that no clock can see
    assert taken == pytest.approx((10 - len(seen.examined)) * way / 109)
