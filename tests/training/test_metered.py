"""What is measured while a phase runs, and where it goes."""

from __future__ import annotations

import importlib.util
import math
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import finetune as ft
import finetune.training.loggers as loggers
from finetune.errors import ConfigError
from finetune.training.loggers import chosen, opened
from finetune.training.metered import COLUMNS, EVERY, Metered
from finetune.training.phase import Phase
from finetune.training.transfer import transfer
from tests.training.tiny import around, lesson, tiny


def run(folder, textures, *, epochs=3, ranks=1, **words):
    folder.mkdir(exist_ok=True)
    network = tiny()
    plan = ft.Plan(**{"accelerator": "cpu", "devices": ranks, "workers": 0, "batch_size": 2, "log": ("csv",), **words})
    what, task = lesson(textures, network)
    phase = Phase(name="all", epochs=epochs, lr=0.01, augment="none")
    transfer(network, task, what, plan, (phase,), around(folder, plan), say=lambda line: None)
    return network, what


def test_rows_say_loss_rate_gradient_throughput_wait_and_memory(tmp_path, textures):
    run(tmp_path, textures)
    rows = pd.read_csv(tmp_path / "steps.csv")
    assert tuple(rows.columns) == COLUMNS and np.isfinite(rows.drop(columns="phase").to_numpy(float)).all()
    # 24 pictures are 12 steps an epoch: the first, each tenth, and the last of an epoch.
    assert rows["step"].tolist() == [1, 10, 12, 20, 24, 30, 36] and EVERY == 10
    assert rows["epoch"].tolist() == [1, 1, 1, 2, 2, 3, 3]
    assert (rows["gradient_norm"] > 0).all() and (rows["pictures_per_second"] > 0).all()
    assert rows["data_wait"].between(0, 1).all() and rows["memory_gb"].between(0.05, 100).all()
    assert rows["rate"].max() <= 0.01 and rows["rate"].iloc[-1] < rows["rate"].max()


def test_the_norm_is_that_of_the_gradient_before_it_is_clipped_and_the_loss_that_of_a_step(tmp_path, textures):
    """With two batches a step, loss and gradient are those of both; the clip is far below."""
    one, two = tmp_path / "one", tmp_path / "two"
    run(one, textures, epochs=1, batch_size=24, gradient_clip=1e-6)
    run(two, textures, epochs=1, batch_size=24, gradient_clip=0)
    a, b = (pd.read_csv(folder / "steps.csv") for folder in (one, two))
    assert a["gradient_norm"].iloc[0] == pytest.approx(b["gradient_norm"].iloc[0]) and a["gradient_norm"].iloc[0] > 1e-3
    assert a["loss"].iloc[0] == pytest.approx(pd.read_csv(one / "metrics.csv")["train_loss"].iloc[0], rel=1e-4)


def test_waiting_for_pictures_is_seen(tmp_path):
    """A step of 30 ms whose batch takes 90 ms to come."""
    trainer = SimpleNamespace(
        global_step=0, is_global_zero=True, accumulate_grad_batches=1, world_size=4, current_epoch=0,
        is_last_batch=False,
        optimizers=[SimpleNamespace(param_groups=[{"lr": 0.1}])],
    )  # fmt: skip
    module = SimpleNamespace(gradient_norm=torch.tensor(2.0), device=torch.device("cpu"))
    batch, meter = SimpleNamespace(row=range(8)), Metered(tmp_path, "all", ("csv",))
    meter.on_train_start(trainer, module)
    meter.on_train_epoch_start(trainer, module)
    for _ in range(EVERY):
        time.sleep(0.09)
        meter.on_train_batch_start(trainer, module, batch, 0)
        time.sleep(0.03)
        trainer.global_step += 1
        meter.on_train_batch_end(trainer, module, {"loss": torch.tensor(1.0)}, batch, 0)
    last = pd.read_csv(tmp_path / "steps.csv").iloc[-1]
    assert last["data_wait"] == pytest.approx(0.75, abs=0.15)
    assert last["pictures_per_second"] == pytest.approx(4 * 8 / 0.12, rel=0.4)


