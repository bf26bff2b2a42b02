"""MLflow and Weights & Biases, live and without network: what a run writes is what they have."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imsave

from experiments.storage.metrics import Metrics
from experiments.storage.run_facts import RunFacts
from experiments.storage.trackers import STOPPED, Trackers
from tests.peers.conftest import peer

pytestmark = pytest.mark.peers
CONFIG = {"model.width": 48, "optimizer.name": "adamw", "model.dropout": None}


def write_sessions(workdir: Path, name: str) -> None:
    """Write a run that is stopped after two updates, goes on from the first, and ends with a picture."""
    facts = RunFacts(workdir, CONFIG, "abc")
    with Metrics(workdir, Trackers([name], facts)) as metrics:
        for step in (1, 2):
            metrics.write(step, "train", {"loss": 1.0 / step})
        metrics.status = STOPPED
    with Metrics(workdir, Trackers([name], facts)) as metrics:
        metrics.cut_back(1)
        for step in (2, 3):
            metrics.write(step, "train", {"loss": 1.0 / step})
        metrics.write(3, "validation", {"loss": float("nan")})
        picture = workdir / "curves.png"
        imsave(picture, np.zeros((2, 2)))
        metrics.trackers.picture("curves", picture, 3)


def payload_of(content: bytes) -> bytes:
    """Join the records of a log in LevelDB's form: blocks of 32 KiB; a header of 4 bytes CRC, 2 length, 1 type each."""
    found, at = b"", 7  # behind the header of the file
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # the end of a block is filled
            at += 32768 - at % 32768
            continue
        length = int.from_bytes(content[at + 4 : at + 6], "little")
        found += content[at + 7 : at + 7 + length]
        at += 7 + length
    return found


@pytest.mark.filterwarnings("default")
def test_mlflow_has_one_run_with_config_metrics_and_picture(tmp_path, monkeypatch, capsys):
    mlflow = peer("mlflow")
    monkeypatch.chdir(tmp_path)
    write_sessions(tmp_path, "mlflow")
    assert "failed" not in capsys.readouterr().err
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("transformer").experiment_id])
    assert run.info.run_id == json.loads((tmp_path / "trackers.json").read_text())["mlflow"]
    assert (run.info.status, run.info.run_name) == ("FINISHED", tmp_path.name)
    assert run.data.params == {"model.width": "48", "optimizer.name": "adamw", "model.dropout": "None"}
    assert run.data.tags["mlflow.source.git.commit"] == "abc"
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert sorted({(m.step, m.value) for m in history}) == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert [artifact.path for artifact in client.list_artifacts(run.info.run_id, "pictures")] == ["pictures/curves.png"]


@pytest.mark.filterwarnings("default")
def test_weights_and_biases_has_one_offline_run_with_config_metrics_and_picture(tmp_path, monkeypatch, capsys):
    peer("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    write_sessions(tmp_path, "wandb")
    assert "failed" not in capsys.readouterr().err
    key = json.loads((tmp_path / "trackers.json").read_text())["wandb"]
    folders = sorted((tmp_path / "wandb").glob(f"offline-run-*-{key}"))
    assert folders  # sessions of one second share a folder
    records = b"".join(payload_of(path.read_bytes()) for folder in folders for path in folder.glob("*.wandb"))
    for part in (b"model.width", b"adamw", b"train/loss", b"validation/loss"):
        assert part in records
    assert any(folder.rglob("curves*.png") for folder in folders)
