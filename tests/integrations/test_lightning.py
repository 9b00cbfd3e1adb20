"""The callback in Lightning's own Trainer: what it sees, what it leaves, under either name."""

import warnings

import pytest
import torch
from loops import loader, net
from torch.nn.functional import cross_entropy

import sounding

pytestmark = [
    pytest.mark.hosts,
    # of Lightning itself, on this version of torch
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:.*LitLogger"),
]


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def host(request, monkeypatch):
    """Lightning under one of its names, and the callback made for that one."""
    import importlib
    import sys

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module(request.param)
    other = {"lightning.pytorch", "pytorch_lightning"} - {request.param}
    monkeypatch.delitem(sys.modules, other.pop(), raising=False)
    monkeypatch.delitem(sys.modules, "sounding.integrations.lightning", raising=False)
    module.SoundingCallback = importlib.import_module(
        "sounding.integrations.lightning"
    ).SoundingCallback
    return module


def module(host, sick=False, fails_at=None):
    class Module(host.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = net(sick)

        def training_step(self, batch, index):
            x, y = batch
            if self.global_step == fails_at:
                raise RuntimeError("the data ended")
            loss = cross_entropy(self.net(x), y)
            self.log("mine", loss)
            return loss

        def validation_step(self, batch, index):
            self.log("validation", cross_entropy(self.net(batch[0]), batch[1]))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Module()


def fit(host, folder, callbacks, model=None, **how):
    torch.manual_seed(0)
    model = module(host) if model is None else model
    trainer = host.Trainer(
        max_epochs=5, accelerator="cpu", devices=1, callbacks=callbacks,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, **{"logger": False, **how},
    )  # fmt: skip
    trainer.fit(model, loader(), loader())
    return trainer, model


def test_a_fit_is_watched_whole_and_keeps_its_bits(host, tmp_path, capsys):
    path = tmp_path / "run.sounding"
    callback = host.SoundingCallback(path, every=5, tests=False)
    assert isinstance(callback, host.Callback)
    _, plain = fit(host, tmp_path, [])
    _, seen = fit(host, tmp_path, [callback], gradient_clip_val=None)
    assert all(map(torch.equal, plain.state_dict().values(), seen.state_dict().values()))
    run = sounding.load(path)
    (training,) = run.trainings
    assert (run.end, len(training.loss)) == ("finished", 20)
    assert training.layers == ("net.0", "net.2")
    assert list(training.examined) == [0, 5, 10, 15]
    assert callback.checkup.findings == ()
    assert f"nothing found in 20 steps; look at it with: sounding live {path}" in (
        capsys.readouterr().err
    )


def test_clipping_and_accumulation_of_the_trainer_are_seen(host, tmp_path):
    path = tmp_path / "run.sounding"
    callback = host.SoundingCallback(path, every=1, tests=False, quiet=True)
    fit(host, tmp_path, [callback], gradient_clip_val=1e-3, accumulate_grad_batches=2)
    (training,) = sounding.load(path).trainings
    assert len(training.loss) == 10
    assert (training.clipped_from > 1e-3).all()
    assert training.gradient_norm == pytest.approx(1e-3, rel=1e-3)


def test_a_fault_is_found(host, tmp_path, capsys):
    callback = host.SoundingCallback(tmp_path / "run.sounding", every=5)
    torch.manual_seed(0)
    fit(host, tmp_path, [callback], module(host, sick=True))
    assert [f.code for f in callback.checkup.findings] == ["SD401"]
    assert "SD401" in capsys.readouterr().err


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_fit_that_fails_has_a_complete_file_and_leaves_nothing(host, tmp_path, error):
    path = tmp_path / "run.sounding"
    callback = host.SoundingCallback(path, every=5, tests=False, quiet=True)
    model = module(host, fails_at=7)
    if error is KeyboardInterrupt:
        model.on_train_batch_end = lambda *_: _interrupt(model)
    with pytest.raises((RuntimeError, SystemExit)):
        fit(host, tmp_path, [callback], model)
    run = sounding.load(path)
    said = {RuntimeError: "RuntimeError: the data ended"}.get(error, "interrupted by Ctrl-C")
    assert run.end == said
    assert len(run.trainings[0].loss) == (7 if error is RuntimeError else 3)
    assert run.checkup is not None


def _interrupt(model):
    if model.global_step == 3:
        raise KeyboardInterrupt


def test_the_trainers_own_loggers_are_told(host, tmp_path):
    import csv

    import_from = __import__(f"{host.__name__}.loggers", fromlist=["CSVLogger"])
    logger = import_from.CSVLogger(str(tmp_path), flush_logs_every_n_steps=1)
    callback = host.SoundingCallback(
        tmp_path / "run.sounding", every=5, tests=False, quiet=True, log=True
    )
    fit(host, tmp_path, [callback], logger=logger, log_every_n_steps=1)
    with (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    (training,) = sounding.load(tmp_path / "run.sounding").trainings
    told = {
        int(r["step"]): float(r["sounding/signal/net.2"])
        for r in rows
        if r.get("sounding/signal/net.2")
    }
    assert list(told) == [0, 5, 10, 15]
    assert list(told.values()) == pytest.approx(list(training.signal[:, 1]), rel=1e-3)


def test_two_fits_with_one_callback_ask_before_they_overwrite(host, tmp_path):
    callback = host.SoundingCallback(tmp_path / "run.sounding", tests=False, quiet=True)
    fit(host, tmp_path, [callback])
    with pytest.raises(FileExistsError, match=r"run\.sounding exists"):
        fit(host, tmp_path, [callback])
