import errno
import os
import pickle
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finetune.data import cache as cache_module
from finetune.data import kept as kept_module
from finetune.data.cache import PREFIX, PictureCache, memory_base, memory_room
from finetune.data.examples import read_examples
from finetune.data.kept import INDEX, SLACK, Kept, crop_side, folder_size, kept_size, preparation
from finetune.data.loaders import make_loader
from finetune.data.options import Data
from finetune.data.policies import POLICIES
from finetune.data.transforms import eval_transform, train_transform
from finetune.errors import UnreadableError
from finetune.files import locked
from finetune.types import ImageSpec

from .pictures import save

SPEC = ImageSpec(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
ROWS = np.arange(12)


@pytest.fixture
def root(tmp_path):
    for number in range(12):  # some just as large as needed, some much larger
        save(
            tmp_path / "pictures" / "ab"[number % 2] / f"{number}.jpg",
            size=(24, 20) if number % 3 else (90, 120),
            seed=number,
        )
    return tmp_path


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "home"))
    return tmp_path / "home"


def examples(root):
    return read_examples(Data(source=str(root / "pictures")))


def batches(table, kept, *, policy="light", workers=0, epochs=2, rows=ROWS):
    loader = make_loader(
        table,
        np.arange(len(table)),
        SPEC,
        batch_size=4,
        train=True,
        policy=policy,
        workers=workers,
        kept=kept,
        indices=rows,
    )
    made = []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        made += [(batch.row, batch.inputs.clone()) for batch in loader]
    return made


def run(table, where, *, policy="light", workers=0, epochs=2):
    """Batches of a run of its own, and what it said."""
    said = []
    with PictureCache(where, table, SPEC, say=said.append) as cache:
        made = batches(table, cache.kept(policy, ROWS, epochs=epochs), policy=policy, workers=workers, epochs=epochs)
    return made, said


def same(one, other):
    return len(one) == len(other) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(one, other, strict=True)
    )


def left_in_memory():
    return {path.name for path in memory_base().glob(f"{PREFIX}*")}


@pytest.mark.parametrize("policy", ["none", "documents"])
@pytest.mark.parametrize("where", ["ram", "disk", "auto"])
def test_without_crops_a_kept_picture_is_the_decoded_one_to_the_bit(root, where, policy):
    table = examples(root)
    assert same(run(table, where, policy=policy)[0], run(table, "off", policy=policy)[0])


def test_evaluation_is_kept_to_the_bit_for_networks_that_are_not_square():
    picture = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    spec = ImageSpec(size=(16, 40), mean=(0.5,) * 3, std=(0.5,) * 3)
    way = preparation(spec, "none")
    np.testing.assert_array_equal(
        train_transform(way.spec, "none")(way.apply(picture), 0), eval_transform(spec)(picture)
    )


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_where_pictures_are_kept_and_whether_changes_nothing(root, policy, monkeypatch):
    table = examples(root)
    ram, cold, warm = (run(table, where, policy=policy)[0] for where in ("ram", "disk", "disk"))
    monkeypatch.setattr(cache_module, "memory_room", lambda: 0)
    monkeypatch.setattr(cache_module, "DISK_BYTES", 0)
    nowhere, said = run(table, "auto", policy=policy)
    assert same(ram, cold) and same(cold, warm) and same(warm, nowhere) and not said


def test_a_warm_cache_is_read_and_not_the_files(root, monkeypatch):
    table = examples(root)
    cold, _ = run(table, "disk")
    monkeypatch.setattr("finetune.data.loaders.read_image", None)
    assert same(run(table, "disk")[0], cold)


def test_training_does_not_depend_on_workers_with_a_cache(root):
    table = examples(root)
    assert same(run(table, "ram", workers=2, epochs=3)[0], run(table, "ram", epochs=3)[0])


def test_what_one_worker_keeps_another_one_finds(root):
    table, made = examples(root), {}
    kept = Kept(root / "set", 12, most=2**30)
    batches(table, kept, workers=2, epochs=1)
    for row in ROWS:
        made[row] = kept.get(row)
    assert all(picture is not None for picture in made.values())
    assert len(list((root / "set").glob("*.bin"))) == 2


@pytest.mark.parametrize("policy", ["light", "standard", "medical"])
def test_only_pictures_much_larger_than_needed_are_resized(policy):
    side, prepare = crop_side(SPEC, policy), preparation(SPEC, policy).apply
    little = np.zeros((side, int(side * SLACK), 3), np.uint8)
    assert prepare(little) is little
    large = np.full((3 * side, 4 * side, 3), 7, np.uint8)
    assert prepare(large).shape == (side, round(4 * side / 3), 3) and (prepare(large) == 7).all()
    assert prepare(large.astype(np.float32) / 255).dtype == np.float32


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 400))
def test_kept_pictures_are_never_enlarged_and_keep_their_shape(height, width, side):
    made = kept_size((height, width), side)
    assert min(made) <= max(SLACK * side, 1) and made[0] <= height and made[1] <= width
    assert made == (height, width) or min(made) == side
    assert abs(made[0] * width - made[1] * height) <= max(height, width)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]))))
