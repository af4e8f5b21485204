"""Which of several processes all others wait for."""

import threading
import time

import lightning as L
import pytest
from hypothesis import given
from hypothesis import strategies as st

import finetune as ft
from finetune.errors import TrainingError
from finetune.training.watch import Watch, late_ranks
from tests.running.test_resume import fit

PLACES = st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(0, 9), st.integers(0, 1)).map(list)


def notes(places, at):
    return [{"rank": rank, "place": list(place), "at": at} for rank, place in enumerate(places)]


@given(places=st.lists(PLACES, min_size=2, max_size=5))
def test_whoever_is_behind_is_named_and_nobody_else(places):
    told = late_ranks(notes(places, 0), now=100, timeout=50)
    behind = [rank for rank, place in enumerate(places) if place == min(places)]
    if len(behind) == len(places):
        assert told.startswith("all ranks wait")
    else:
        named = told.removeprefix("rank ").split(" stays")[0].split(", ")
        assert named == [str(rank) for rank in behind]


@given(places=st.lists(PLACES, min_size=2, max_size=5), mover=st.integers(0, 4))
def test_as_long_as_anybody_moves_nobody_is_late(places, mover):
    some = notes(places, 0)
    some[mover % len(some)]["at"] = 90
    assert late_ranks(some, now=100, timeout=50) is None


class Module:
    """Takes batches that no hook tells of, as a second look at validation does."""

    batches = 0


def test_a_batch_that_no_hook_tells_of_is_movement_too(tmp_path, monkeypatch):
    watch, module, moved = Watch(tmp_path, 1.0, "train"), Module(), []

    def look(ranks, over):
        moved.append(watch._moved)
        module.batches += len(moved) < 3
        if len(moved) == 5:
            over.set()

    monkeypatch.setattr(watch, "_look", look)
    watch._beside(module, 0, 2, threading.Event())
    assert moved[0] < moved[1] < moved[2] == moved[3] == moved[4]


class Hang(L.Callback):
    """Rank 1 goes to sleep before a step."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_rank == 1 and trainer.global_step == 2:
            time.sleep(600)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:.*")
def test_a_rank_that_hangs_is_named_and_the_run_can_go_on(tmp_path, textures):
    words = {"devices": 2, "batch_size": 3, "epochs": 2, "norms": "frozen", "rank_timeout": "40s"}
    with pytest.raises(TrainingError, match=r"rank 1 stays (in|after) batch \d of epoch 1, and the others wait"):
        fit(textures, tmp_path / "run", Hang(), **words)
    ft.fit(resume=tmp_path / "run", verbose=False)
