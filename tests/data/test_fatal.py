"""Pictures that end the process which reads them, on threads of the run itself."""

import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import finetune
from finetune.data.examples import read_examples
from finetune.data.fatal import _notes, watched
from finetune.data.loaders import stream
from finetune.data.options import Data
from finetune.data.readers import scan
from finetune.errors import UnreadableError
from finetune.types import ImageSpec

from .pictures import tree

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes die by signals")

CRASHING = """
import ctypes, sys
import finetune.data.readers as readers
inner = readers.read_image
def read_image(source, **words):
    if str(source).endswith("bad.jpg"):
        ctypes.string_at(0)  # as a decoder does: a signal that is sent may reach another thread, and this one goes on
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


@pytest.mark.thorough  # three runs of the command line each
@pytest.mark.parametrize("method", ["probe", "full"])  # features, and a plain reading
def test_a_picture_that_ends_a_run_is_named_by_the_next_and_left_out_where_asked(tmp_path, method):
    tree(tmp_path / "pets", [f"{name}/{n}.jpg" for name in ("cat", "dog") for n in range(8)])
    tree(tmp_path / "pets", ["cat/bad.jpg"])
    words = ("fit", tmp_path / "pets", "--backbone", "finetune/lenet5", "--weights", "none", "--method", method,
             "--epochs", "1", "--out", tmp_path / "run", "--accelerator", "cpu", "--workers", "0")  # fmt: skip
    first = finetune_with_a_decoder_that_crashes(*words, cache=tmp_path / "cache")
    assert first.returncode == -signal.SIGSEGV
    second = finetune_with_a_decoder_that_crashes(*words, "--overwrite", cache=tmp_path / "cache")
    assert second.returncode == 2
    told = " ".join((second.stdout + second.stderr).split())
    assert "cat/bad.jpg: the process that read it was ended by SIGSEGV." in told and "--on-corrupt skip" in told
    third = finetune_with_a_decoder_that_crashes(
        *words, "--overwrite", "--on-corrupt", "skip", cache=tmp_path / "cache"
    )
    assert third.returncode == 0, third.stderr
    assert "bad.jpg" not in (tmp_path / "run" / "splits.csv").read_text(encoding="utf-8")


def fatal(path):
    """Reads; a picture with that name ends every process but the first."""
    if multiprocessing.parent_process() is not None and path.endswith("bad.jpg"):
        faulthandler.disable()
        os.kill(os.getpid(), signal.SIGSEGV)
    return path


def dying(folder, *sources):
    """Leaves what a process leaves that dies while it reads these."""
    process = subprocess.run([sys.executable, "-c", f"""
import os, signal
from pathlib import Path
from finetune.data.fatal import _notes
import threading
with _notes(Path({str(folder)!r})) as note:
    for source in {list(map(str, sources))!r}:
        thread = threading.Thread(target=note, args=(source,)); thread.start(); thread.join()
    os.kill(os.getpid(), signal.SIGKILL)
"""], env=os.environ | {"PYTHONPATH": str(Path(finetune.__file__).parents[1])})  # fmt: skip
    assert process.returncode == -signal.SIGKILL


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cache" / "reading").mkdir(parents=True)
    for name in ("good.jpg", "bad.jpg"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path / "cache" / "reading"


def test_of_what_several_threads_were_at_only_what_kills_is_blamed(tmp_path, folder):
    good, bad = str(tmp_path / "good.jpg"), str(tmp_path / "bad.jpg")
    dying(folder, good, bad, "/nowhere/at/all.jpg")
    for _ in range(2):  # found out the first time, known the second
        with watched(fatal, cache=tmp_path / "cache") as read:
            assert read(good) == good
            with pytest.raises(UnreadableError, match=r"ended by SIGSEGV\."):
                read(bad)
        assert sorted(path.name for path in folder.iterdir()) == ["known.jsonl", "lock"]


def test_a_file_that_was_mended_is_read_again(tmp_path, folder):
    bad = tmp_path / "bad.jpg"
    dying(folder, bad)
    with watched(fatal, cache=tmp_path / "cache") as read, pytest.raises(UnreadableError):
        read(str(bad))
    bad.write_bytes(b"mended")
    with watched(fatal, cache=tmp_path / "cache") as read:
        assert read(str(bad)) == str(bad)


def test_what_a_living_process_reads_is_no_suspect(tmp_path, folder):
    with _notes(folder) as note:
        note(str(tmp_path / "bad.jpg"))
        with watched(fatal, cache=tmp_path / "cache") as read:
            assert read(str(tmp_path / "bad.jpg"))
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_without_a_place_for_notes_all_is_read(tmp_path):
    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    with watched(str.upper, cache=tmp_path / "cache") as read:
        assert read("a") == "A"


def test_a_pass_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    tree(tmp_path / "pets", [f"{name}/{n}.jpg" for name in ("cat", "dog") for n in range(4)])
    examples = read_examples(Data(source=str(tmp_path / "pets")))
    spec = ImageSpec(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
    assert sum(len(rows) for rows, _, _ in stream(examples, spec, batch_size=3)) == 8
    next(stream(examples, spec, batch_size=3))  # one that is given up
    assert scan(examples) == {}
    assert [path.name for path in (tmp_path / "cache" / "reading").iterdir()] == ["lock"]


def test_a_note_costs_little_beside_a_small_picture(tmp_path):
    picture = np.zeros((96, 96, 3), np.uint8)

    def read(source):
        return np.sort(picture.reshape(-1)).sum()  # some tenths of a millisecond

    def seconds(reads):
        began = time.process_time()
        for _ in range(300):
            reads("a.jpg")
        return time.process_time() - began

    with watched(read, cache=tmp_path) as noted:
        ratios = sorted(seconds(noted) / seconds(read) for _ in range(9))
    assert ratios[0] < 1.05
