"""A run that was interrupted ends as it would have ended."""

import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import lightning as L
import pytest
import timm
import torch
from safetensors.torch import save_file

import finetune as ft
from finetune.cli import call
from finetune.errors import ConfigError, DataError, RunFolderError, StoppedError
from finetune.training.checkpoints import Checkpoints
from finetune.training.ledger import Ledger
from finetune.training.resuming import KeepPlace

WORDS = {
    "backbone": "timm/test_resnet", "input_size": 32, "weights": "none", "method": "full", "epochs": 4,
    "batch_size": 6, "workers": 0, "augment": "standard", "norms": "train", "mixup": 0.4, "ema": 0.3, "dropout": 0.2,
    "validation": 0.2, "test": 0.1, "checkpoint_every": "0s", "accelerator": "cpu", "copies": "ignore",
}  # fmt: skip
SAME = ("model/model.safetensors", "metrics.csv", "metrics.json", "splits.csv")


class StopBefore(L.Callback):
    """Ends a run as a signal would, in the phase `phase`-th to begin, before it takes a step."""

    def __init__(self, step: int, phase: int = 1) -> None:
        self.step, self.phase, self.taken, self.begun = step, phase, 0, 0

    def on_fit_start(self, trainer, module):
        self.begun += 1

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if self.begun == self.phase and trainer.global_step == self.step:
            raise StoppedError("stopped by the test")

    def on_train_batch_end(self, trainer, module, *_):
        self.taken += 1


def fit(source, out, *callbacks, **words):
    return ft.fit(source, **{**WORDS, **words}, out=out, callbacks=callbacks, verbose=False)


def left(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in SAME}


def interrupted(source, out, step, phase=1, **words):
    with pytest.raises(StoppedError):
        fit(source, out, StopBefore(step, phase), **words)


def same(folder: Path, whole: dict[str, bytes]) -> None:
    now = left(folder)
    assert [name for name in SAME if now[name] != whole[name]] == []


@pytest.fixture(scope="module")
def whole(textures, tmp_path_factory):
    """16 steps in 4 epochs, nobody in between."""
    watch = StopBefore(-1)
    folder = tmp_path_factory.mktemp("whole") / "run"
    fit(textures, folder, watch)
    assert watch.taken == 16
    return folder, left(folder)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Random ones in a file: which they are does not matter here."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "test_resnet.safetensors"
    save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), file)
    return file


# The first and the last step of the run, and the first one of an epoch.
EDGES = (0, 4, 15)


@pytest.mark.parametrize(
    "step", [step if step in EDGES else pytest.param(step, marks=pytest.mark.thorough) for step in range(16)]
)
def test_a_run_that_stops_before_any_step_ends_as_if_it_had_not(tmp_path, textures, whole, step):
    """The first step of an epoch too, where Lightning by itself trains nothing more or begins the epoch anew."""
    interrupted(textures, tmp_path / "run", step)
    watch = StopBefore(-1)
    ft.fit(resume=tmp_path / "run", callbacks=[watch], verbose=False)
    assert watch.taken == 16 - step
    same(tmp_path / "run", whole[1])


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.thorough), 2])
@pytest.mark.parametrize(
    "step", [3, pytest.param(4, marks=pytest.mark.thorough), pytest.param(15, marks=pytest.mark.thorough)]
)
def test_so_it_does_where_other_processes_read_the_pictures(tmp_path, textures, whole, workers, step):
    interrupted(textures, tmp_path / "run", step, workers=workers)
    ft.fit(resume=tmp_path / "run", verbose=False)
    same(tmp_path / "run", whole[1])


OTHERS = {
    "lp-ft": {"method": "lp-ft", "epochs": 2, "views": 2},
    "l2-sp": {"method": "l2-sp", "epochs": 2, "ema": 0, "weights": "FILE"},
    "lora": {"method": "lora", "epochs": 2, "weights": "FILE"},
    "gradual": {"method": "gradual", "epochs": 4, "augment": "none", "mixup": 0},
    "accumulated": {"accumulate": 2, "optimizer": "adamw", "schedule": "one-cycle"},
    "soup": {"soup": 3, "epochs": 5, "patience": 3},
    "steps": {"epochs": None, "steps": 7},
    "sizes": {"sizes": (24,)},
    "one batch an epoch": {"batch_size": 64, "epochs": 6},
    "embed": {"task": "embed", "embedding_size": 8, "batch_size": 8, "mixup": 0, "dropout": None, "epochs": 3},
}  # fmt: skip
OFTEN = ("steps",)


