"""MLflow with a store of files, read back by its own client."""

import json

import pytest
import torch
from loops import fit, net

import sounding

pytestmark = pytest.mark.hosts


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    yield mlflow
    while mlflow.active_run():
        mlflow.end_run()


def watched(to, folder):
    torch.manual_seed(0)
    model = torch.nn.Sequential(net(sick=True))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with sounding.watch(model, optimizer, folder / "run", to=to, every=5, tests=False) as seen:
        fit(model, optimizer, 40)
    assert seen.note == ""
    return sounding.load(folder / "run").trainings[0]


def test_metrics_tags_and_the_checkup_are_read_back(mlflow, tmp_path):
    from sounding.integrations.mlflow import MLflow

    with mlflow.start_run() as run:
        training = watched(MLflow(), tmp_path)
        assert mlflow.active_run() is not None  # the user's own, which goes on
    client = mlflow.MlflowClient()
    told = client.get_metric_history(run.info.run_id, "sounding/signal/0.2")
    assert [point.step for point in told] == list(training.examined)
    assert [p.value for p in told] == pytest.approx(list(training.signal[:, 1]), rel=1e-3)
    assert client.get_metric_history(run.info.run_id, "sounding/loss")[-1].step == 39
    tags = client.get_run(run.info.run_id).data.tags
    assert (tags["sounding.problems"], tags["sounding.cautions"]) == ("SD401", "")
    saved = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/sounding/checkup.json")
    assert saved["findings"][0]["code"] == "SD401"
    assert json.dumps(saved)
    page = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/sounding/checkup.html")
    assert "SD401" in page


def test_without_a_run_one_sentence_says_so(mlflow):
    from sounding.integrations.mlflow import MLflow

    with pytest.raises(ValueError, match="no MLflow run is active; start one first"):
        MLflow()


def test_a_run_named_by_its_id_need_not_be_active(mlflow, tmp_path):
    from sounding.integrations.mlflow import MLflow

    with mlflow.start_run() as run:
        pass
    watched(MLflow(run.info.run_id), tmp_path)
    assert mlflow.active_run() is None
    assert mlflow.MlflowClient().get_run(run.info.run_id).data.tags["sounding.problems"] == "SD401"
