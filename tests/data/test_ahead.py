"""Reading ahead: in order, bounded, and past what ends whoever reads it."""

import ctypes
import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import finetune
from finetune.data import ahead
from finetune.data.ahead import read_ahead, read_apart
from finetune.data.examples import read_examples
from finetune.data.loaders import stream
from finetune.data.options import Data
from finetune.data.readers import scan
from finetune.errors import DataError, UnreadableError
from finetune.types import ImageSpec

from .pictures import tree

SPEC = ImageSpec(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
forking = pytest.mark.skipif(sys.platform != "linux", reason="reads on threads")


def test_reading_ahead_keeps_order_and_bounds():
    running, most, lock = 0, 0, threading.Lock()
    taken = 0

    def work(item):
        nonlocal running, most
        with lock:
            running = item - taken
            most = max(most, running)
        return item * item

    results = []
    for result in read_ahead(work, range(200), threads=4, ahead=10):
        taken += 1
        results.append(result)
    assert results == [n * n for n in range(200)] and most <= 12


def test_reading_ahead_stops_when_nobody_listens():
    done = []
    results = read_ahead(done.append, range(10_000), threads=2, ahead=8)
    next(results)
    results.close()
    assert len(done) < 50


def odd(item):
    if item % 5 == 3:
        raise UnreadableError(f"{item} cannot be read")
    return item * item


@pytest.mark.parametrize("count", [0, 1, 7, 100])
@pytest.mark.parametrize("readers", [1, 3])
def test_processes_answer_what_threads_answer(count, readers):
    here, apart = (list(read_apart(odd, range(count), readers, ahead=4, here=here)) for here in (True, False))
    assert [str(answer) for answer in here] == [str(answer) for answer in apart]
    assert [type(answer) for answer in here] == [type(answer) for answer in apart]
    assert [answer for answer in apart if isinstance(answer, int)] == [n * n for n in range(count) if n % 5 != 3]


@forking
def test_pictures_are_read_in_other_processes_as_many_as_were_asked_for_and_worth_it():
    def who(item):
        time.sleep(0.005)
        return os.getpid()

    assert len(set(read_apart(who, range(ahead.EACH), 3))) == 1
    pids = set(read_apart(who, range(4 * ahead.EACH), 3))
    assert len(pids) == 3 and os.getpid() not in pids
    assert set(read_apart(who, range(4), 3, here=True)) == {os.getpid()}


def by_signal(number):
    def end():
        faulthandler.disable()
        os.kill(os.getpid(), number)
        time.sleep(60)

    return end


ENDS = {
    "SIGSEGV": lambda: ctypes.string_at(0),
    "SIGKILL": by_signal(signal.SIGKILL),
    "SIGABRT": os.abort,
    "exit code 3": lambda: os._exit(3),
}


@forking
@pytest.mark.parametrize("how", ENDS)
def test_an_item_that_ends_its_process_costs_that_item(how, monkeypatch):
    def work(item):
        if item in (0, 11, 12, 29):
            ENDS[how]()
        return item

    monkeypatch.setattr(ahead, "EACH", 1)
    answers = list(read_apart(work, range(30), 2, ahead=6))
    lost = {item: str(answer) for item, answer in enumerate(answers) if isinstance(answer, UnreadableError)}
    assert lost == dict.fromkeys((0, 11, 12, 29), f"the process that read it was ended by {how}.")
    assert [answer for answer in answers if isinstance(answer, int)] == [n for n in range(30) if n not in lost]
    assert multiprocessing.active_children() == []


@forking
def test_a_process_that_was_killed_once_is_no_fault_of_what_it_read(tmp_path):
    def work(item):
        if item == 4 and not (tmp_path / "tried").exists():
            (tmp_path / "tried").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    assert list(read_apart(work, range(20), 2)) == list(range(20))


@forking
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signals_to_the_whole_group_are_the_runs_and_not_the_readers(number):
    def work(item):
        if item % 3 == 0:
            os.kill(os.getpid(), number)
        return item

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert list(read_apart(work, range(20), 2)) == list(range(20))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask


class Choosy(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


@forking
@pytest.mark.parametrize("error", [DataError("no such column"), ValueError("odd"), Choosy(1, 2)])
def test_other_errors_are_raised_here_and_say_where_they_came_up(error):
    def work(item):
        if item == 5:
            raise error
        return item

    answers = read_apart(work, range(20), 2)
    with pytest.raises(Exception, match=str(error)) as caught:
        list(answers)
    assert isinstance(caught.value, type(error) if not isinstance(error, Choosy) else RuntimeError)
    told = str(caught.value) + "".join(getattr(caught.value, "__notes__", []))
    assert ("test_ahead.py" in told) != isinstance(error, DataError), "what is said to a user is said in one line"
    assert multiprocessing.active_children() == []


@forking
def test_who_stops_early_waits_for_nobody_and_leaves_nobody(tmp_path):
    def work(item):
        (tmp_path / str(item)).touch()
        return item

    answers = read_apart(work, range(10_000), 2, ahead=8)
    assert next(answers) == 0
    assert len(multiprocessing.active_children()) == 2
    answers.close()
    assert multiprocessing.active_children() == [] and len(list(tmp_path.iterdir())) < 50


ALONE = """
import os, signal, time
from finetune.data.ahead import read_apart
answers = read_apart(lambda item: os.getpid(), range(200), 3, ahead=90)
for pid in {next(answers) for _ in range(60)}:
    print(pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@forking
def test_readers_do_not_outlive_a_run_that_is_killed():
    env = os.environ | {"PYTHONPATH": str(Path(finetune.__file__).parents[1])}
    died = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, env=env, timeout=60)
    assert died.returncode == -signal.SIGKILL and died.stdout.split()
    end = time.monotonic() + 20
    left = list(map(int, died.stdout.split()))
    while left and time.monotonic() < end:
        left = [pid for pid in left if alive(pid)]
        time.sleep(0.05)
    assert not left


def alive(pid):
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_where_no_process_can_be_forked_threads_read(monkeypatch):
    monkeypatch.setattr(ahead, "_forks", lambda: False)
    assert set(read_apart(lambda item: os.getpid(), range(40), 3)) == {os.getpid()}


@forking
def test_a_pass_over_pictures_tells_of_the_one_that_crashes(tmp_path, monkeypatch):
    tree(tmp_path / "pets", [f"{name}/{n}.jpg" for name in ("cat", "dog") for n in range(6)])
    inner = finetune.data.readers.read_image

    def read_image(source, **words):
        if str(source).endswith("dog/2.jpg"):
            ENDS["SIGSEGV"]()
        return inner(source, **words)

    for room in ("readers", "loaders"):
        monkeypatch.setattr(f"finetune.data.{room}.read_image", read_image)
    examples = read_examples(Data(source=str(tmp_path / "pets")))
    why = {8: "the process that read it was ended by SIGSEGV."}
    parts = list(stream(examples, SPEC, batch_size=5))
    assert {row: reason for _, _, errors in parts for row, reason in errors.items()} == why == scan(examples)
    assert [len(rows) for rows, _, _ in parts] == [5, 4, 2]


@forking
def test_pictures_that_were_read_before_are_read_on_threads_from_then_on(tmp_path, monkeypatch):
    tree(tmp_path / "pets", [f"{name}/{n}.jpg" for name in ("cat", "dog") for n in range(3)])
    examples, started = read_examples(Data(source=str(tmp_path / "pets"))), []
    start = ahead._Reader.__enter__
    monkeypatch.setattr(ahead._Reader, "__enter__", lambda reader: started.append(1) or start(reader))
    first = [(rows.tolist(), pictures) for rows, pictures, _ in stream(examples, SPEC, batch_size=4)]
    assert len(started) == 1
    again = [(rows.tolist(), pictures) for rows, pictures, _ in stream(examples, SPEC, batch_size=4)]
    assert scan(examples) == {} and len(started) == 1
    assert all(one[0] == two[0] and one[1].equal(two[1]) for one, two in zip(first, again, strict=True))
    tree(tmp_path / "pets", ["cat/9.jpg"])
    assert scan(read_examples(Data(source=str(tmp_path / "pets")))) == {} and len(started) == 2


CRASHING = """
import ctypes, sys
import finetune.data.readers as readers
inner = readers.read_image
def read_image(source, **words):
    if str(source).endswith("bad.jpg"):
        ctypes.string_at(0)
    return inner(source, **words)

import finetune.data.loaders as loaders
readers.read_image = loaders.read_image = read_image
from finetune.cli import main
sys.exit(main(sys.argv[1:]))
"""


def finetune_with_a_decoder_that_crashes(*words, cache):
    return subprocess.run(
        [sys.executable, "-c", CRASHING, *map(str, words)], capture_output=True, text=True,
        env=os.environ | {"FINETUNE_CACHE": str(cache), "PYTHONPATH": str(Path(finetune.__file__).parents[1])},
    )  # fmt: skip


@forking
@pytest.mark.thorough  # three runs of the command line each
@pytest.mark.parametrize("method", ["probe", "full"])  # features, and a plain reading
def test_a_picture_that_crashes_its_decoder_is_named_and_left_out_where_asked(tmp_path, method):
    tree(tmp_path / "pets", [f"{name}/{n}.jpg" for name in ("cat", "dog") for n in range(8)])
    tree(tmp_path / "pets", ["cat/bad.jpg"])
    words = ("fit", tmp_path / "pets", "--backbone", "finetune/lenet5", "--weights", "none", "--method", method,
             "--epochs", "1", "--out", tmp_path / "run", "--accelerator", "cpu", "--workers", "0")  # fmt: skip
    first = finetune_with_a_decoder_that_crashes(*words, cache=tmp_path / "cache")
    assert first.returncode == 2
    told = " ".join((first.stdout + first.stderr).split())
    assert "cat/bad.jpg: the process that read it was ended by SIGSEGV." in told and "--on-corrupt skip" in told
    assert "Fatal Python error" not in told and "Traceback" not in told
    second = finetune_with_a_decoder_that_crashes(
        *words, "--overwrite", "--on-corrupt", "skip", cache=tmp_path / "cache"
    )
    assert second.returncode == 0, second.stderr
    assert "bad.jpg" not in (tmp_path / "run" / "splits.csv").read_text(encoding="utf-8")
    asked = finetune_with_a_decoder_that_crashes(
        "predict", tmp_path / "run", tmp_path / "pets", "--out", tmp_path / "answers.csv", cache=tmp_path / "cache"
    )
    assert asked.returncode == 1, asked.stderr
    lines = (tmp_path / "answers.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 18 and sum("ended by SIGSEGV" in line for line in lines) == 1