def test_a_step_is_measured_for_less_than_a_hundredth_of_a_short_one(tmp_path):
    """Of a step of 20 ms, which is a small network on a fast device."""
    trainer = SimpleNamespace(
        global_step=0, is_global_zero=True, accumulate_grad_batches=1, world_size=1, current_epoch=0,
        is_last_batch=False,
        optimizers=[SimpleNamespace(param_groups=[{"lr": 0.1}] * 20)],
    )  # fmt: skip
    module = SimpleNamespace(gradient_norm=torch.tensor(2.0), device=torch.device("cpu"))
    batch, meter, loss = SimpleNamespace(row=range(8)), Metered(tmp_path, "all", ("csv",)), {"loss": torch.tensor(1.0)}
    meter.on_train_start(trainer, module)
    began = time.process_time()
    for _ in range(1000):
        meter.on_train_batch_start(trainer, module, batch, 0)
        trainer.global_step += 1
        meter.on_train_batch_end(trainer, module, loss, batch, 0)
    assert (time.process_time() - began) / 1000 < 0.0002


def test_nothing_is_written_where_nothing_is_asked_for(tmp_path, textures):
    run(tmp_path, textures, epochs=1, log=("none",))
    assert not (tmp_path / "steps.csv").exists() and not (tmp_path / "logs").exists()


def test_where_tensorboard_is_missing_the_table_is_kept_and_said(monkeypatch):
    monkeypatch.setattr(loggers, "_has", lambda name: False)
    names, told = chosen(("auto",))
    assert names == ("csv",) and "pip install 'finetune[tensorboard]'" in told
    with pytest.raises(ConfigError, match=r"Logging to wandb and mlflow .* 'finetune\[wandb,mlflow\]'"):
        chosen(("csv", "wandb", "mlflow"))
    monkeypatch.setattr(loggers, "_has", lambda name: True)
    assert chosen(("auto",)) == (("csv", "tensorboard"), None)
    assert chosen(("none",)) == ((), None)


def test_an_unknown_place_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r'log takes no "tensorbord".*Did you mean "tensorboard"'):
        ft.Plan(log=("tensorbord",))


class Heard:
    """A logger that keeps what it is told."""

    def __init__(self):
        self.told, self.ended = [], []

    def log_metrics(self, values, step):
        self.told.append((step, values))

    def save(self):
        self.ended.append("saved")

    def finalize(self, how):
        self.ended.append(how)


def test_loggers_hear_steps_and_epochs_under_the_phase_and_are_closed(tmp_path, textures, monkeypatch):
    logger = Heard()
    monkeypatch.setattr("finetune.training.metered.opened", lambda names, folder: [logger])
    run(tmp_path, textures, epochs=1)
    names = {name for _, values in logger.told for name in values}
    assert {"all/loss", "all/gradient_norm", "all/data_wait", "all/train_loss", "all/validation_accuracy"} <= names
    assert logger.ended == ["saved", "success"]
    assert all(math.isfinite(value) for _, values in logger.told for value in values.values())


def test_ranks_other_than_the_first_write_nothing(tmp_path):
    trainer = SimpleNamespace(global_step=0, is_global_zero=False, is_last_batch=True)
    module, batch = SimpleNamespace(), SimpleNamespace(row=range(8))
    meter = Metered(tmp_path, "all", ("csv", "tensorboard"))
    meter.on_train_start(trainer, module)
    meter.on_train_batch_start(trainer, module, batch, 0)
    trainer.global_step = 1
    meter.on_train_batch_end(trainer, module, {}, batch, 0)
    meter.on_train_epoch_end(trainer, module)
    meter.on_train_end(trainer, module)
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:.*")
def test_tensorboard_gets_an_event_file(tmp_path, textures):
    if not any(importlib.util.find_spec(name) for name in ("tensorboard", "tensorboardX")):
        pytest.skip("needs TensorBoard: pip install 'finetune[tensorboard]'")
    run(tmp_path, textures, epochs=1, log=("tensorboard",))
    (events,) = (tmp_path / "logs" / "tensorboard").glob("events.*")
    assert b"all/gradient_norm" in events.read_bytes() and not (tmp_path / "steps.csv").exists()


def test_mlflow_keeps_its_figures_in_a_database_of_the_run_unless_a_server_is_named(tmp_path, monkeypatch):
    """Its folders of files are refused by MLflow itself since version 3."""
    monkeypatch.setattr("lightning.pytorch.loggers.MLFlowLogger", lambda **words: words)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (words,) = opened(("mlflow",), tmp_path)
    assert words["tracking_uri"] == f"sqlite:///{(tmp_path / 'logs' / 'mlflow.db').as_posix()}"
    assert words["artifact_location"] == (tmp_path / "logs" / "artifacts").as_uri() and (tmp_path / "logs").is_dir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    (words,) = opened(("mlflow",), tmp_path)
    assert (words["tracking_uri"], words["artifact_location"]) == ("http://server", None)
