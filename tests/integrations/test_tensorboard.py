"""TensorBoard, read back by its own reader."""

import pytest
import torch
from loops import fit, net

import sounding

pytestmark = pytest.mark.hosts


def watched(to, folder):
    torch.manual_seed(0)
    model = net(sick=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with sounding.watch(model, optimizer, folder / "run", to=to, every=5, tests=False) as seen:
        fit(model, optimizer, 40)
    assert seen.note == ""
    return sounding.load(folder / "run").trainings[0]


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), {"scalars": 0, "histograms": 0}).Reload()


def test_scalars_histograms_text_and_picture_are_read_back(tmp_path):
    from sounding.integrations.tensorboard import TensorBoard

    training = watched(TensorBoard(tmp_path / "logs"), tmp_path)
    events = read(tmp_path / "logs")
    tags = events.Tags()
    told = events.Scalars("sounding/signal/2")
    assert [point.step for point in told] == list(training.examined)
    assert [p.value for p in told] == pytest.approx(list(training.signal[:, 1]), rel=1e-3)
    ratios = events.Scalars("sounding/ratio/0.weight")
    assert [p.value for p in ratios] == pytest.approx(list(training.ratio[:, 0]), rel=1e-3)
    assert events.Scalars("sounding/loss")[-1].step == 39
    assert "sounding/gradient (log10)" in tags["histograms"]
    histogram = events.Histograms("sounding/gradient (log10)")[0].histogram_value
    assert histogram.num == 2
    assert 10**histogram.max == pytest.approx(training.gradient[0].max(), rel=1e-3)
    assert tags["images"] == ["sounding/depth"]
    text = events.Tensors("sounding/findings/text_summary")[-1].tensor_proto.string_val[0]
    assert b"problem SD401 softmax-before-cross-entropy" in text


def test_a_writer_of_the_users_stays_open(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    from sounding.integrations.tensorboard import TensorBoard

    with SummaryWriter(str(tmp_path / "logs")) as writer:
        watched(TensorBoard(writer), tmp_path)
        writer.add_scalar("mine", 3.0, 0)
    tags = read(tmp_path / "logs").Tags()["scalars"]
    assert {"mine", "sounding/loss"} <= set(tags)