@pytest.mark.parametrize(
    "step", [1, pytest.param(2, marks=pytest.mark.thorough), pytest.param(5, marks=pytest.mark.thorough)]
)
@pytest.mark.parametrize(
    "name", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.thorough) for name in OTHERS]
)
def test_so_it_does_whatever_the_method(tmp_path, textures, weights, name, step):
    words = {"norms": "auto", **OTHERS[name]}
    if "weights" in words:
        words["weights"] = str(weights)
    fit(textures, tmp_path / "whole", **words)
    again = left(tmp_path / "whole")
    fit(textures, tmp_path / "run", StopBefore(-1), **words)
    same(tmp_path / "run", again)  # else the comparison below says nothing
    shutil.rmtree(tmp_path / "run")
    phase = {"sizes": 2, "gradual": 2}.get(name, 1)
    try:
        fit(textures, tmp_path / "run", StopBefore(step, phase), **words)
        stopped = False
    except StoppedError:
        stopped = True
    assert stopped or step > 1
    ft.fit(resume=tmp_path / "run", verbose=False)
    same(tmp_path / "run", again)


@pytest.mark.thorough
def test_folds_that_are_done_stay_done(tmp_path, textures):
    fit(textures, tmp_path / "whole", folds=3, epochs=1, validation=None, test=None)
    with pytest.raises(StoppedError):
        fit(textures, tmp_path / "run", StopBefore(1), folds=3, epochs=1, validation=None, test=None)
    ft.fit(resume=tmp_path / "run", verbose=False)
    assert (tmp_path / "run/out_of_fold.csv").read_bytes() == (tmp_path / "whole/out_of_fold.csv").read_bytes()
    assert (tmp_path / "run/metrics.json").read_bytes() == (tmp_path / "whole/metrics.json").read_bytes()


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:.*")  # the ranks are other processes; what they say is theirs
@pytest.mark.parametrize("step", [2, 3, 7])
def test_two_ranks_go_on_together(tmp_path, textures, step):
    words = {"devices": 2, "batch_size": 3, "epochs": 2, "norms": "frozen"}
    fit(textures, tmp_path / "whole", **words)
    interrupted(textures, tmp_path / "run", step, **words)
    ft.fit(resume=tmp_path / "run", verbose=False)
    same(tmp_path / "run", left(tmp_path / "whole"))


def _torn(folder: Path) -> None:
    state = folder / "state.ckpt"
    state.write_bytes(state.read_bytes()[:-100])


def test_a_torn_checkpoint_is_passed_over_for_the_one_before(tmp_path, textures, whole, capsys):
    interrupted(textures, tmp_path / "run", 6)
    places = sorted((tmp_path / "run/checkpoints/0-train.steps").iterdir())
    assert [place.name for place in places] == ["000000005", "000000006"]
    _torn(places[1])
    ft.fit(resume=tmp_path / "run")
    told = " ".join(capsys.readouterr().out.split())
    assert "is not whole" in told and "going on at step 5" in told
    same(tmp_path / "run", whole[1])


def test_with_none_that_is_whole_the_phase_begins_anew(tmp_path, textures, whole):
    interrupted(textures, tmp_path / "run", 6)
    for place in (tmp_path / "run/checkpoints/0-train.steps").iterdir():
        (place / "files.json").unlink()
    ft.fit(resume=tmp_path / "run", verbose=False)
    same(tmp_path / "run", whole[1])


@pytest.mark.thorough
def test_what_the_killed_process_kept_of_a_phase_is_not_taken_for_what_it_keeps_now(tmp_path, textures, weights):
    words = {"soup": 3, "epochs": 5}
    interrupted(textures, tmp_path / "run", 13, **words)
    kept = tmp_path / "run/checkpoints"
    assert (kept / "0-train-2.safetensors").exists()
    for place in (kept / "0-train.steps").iterdir():
        (place / "files.json").unlink()

    class Clean(L.Callback):
        def on_train_start(self, trainer, module):
            assert not [file.name for file in kept.iterdir() if file.is_file()]

    ft.fit(resume=tmp_path / "run", verbose=False, callbacks=[Clean()])