def test_a_row_gives_what_was_put_last(puts):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        kept, known = Kept(Path(folder) / "set", 6, most=2**20), {}
        for number, (row, *shape) in enumerate(puts):
            known[row] = np.random.default_rng(number).integers(0, 256, shape, np.uint8)
            kept.put(row, known[row])
        again = pickle.loads(pickle.dumps(kept))
        for row in range(6):
            if row in known:
                np.testing.assert_array_equal(again.get(row), known[row])
            else:
                assert again.get(row) is None


@pytest.mark.parametrize("harm", ["cut", "empty", "blank", "gone", "index cut", "index rubbish"])
def test_a_damaged_cache_is_filled_anew(root, home, harm):
    table = examples(root)
    cold, _ = run(table, "disk")
    (folder,) = (home / "pictures").iterdir()
    (pictures,) = folder.glob("*.bin")
    size = pictures.stat().st_size
    if harm == "cut":
        os.truncate(pictures, size // 2)
    elif harm == "empty":
        pictures.write_bytes(b"")
    elif harm == "blank":  # what a file system may leave when the power goes
        pictures.write_bytes(bytes(size))
    elif harm == "gone":
        pictures.unlink()
    elif harm == "index cut":
        os.truncate(folder / INDEX, 100)
    else:
        (folder / INDEX).write_bytes(np.random.default_rng(0).bytes((folder / INDEX).stat().st_size))
    assert same(run(table, "disk")[0], cold)
    again = Kept(folder, 12, most=2**30)
    assert all(again.get(row) is not None for row in ROWS)


def test_a_changed_file_is_read_anew(root):
    before, _ = run(examples(root), "disk", policy="none")
    save(root / "pictures" / "a" / "0.jpg", size=(90, 120), seed=99)
    after, _ = run(examples(root), "disk", policy="none")
    assert not same(before, after)
    assert same(after, run(examples(root), "off", policy="none")[0])


def test_sets_for_other_networks_and_policies_are_kept_apart(root, home):
    table = examples(root)
    for policy in ("light", "standard", "none", "documents"):
        run(table, "disk", policy=policy)
    assert len(list((home / "pictures").iterdir())) == 4


def test_sets_for_other_crops_and_rims_are_kept_apart(root, home):
    table = examples(root)
    specs = [SPEC, replace(SPEC, crop_mode="squish"), replace(SPEC, crop_mode="pad")]
    for spec in [*specs, replace(specs[-1], mean=(0.1,) * 3)]:
        with PictureCache("disk", table, spec, say=print) as cache:
            assert cache.kept("none", ROWS, epochs=2).get(0) is None
            words = {"batch_size": 12, "train": False}
            kept = cache.kept("none", ROWS, epochs=2)
            (made,) = make_loader(table, np.arange(12), spec, kept=kept, **words)
            (expected,) = make_loader(table, np.arange(12), spec, **words)
            assert torch.equal(made.inputs, expected.inputs)


def test_frames_and_members_of_a_file_that_changed_are_read_anew(tmp_path, home):
    def archive(seed):
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            for name in "ab":
                save(tmp_path / f"{name}.bmp", size=(20, 20), seed=seed)
                (tmp_path / f"{name}.cls").write_text(name)
                tar.add(tmp_path / f"{name}.bmp", f"{name}.bmp")
                tar.add(tmp_path / f"{name}.cls", f"{name}.cls")
        os.utime(tmp_path / "a.tar", ns=(seed, seed))
        return read_examples(Data(source=str(tmp_path / "a.tar")), for_training=False)

    made = []
    for seed in (1, 2):
        table = archive(seed)
        with PictureCache("disk", table, SPEC, say=print) as cache:
            kept = cache.kept("none", np.arange(2), epochs=2)
            (batch,) = make_loader(table, np.arange(2), SPEC, batch_size=2, train=False, kept=kept)
            made.append(batch.inputs)
    assert not torch.equal(*made)


def test_memory_is_given_back_also_after_an_error(root):
    before, table = left_in_memory(), examples(root)
    run(table, "ram", workers=2)
    with pytest.raises(RuntimeError), PictureCache("ram", table, SPEC, say=print) as cache:
        batches(table, cache.kept("light", ROWS, epochs=2), epochs=1)
        assert len(left_in_memory() - before) == 1
        raise RuntimeError
    assert left_in_memory() == before


@pytest.mark.skipif(sys.platform == "win32", reason="there is no folder of memory, and no such lock")
def test_what_a_killed_run_left_in_memory_is_swept_and_what_a_live_one_holds_stays(root, monkeypatch):
    monkeypatch.setattr(cache_module, "memory_base", lambda: root)
    dead, alive, young = (root / f"{PREFIX}{name}" for name in ("dead", "alive", "young"))
    for folder in (dead, alive, young):
        folder.mkdir()
    (dead / "owner").touch()
    with (alive / "owner").open("wb") as owner:
        assert locked(owner)
        run(examples(root), "ram")
        assert not dead.exists() and alive.exists() and young.exists()


def test_a_full_disk_is_said_and_harms_nothing(root, monkeypatch):
    table = examples(root)
    expected, _ = run(table, "ram")

    class Full(kept_module.FileIO):
        def write(self, data):
            if str(self.name).endswith(".bin") and self.tell() > 5000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    monkeypatch.setattr(kept_module, "FileIO", Full)
    made, said = run(table, "disk")
    assert same(made, expected) and "no room" in said[-1]


def test_a_file_that_takes_only_a_part_of_a_picture_gives_it_back(root, monkeypatch):
    kept = Kept(root / "set", 2, most=2**20)

    class Short(kept_module.FileIO):
        def write(self, data):
            return (
                super().write(memoryview(data).cast("B")[:40])
                if len(memoryview(data).cast("B")) > 100
                else super().write(data)
            )

    monkeypatch.setattr(kept_module, "FileIO", Short)
    kept.put(0, np.ones((10, 10, 3), np.uint8))
    assert kept.get(0) is None and folder_size(root / "set") == 0 and kept.ran_out()


def test_a_cache_that_cannot_be_written_is_said_and_harms_nothing(root, home):
    home.write_text("a file where the folder should be")
    made, said = run(examples(root), "disk")
    assert same(made, run(examples(root), "ram")[0]) and "are not kept" in said[0]


def test_a_set_holds_no_more_than_its_bound(root):
    kept = Kept(root / "set", 10, most=1000)
    for row in range(10):
        kept.put(row, np.full((10, 10, 3), row, np.uint8))
    assert [kept.get(row) is not None for row in range(10)] == [True] * 3 + [False] * 7
    assert folder_size(root / "set") == 900 and kept.ran_out()


def test_the_sets_unused_for_longest_go_when_the_disk_has_its_share(root, home, monkeypatch):
    table = examples(root)
    for age, policy in enumerate(["standard", "light", "none"]):
        run(table, "disk", policy=policy)
        newest = max((home / "pictures").glob(f"*/{INDEX}"), key=lambda file: file.stat().st_ctime_ns)
        os.utime(newest, (time.time() - 1000 + age, time.time() - 1000 + age))
    sizes = {folder: folder_size(folder) for folder in (home / "pictures").iterdir()}
    oldest = min(sizes, key=lambda folder: (folder / INDEX).stat().st_mtime)
    monkeypatch.setattr(cache_module, "DISK_BYTES", sum(sizes.values()) - 1)
    run(table, "disk", policy="none")
    assert {folder for folder in sizes if not folder.exists()} == {oldest}


def test_a_cache_that_is_cleared_away_under_a_run_is_done_without(root, home):
    table = examples(root)
    with PictureCache("disk", table, SPEC, say=print) as cache:
        kept = cache.kept("light", ROWS, epochs=2)
        import shutil

        shutil.rmtree(home)
        assert same(batches(table, kept), run(table, "ram")[0])


def test_an_unreadable_picture_is_still_named(root):
    (root / "pictures" / "b" / "3.jpg").write_text("no picture")
    with pytest.raises(UnreadableError, match=r"b/3\.jpg: it is no picture"):
        run(examples(root), "ram")


def test_pictures_in_memory_and_one_epoch_are_not_kept(root):
    arrays = read_examples(Data(source=([np.zeros((20, 20, 3), np.uint8)] * 4, ["a", "b"] * 2)))
    with PictureCache("ram", arrays, SPEC, say=print) as cache:
        assert cache.kept("light", np.arange(4), epochs=5) is None
    with PictureCache("auto", examples(root), SPEC, say=print) as cache:
        assert cache.kept("light", ROWS, epochs=1).folder is None


def test_pictures_of_16_bits_are_prepared_and_not_kept(root):
    kept = Kept(root / "set", 1, most=2**20)
    kept.put(0, np.zeros((4, 4, 1), np.float32))
    assert kept.get(0) is None and not kept.ran_out()


def test_free_memory_is_a_number_here():
    assert memory_room() > 0
