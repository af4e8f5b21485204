"""Readers that die, and machines that share little memory."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

import finetune
import finetune.data.loaders as loaders
import finetune.data.workers as workers
from finetune.data.examples import read_examples
from finetune.data.labels import Labels
from finetune.data.loaders import make_loader, view_loader
from finetune.data.options import Data
from finetune.data.workers import DataLoader, PictureLoader, _of_a_death, killers
from finetune.errors import DataError, UnreadableError
from finetune.types import ImageSpec

from .pictures import tree

SPEC = ImageSpec(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Torch looks every five seconds whether its processes are alive; so the tests need not wait."""
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)
    monkeypatch.setattr("torch.utils.data.dataloader._MultiProcessingDataLoaderIter._try_get_data.__defaults__", (0.2,))


@pytest.fixture
def examples(tmp_path):
    tree(tmp_path, [f"{name}/{n}.jpg" for name in ("cat", "dog") for n in range(8)])
    return read_examples(Data(source=str(tmp_path)))


@pytest.fixture(scope="module", autouse=True)
def imported():
    """The library that varies pictures, once and not in every process."""
    examples = read_examples(Data(source=([np.zeros((16, 16, 3), np.uint8)] * 2, ["a", "b"])))
    assert loader(examples, workers=0).dataset[(0, 0)] is not None


def loader(examples, **options):
    targets = Labels.from_targets(examples.kind, examples.targets).encode(examples.targets)
    words = {"batch_size": 4, "train": True, "policy": "light", "workers": 2, "say": lambda line: None}
    return make_loader(examples, targets, SPEC, **words | options)


def fatal(monkeypatch, *names, by=signal.SIGSEGV):
    """Pictures of these names kill every process but this one."""
    read = loaders.read_image

    def reads(path, **words):
        if multiprocessing.parent_process() is not None and str(path).endswith(names):
            faulthandler.disable()  # pytest's, which would print where every process was
            os.kill(os.getpid(), by)
        return read(path, **words)

    monkeypatch.setattr(loaders, "read_image", reads)


def rows_of(batches):
    return [row for batch in batches for row in batch.row.tolist()]


@pytest.mark.parametrize("train", [True, False])
def test_a_picture_that_kills_its_reader_costs_that_picture_and_nothing_else(examples, monkeypatch, train):
    whole = [list(loader(examples, train=train))]
    fatal(monkeypatch, "cat/3.jpg", "dog/5.jpg")
    told: list[str] = []
    made = loader(examples, train=train, skip=True, say=told.append)
    first, second = list(made), list(made)
    lost = {3, 13}
    assert set(rows_of(first)) == set(rows_of(second)) == set(range(16)) - lost
    # In training others take their places, so that every rank makes as many steps of as many pictures.
    assert len(rows_of(first)) == (len(rows_of(whole[0])) if train else 14)
    assert [len(line) > 0 for line in told] == [True, True] and "cat/3.jpg" in " ".join(told)
    assert all("ended by SIGSEGV" in line for line in told)
    for one, other in zip(whole[0], first, strict=True):
        if train:
            same = [place for place, row in enumerate(one.row.tolist()) if row not in lost]
            assert torch.equal(one.inputs[same], other.inputs[same]) and torch.equal(one.row[same], other.row[same])


def test_a_picture_that_kills_its_reader_ends_the_run_with_its_name_where_nothing_is_skipped(examples, monkeypatch):
    fatal(monkeypatch, "dog/2.jpg", by=signal.SIGKILL)
    with pytest.raises(UnreadableError, match=r"dog/2\.jpg: the process that read it was ended by SIGKILL\.\nMend"):
        list(loader(examples))


def test_a_batch_of_nothing_but_lost_pictures_is_passed_over_in_evaluation(examples, monkeypatch):
    fatal(monkeypatch, "cat/3.jpg", "cat/4.jpg", "cat/5.jpg")
    assert rows_of(loader(examples, train=False, skip=True, batch_size=3)) == [*range(3), *range(6, 16)]


def test_views_must_all_be_there_so_one_that_cannot_is_named(examples, monkeypatch):
    fatal(monkeypatch, "cat/3.jpg")
    with pytest.raises(UnreadableError, match=r"cat/3\.jpg"):
        list(view_loader(examples, SPEC, policy="light", views=2, batch_size=4, workers=1))