def test_what_was_half_written_goes_and_what_is_somebody_elses_stays(tmp_path, textures, whole):
    interrupted(textures, tmp_path / "run", 3)
    torn = tmp_path / "run/.metrics.csv.a1b2c3d4"
    theirs = tmp_path / "run/.notes.txt"
    torn.write_text("half")
    theirs.write_text("mine")
    ft.fit(resume=tmp_path / "run", verbose=False)
    assert not torn.exists() and theirs.read_text() == "mine"
    same(tmp_path / "run", whole[1])


def test_progress_that_cannot_be_read_is_named_before_anything_is_done(tmp_path, textures):
    interrupted(textures, tmp_path / "run", 3)
    (tmp_path / "run/progress.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"progress\.json cannot be read"):
        ft.fit(resume=tmp_path / "run", verbose=False)


def test_a_finished_run_is_told_again_and_nothing_is_done(tmp_path, textures, whole, capsys):
    before = left(whole[0])
    assert call(["fit", "--resume", str(whole[0])]) == 0
    assert "is finished" in " ".join(capsys.readouterr().out.split())
    assert left(whole[0]) == before


def test_there_is_nothing_to_resume_where_no_recipe_was_written(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    assert call(["fit", "--resume", str(tmp_path / "run")]) == 2
    assert "no recipe.json" in capsys.readouterr().err
    with pytest.raises(RunFolderError, match="no run folder"):
        ft.fit(resume=tmp_path / "other")


def test_resume_takes_no_other_options(tmp_path, whole):
    with pytest.raises(ConfigError, match="epochs, out"):
        ft.fit(resume=whole[0], epochs=3, out=tmp_path / "x")


def test_other_examples_are_another_run(tmp_path, textures):
    shutil.copytree(textures, tmp_path / "data")
    interrupted(tmp_path / "data", tmp_path / "run", 3)
    shutil.move(next((tmp_path / "data").rglob("*.png")), tmp_path)
    with pytest.raises(DataError, match="not those that the run"):
        ft.fit(resume=tmp_path / "run", verbose=False)


def test_two_processes_do_not_work_on_one_run(tmp_path, textures):
    if os.name != "posix":
        pytest.skip("locks are posix's")
    interrupted(textures, tmp_path / "run", 3)

    class Second(L.Callback):
        def on_train_start(self, trainer, module):
            with pytest.raises(RunFolderError, match="Another process"):
                ft.fit(resume=tmp_path / "run", verbose=False)

    ft.fit(resume=tmp_path / "run", verbose=False, callbacks=[Second()])


class Signals(L.Callback):
    """Sends this process a signal before a step, or in a validation."""

    def __init__(self, number, step=None, validation=False):
        self.number, self.step, self.validation = number, step, validation

    def on_train_batch_end(self, trainer, module, *_):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)

    def on_validation_start(self, trainer, module):
        if self.validation:
            os.kill(os.getpid(), self.number)


@pytest.mark.skipif(os.name != "posix", reason="signals are posix's")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_ends_the_run_after_a_checkpoint(tmp_path, textures, whole, name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with pytest.raises(StoppedError, match=f"{name}.*before step 6.*--resume") as told:
        fit(textures, tmp_path / "run", Signals(number, 5), checkpoint_every="1h")
    assert told.value.exit_code == 128 + number and signal.getsignal(number) == before
    assert json.loads((tmp_path / "run/progress.json").read_text())["finished"] is False
    ft.fit(resume=tmp_path / "run", verbose=False)
    same(tmp_path / "run", whole[1])


@pytest.mark.thorough
@pytest.mark.skipif(os.name != "posix", reason="signals are posix's")
def test_in_a_validation_the_last_checkpoint_has_to_do(tmp_path, textures, whole):
    with pytest.raises(StoppedError):
        fit(textures, tmp_path / "run", Signals(signal.SIGTERM, validation=True))
    ft.fit(resume=tmp_path / "run", verbose=False)
    same(tmp_path / "run", whole[1])


@pytest.mark.skipif(os.name != "posix", reason="signals are posix's")
def test_slurm_takes_the_job_back_and_it_goes_on_where_it_was(tmp_path, textures, whole, monkeypatch):
    """Against a `scontrol` of our own, which takes down what it is told."""
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin/scontrol"
    fake.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/told\n')
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    with pytest.raises(StoppedError) as told:
        fit(textures, tmp_path / "run", Signals(signal.SIGUSR1, 5), checkpoint_every="1h")
    assert "in the queue again" in " ".join(told.value.__notes__)
    assert (tmp_path / "told").read_text().split() == ["requeue", "4711"]
    # The job's script says what it said the first time.
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    watch = StopBefore(-1)
    fit(textures, tmp_path / "run", watch, checkpoint_every="1h")
    assert watch.taken == 16 - 5
    same(tmp_path / "run", whole[1])


class FromRank(L.Callback):
    """Sends the process that started the ranks a signal."""

    def __init__(self, parent: int) -> None:
        self.parent = parent

    def on_train_batch_end(self, trainer, module, *_):
        if trainer.global_step == 1 and trainer.is_global_zero:
            os.kill(self.parent, signal.SIGTERM)
            time.sleep(1)


@pytest.mark.thorough
@pytest.mark.skipif(os.name != "posix", reason="signals are posix's")
@pytest.mark.filterwarnings("ignore:.*")
def test_a_signal_reaches_spawned_ranks(tmp_path, textures):
    words = {"devices": 2, "batch_size": 3, "epochs": 2, "norms": "frozen", "checkpoint_every": "1h"}
    with pytest.raises(StoppedError):
        fit(textures, tmp_path / "run", FromRank(os.getpid()), **words)
    assert list((tmp_path / "run/checkpoints").glob("*.steps/*/state.ckpt"))
    ft.fit(resume=tmp_path / "run", verbose=False)
    fit(textures, tmp_path / "whole", **words)
    same(tmp_path / "run", left(tmp_path / "whole"))


def test_a_full_disk_costs_a_checkpoint_and_not_the_run(tmp_path, textures, whole, monkeypatch, capsys):
    def full(*args, **words):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoints, "write", full)
    ft.fit(textures, **WORDS, out=tmp_path / "run")
    assert "no checkpoint could be written at step" in " ".join(capsys.readouterr().out.split())
    same(tmp_path / "run", whole[1])


class Full(L.Callback):
    """The first rank can write no checkpoint."""

    def on_train_start(self, trainer, module):
        if trainer.is_global_zero:
            for callback in trainer.callbacks:
                if isinstance(callback, KeepPlace):
                    callback.standing.checkpoints.folder = Path(os.devnull) / "x"


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:.*")
def test_a_full_disk_does_not_leave_the_other_ranks_waiting(tmp_path, textures):
    words = {"devices": 2, "batch_size": 3, "epochs": 1, "norms": "frozen"}
    fit(textures, tmp_path / "run", Full(), **words)
    assert json.loads((tmp_path / "run/progress.json").read_text())["finished"] is True


def test_a_checkpoint_that_fails_half_way_leaves_those_before(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in range(3):
        checkpoints.write(lambda path: path.write_bytes(b"state"), beside=[], facts={"step": step})

    def half(path):
        path.write_bytes(b"st")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="space"):
        checkpoints.write(half, beside=[], facts={"step": 3})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000001", "000000002"]
    assert checkpoints.last(pytest.fail).facts == {"step": 2}


def test_the_record_of_progress_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "progress.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"progress\.json cannot be read"):
        Ledger(tmp_path, resume=True)


def _killed_and_resumed(textures: Path, out: Path, after: float) -> None:
    words = [f"--{name.replace('_', '-')}={value}" for name, value in WORDS.items()]
    command = [sys.executable, "-m", "finetune", "fit", str(textures), *words, "--out", str(out)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        child.wait(after)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGKILL)
        child.wait()
    if not (out / "recipe.json").exists():
        with pytest.raises(RunFolderError):
            ft.fit(resume=out, verbose=False)
        return
    ft.fit(resume=out, verbose=False)


def _kill_times(count: int) -> list[float]:
    chance = random.Random(0)
    return [chance.uniform(0.5, 14) for _ in range(count)]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is posix's")
@pytest.mark.parametrize("after", [9.0, *(pytest.param(t, marks=pytest.mark.thorough) for t in _kill_times(20))])
def test_a_run_that_is_killed_at_any_moment_ends_as_if_it_had_not(tmp_path, textures, whole, after):
    _killed_and_resumed(textures, tmp_path / "run", after)
    if (tmp_path / "run/recipe.json").exists():
        same(tmp_path / "run", whole[1])
