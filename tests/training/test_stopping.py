"""Ctrl-C where several ranks train: they end together and soon, and nothing is lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import resource_tracker
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch.multiprocessing.spawn import ProcessExitedException

import finetune as ft
from finetune.training import rounds as rounds_module
from finetune.training.rounds import Rounds
from finetune.training.stopping import PoliteStop, fit_in_ranks
from tests.running.test_resume import left, same

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are posix's")


@pytest.mark.parametrize("every", [0.0, 5.0])
def test_ranks_whose_clocks_differ_meet_before_the_same_steps(monkeypatch, every):
    """Here as threads, whose clocks run at speeds of their own."""
    clocks, met, barrier = threading.local(), [[], []], threading.Barrier(2, timeout=10)
    said: dict[int, object] = {}

    def gather(everybody, mine):
        said[clocks.rank] = mine
        barrier.wait()
        everybody[:] = [said[0], said[1]]
        barrier.wait()

    monkeypatch.setattr(rounds_module.time, "monotonic", lambda: clocks.now)
    monkeypatch.setattr(rounds_module.dist, "all_gather_object", gather)

    def train(rank, pace):
        clocks.now, clocks.rank = 100.0 * rank, rank
        rounds = Rounds(every)
        for step in range(40):
            clocks.now += pace
            if (heard := rounds.ask(SimpleNamespace(global_step=step, world_size=2), step + rank)) is not None:
                met[rank].append((step, heard))

    threads = [threading.Thread(target=train, args=(rank, pace)) for rank, pace in enumerate((1.0, 2.5))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert met[0] == met[1] and all(heard == [step, step + 1] for step, heard in met[0])
    steps = [step for step, _ in met[0]]
    # The first rank takes a second a step.
    assert steps == (list(range(40)) if every == 0 else [0, 1, *range(6, 40, 5)])


RANK = """
import signal, sys, time
if signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, []):
    sys.exit(3)
told = []
signal.signal(signal.SIGINT, lambda *_: told.append(1))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
open(sys.argv[1], "w").close()
while len(told) < int(sys.argv[2]):
    time.sleep(0.01)
"""


class Trainer:
    """As Lightning's, of ranks that end when they have been asked so many times."""

    def __init__(self, folder: Path, asked: int) -> None:
        self.started = [folder / str(rank) for rank in range(2)]
        self.asked = asked
        self.strategy = SimpleNamespace(launcher=SimpleNamespace(procs=[]))

    def fit(self, module):
        resource_tracker.ensure_running()  # as whoever starts a process
        procs = [subprocess.Popen([sys.executable, "-c", RANK, file, str(self.asked)]) for file in self.started]
        self.strategy.launcher.procs = procs
        codes = [proc.wait() for proc in procs]
        if any(codes):
            raise ProcessExitedException("gone", 0, procs[0].pid, codes[0])


def pressing(trainer: Trainer, stop: PoliteStop, times: int = 1, begun: bool = True) -> None:
    def press() -> None:
        while not all(file.exists() for file in trainer.started):
            time.sleep(0.01)
        if begun:
            stop.on_train_start(SimpleNamespace(is_global_zero=True), None)
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)

    threading.Thread(target=press, daemon=True).start()


def test_one_ctrl_c_is_handed_on_to_the_ranks_which_start_deaf_to_it(tmp_path, monkeypatch):
    """Python's own tracker lets signals through when it starts, which is with the first process."""
    running = []

    def ensure_running():
        if not running:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
            running.append(1)

    monkeypatch.setattr(resource_tracker, "ensure_running", ensure_running)
    trainer, stop = Trainer(tmp_path, asked=1), PoliteStop(tmp_path / "notes")
    before = signal.getsignal(signal.SIGINT)
    pressing(trainer, stop)
    fit_in_ranks(trainer, None, {}, stop)
    assert stop.asked and [proc.returncode for proc in trainer.strategy.launcher.procs] == [0, 0]
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_second_one_does_not_wait_for_them(tmp_path):
    trainer, stop = Trainer(tmp_path, asked=1000), PoliteStop(tmp_path / "notes")
    pressing(trainer, stop, times=2)
    with pytest.raises(KeyboardInterrupt):
        fit_in_ranks(trainer, None, {}, stop)
    assert stop.asked and [proc.returncode for proc in trainer.strategy.launcher.procs] == [-signal.SIGKILL] * 2


def test_the_first_one_ends_ranks_that_only_start(tmp_path):
    trainer, stop = Trainer(tmp_path, asked=1000), PoliteStop(tmp_path / "notes")
    pressing(trainer, stop, begun=False)
    with pytest.raises(KeyboardInterrupt):
        fit_in_ranks(trainer, None, {}, stop)
    assert [proc.returncode for proc in trainer.strategy.launcher.procs] == [-signal.SIGKILL] * 2


def test_a_rank_that_was_killed_by_somebody_else_is_no_ctrl_c(tmp_path):
    trainer, stop = Trainer(tmp_path, asked=1000), PoliteStop(tmp_path / "notes")

    def kill():
        while not all(file.exists() for file in trainer.started):
            time.sleep(0.01)
        for proc in trainer.strategy.launcher.procs:
            proc.kill()

    threading.Thread(target=kill, daemon=True).start()
    with pytest.raises(ProcessExitedException):
        fit_in_ranks(trainer, None, {}, stop)
    assert not stop.asked