def test_a_reader_that_is_killed_by_somebody_else_is_replaced_and_nothing_is_lost(examples):
    expected = list(loader(examples, workers=0))
    told: list[str] = []
    made = loader(examples, say=told.append)
    batches = []
    for batch in made:
        batches.append(batch)
        if len(batches) == 1:
            for process in multiprocessing.active_children():
                os.kill(process.pid, signal.SIGKILL)
    assert len(batches) == len(expected)
    for one, other in zip(expected, batches, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert all("no picture's fault" in line for line in told)


def test_readers_that_die_again_and_again_are_said_to_want_memory(examples, monkeypatch):
    fatal(monkeypatch, ".jpg", by=signal.SIGKILL)
    monkeypatch.setattr(workers, "killers", lambda *of: {})  # as where the machine kills whoever is large
    with pytest.raises(DataError, match=r"killed 3 times in one epoch.*--workers 1"):
        list(loader(examples))


def test_the_end_of_a_reader_is_raised_nowhere_but_where_its_batch_is_waited_for(examples):
    """Torch's own handler raises it between any two lines of the loop: in a step of the optimizer, say."""
    before = signal.getsignal(signal.SIGCHLD)
    made = iter(loader(examples, batch_size=2))
    next(made)
    assert signal.getsignal(signal.SIGCHLD) is before
    del made


def test_killers_names_each_and_tries_them_twice(tmp_path):
    class Deadly:
        def __getitem__(self, place):
            row, _ = place
            if row in (2, 5) or (row == 7 and not (tmp_path / "once").exists()):
                (tmp_path / "once").touch() if row == 7 else None
                os._exit(3)
            if row == 4:
                raise ValueError("in words")

    found = killers(Deadly(), [(row, 0) for row in range(9)])
    assert found == {(row, 0): "the process that read it was ended by exit code 3." for row in (2, 5)}


def test_little_shared_memory_is_told_and_changes_no_number(examples, monkeypatch):
    expected = list(loader(examples))
    monkeypatch.setattr(workers, "free_shared", lambda: 1024)
    told: list[str] = []
    made = loader(examples, say=told.append)
    assert made.plain and "/dev/shm has 0 MB" in told[0] and "pipes" in told[0]
    for one, other in zip(expected, made, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
        assert other.inputs.is_contiguous(memory_format=torch.channels_last)
    assert not loader(examples, workers=0).plain
    monkeypatch.setattr(workers, "free_shared", lambda: None)
    assert not loader(examples).plain


def test_pictures_of_16_bits_come_through_pipes_too(monkeypatch):
    monkeypatch.setattr(workers, "free_shared", lambda: 0)
    arrays = [np.full((16, 16, 3), 60_000 + n, np.uint16) for n in range(4)]
    made = loader(read_examples(Data(source=(arrays, ["a", "b"] * 2))), train=False, policy="none")
    assert torch.cat([batch.inputs for batch in made])[:, 0, 0, 0].tolist() == pytest.approx(
        [(60_000 + n) / 65_535 for n in range(4)]
    )


SMALL = """
    import numpy as np, sys
    import finetune.data.workers as workers
    from finetune.data.examples import read_examples
    from finetune.data.loaders import make_loader
    from finetune.data.options import Data
    from finetune.types import ImageSpec
    if sys.argv[1] == "shared":
        workers.free_shared = lambda: None
    arrays = [np.full((256, 256, 3), n, np.uint8) for n in range(64)]
    spec = ImageSpec(size=(256, 256), mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=1.0)
    examples = read_examples(Data(source=(arrays, ["a", "b"] * 32)))
    made = make_loader(examples, np.zeros(64, np.int64), spec, batch_size=16, train=False, workers=1, say=print)
    print([int(value) for batch in made for value in batch.inputs[:, 0, 0, 0]] == list(range(64)))
"""


def test_a_run_goes_on_with_a_megabyte_of_shared_memory(tmp_path):
    """In a mount namespace of its own, where /dev/shm holds less than a batch."""
    script = tmp_path / "small.py"
    script.write_text(textwrap.dedent(SMALL))
    inside = f"mount -t tmpfs -o size=1M tmpfs /dev/shm && exec {sys.executable} {script}"
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-m", "true"], capture_output=True).returncode:
        pytest.skip("needs the right to make a mount namespace (unshare -m)")
    there = os.environ | {"PYTHONPATH": str(Path(finetune.__file__).parents[1])}
    done = subprocess.run([unshare, "-m", "sh", "-c", f"{inside} pipes"], capture_output=True, text=True, env=there)
    assert done.returncode == 0, done.stderr
    assert "/dev/shm has 1 MB" in done.stdout and done.stdout.endswith("True\n")


def test_a_loader_without_processes_is_torchs_own(examples):
    made = loader(examples, workers=0)
    assert isinstance(made, PictureLoader) and isinstance(made, DataLoader)
    assert len(rows_of(made)) == 16


def test_a_worker_that_dies_while_it_hands_a_batch_over_is_told_from_one_that_lost_its_connection():
    assert _of_a_death(ConnectionResetError(104, "Connection reset by peer")) and _of_a_death(EOFError())
    assert not _of_a_death(ConnectionResetError("Caught ConnectionResetError in DataLoader worker process 0."))
