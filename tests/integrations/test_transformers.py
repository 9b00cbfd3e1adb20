"""The callback in the Trainer of transformers: what it sees, and what an exception leaves."""

import numpy as np
import pytest
import torch
from loops import net, samples
from torch import nn
from torch.nn.functional import cross_entropy

import sounding

pytestmark = pytest.mark.hosts


class Model(nn.Module):
    """In the manner of transformers: the loss comes back with the scores."""

    def __init__(self, sick=False, fails_at=None):
        super().__init__()
        self.net, self.calls, self.fails_at = net(sick), 0, fails_at

    def forward(self, x, labels):
        self.calls += 1
        if self.calls == self.fails_at:
            raise RuntimeError("the data ended")
        scores = self.net(x)
        return {"loss": cross_entropy(scores, labels), "logits": scores}


class Data(torch.utils.data.Dataset):
    def __init__(self):
        self.x, self.y = samples()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, row):
        return {"x": self.x[row], "labels": self.y[row]}


def trainer(folder, callbacks, model=None, **how):
    from transformers import Trainer, TrainingArguments

    torch.manual_seed(0)
    arguments = TrainingArguments(
        output_dir=str(folder / "out"), max_steps=20, per_device_train_batch_size=32, use_cpu=True,
        report_to=how.pop("report_to", "none"), save_strategy="no", disable_tqdm=True,
        logging_steps=10, learning_rate=0.01, seed=3, dataloader_pin_memory=False, **how,
    )  # fmt: skip
    model = Model() if model is None else model
    return Trainer(model, arguments, train_dataset=Data(), callbacks=callbacks)


def callback(path, **how):
    from sounding.integrations.transformers import SoundingCallback

    return SoundingCallback(path, **{"every": 5, "tests": False, "quiet": True, **how})


def test_a_training_is_watched_whole_and_keeps_its_bits(tmp_path):
    path = tmp_path / "run.sounding"
    plain, seen = trainer(tmp_path, []), trainer(tmp_path, [callback(path)])
    plain.train()
    seen.train()
    states = (one.model.state_dict().values() for one in (plain, seen))
    assert all(map(torch.equal, *states))
    run = sounding.load(path)
    (training,) = run.trainings
    assert (run.end, len(training.loss), training.optimiser) == ("finished", 20, "AdamW")
    assert training.layers == ("net.0", "net.2")
    assert list(training.examined) == [0, 5, 10, 15]
    assert training.lr[0] == pytest.approx(0.01)
    assert (training.clipped_from > 0).all()  # the trainer clips at 1 by default
    assert run.checkup.problems == ()
    assert "_run_epoch" not in vars(seen)


def test_accumulated_gradients_are_one_step(tmp_path):
    path = tmp_path / "run.sounding"
    trainer(tmp_path, [callback(path)], gradient_accumulation_steps=2).train()
    assert len(sounding.load(path).trainings[0].loss) == 20


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_training_that_fails_has_a_complete_file_and_leaves_nothing(tmp_path, error):
    path = tmp_path / "run.sounding"
    one = trainer(tmp_path, [callback(path)], Model(fails_at=8))
    if error is KeyboardInterrupt:
        one.model.fails_at = None
        one.add_callback(_interrupting(7))
    with pytest.raises(error):
        one.train()
    run = sounding.load(path)
    said = {RuntimeError: "RuntimeError: the data ended"}.get(error, "interrupted by Ctrl-C")
    assert (run.end, len(run.trainings[0].loss)) == (said, 7)
    assert run.checkup is not None
    assert not {"_run_epoch", "training_step"} & set(vars(one))


def _interrupting(at):
    from transformers import TrainerCallback

    class Interrupting(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == at:
                raise KeyboardInterrupt

    return Interrupting()


def test_a_callback_that_is_added_later_ends_with_the_training_too(tmp_path):
    path = tmp_path / "run.sounding"
    one = trainer(tmp_path, [], Model(fails_at=8))
    one.add_callback(callback(path))
    with pytest.raises(RuntimeError, match="the data ended"):
        one.train()
    assert sounding.load(path).end == "RuntimeError: the data ended"


def test_a_fault_is_found_in_a_model_of_transformers(tmp_path, capsys):
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=16, num_labels=3,
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    rows = [
        {"input_ids": torch.randint(0, 20, (8,)), "labels": torch.tensor(i % 3)} for i in range(64)
    ]
    one = trainer(tmp_path, [callback(tmp_path / "run.sounding", quiet=False)], model)
    one.train_dataset = rows
    one.args.max_steps = 4
    one.train()
    run = sounding.load(tmp_path / "run.sounding")
    assert any("attention" in name for name in run.trainings[0].layers)
    assert np.isfinite(run.trainings[0].gradient).all()
    assert "sounding live" in capsys.readouterr().err