def test_what_ranks_noted_for_a_process_that_was_killed_is_not_taken_for_theirs(tmp_path):
    trainer, stop = Trainer(tmp_path, asked=0), PoliteStop(tmp_path / "notes")
    stop.notes.mkdir()
    for note in ("begun", "stopped"):
        (stop.notes / note).touch()
    fit_in_ranks(trainer, None, {}, stop)
    assert not stop.asked and not stop.begun


WORDS = [
    *("--backbone", "timm/test_resnet", "--input-size", "32", "--weights", "none", "--epochs", "12"),
    *("--batch-size", "3", "--workers", "0", "--accelerator", "cpu", "--devices", "2", "--copies", "ignore"),
    *("--checkpoint-every", "0s", "--settle", "best", "--test", "0.2"),
]
ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


def fit(source: Path, out: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "finetune", "fit", str(source), *WORDS, *more, "--out", str(out)]
    # In a session of its own, as in a terminal: whoever sends its group a signal does not send it to the tests.
    return subprocess.Popen(
        command, env=ENV, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def living(run: subprocess.Popen, *words: str) -> list[int]:
    """The process itself and all that it has started which still live; of those with such a command line."""
    found = subprocess.run(["pgrep", "-s", str(run.pid), *words], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def ranks_of(run: subprocess.Popen) -> list[int]:
    """The ranks that it has started, which are spawned, where readers of pictures are forked."""
    return living(run, "-f", "spawn_main")


def wait_until(run: subprocess.Popen, there) -> None:
    end = time.monotonic() + 600
    while time.monotonic() < end and run.poll() is None and not there():
        time.sleep(0.02)
    assert run.poll() is None, run.communicate()[0]


def press(run: subprocess.Popen, to: str) -> None:
    (os.killpg if to == "group" else os.kill)(run.pid, signal.SIGINT)


def ended(run: subprocess.Popen) -> str:
    told, _ = run.communicate(timeout=600)
    assert run.returncode == 130 and "Traceback" not in told, told
    assert "finetune: stopped." in told
    all_gone(run, within=5)  # what tracks shared memory for Python sees only then that there is nobody left
    return told


def all_gone(run: subprocess.Popen, within: float) -> None:
    end = time.monotonic() + within
    while time.monotonic() < end and living(run):
        time.sleep(0.05)
    assert living(run) == []


@pytest.fixture(scope="module")
def whole(textures, tmp_path_factory) -> dict[str, bytes]:
    """What a run leaves that nobody has stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run = fit(textures, out, "--method", "full")
    told, _ = run.communicate(timeout=900)
    assert run.returncode == 0, told
    return left(out)


def resumed(out: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "finetune", "fit", "--resume", str(out)], env=ENV, text=True, capture_output=True,
        check=False, timeout=900,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.thorough
@pytest.mark.parametrize("to", ["group", "parent"])
def test_ranks_that_are_stopped_leave_a_run_that_can_be_used_and_resumed(tmp_path, textures, whole, to):
    run = fit(textures, tmp_path / "run", "--method", "full")
    wait_until(run, lambda: list((tmp_path / "run/checkpoints").glob("*.steps/00000001*/files.json")))
    press(run, to)
    assert "The model has the best weights until then" in ended(run)
    assert not (tmp_path / "run/checkpoints/.ranks").exists()
    model = ft.load(tmp_path / "run")
    assert model.stopped and model.metrics["test"]["accuracy"]["n"] > 0
    assert len((tmp_path / "run/metrics.csv").read_text().splitlines()) < 12
    resumed(tmp_path / "run")
    same(tmp_path / "run", whole)


@pytest.mark.thorough
@pytest.mark.parametrize(("method", "to"), [("full", "parent"), ("lp-ft", "group")])
def test_ranks_that_only_start_end_without_a_word(tmp_path, textures, method, to):
    """What a phase before has found is kept; without one there is nothing yet."""
    run = fit(textures, tmp_path / "run", "--method", method)
    wait_until(run, lambda: ranks_of(run))
    press(run, to)
    told = ended(run)
    if method == "full":
        assert "Nothing was kept" in told and not (tmp_path / "run").exists()
    else:
        assert ft.load(tmp_path / "run").stopped


@pytest.mark.thorough
def test_a_second_ctrl_c_ends_them_at_once_and_the_run_can_still_be_resumed(tmp_path, textures, whole):
    run = fit(textures, tmp_path / "run", "--method", "full")
    wait_until(run, lambda: list((tmp_path / "run/checkpoints").glob("*.steps/00000001*/files.json")))
    press(run, "group")
    time.sleep(0.2)
    press(run, "group")
    ended(run)
    resumed(tmp_path / "run")
    same(tmp_path / "run", whole)


@pytest.mark.thorough
def test_ranks_end_when_the_process_that_started_them_is_killed_and_the_run_can_be_resumed(tmp_path, textures, whole):
    run = fit(textures, tmp_path / "run", "--method", "full")
    wait_until(run, lambda: list((tmp_path / "run/checkpoints").glob("*.steps/00000001*/files.json")))
    run.kill()
    run.wait()
    all_gone(run, within=300)
    run.stdout.close()
    assert len((tmp_path / "run/metrics.csv").read_text().splitlines()) < 12
    resumed(tmp_path / "run")
    same(tmp_path / "run", whole)
