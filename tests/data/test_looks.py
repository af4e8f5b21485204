from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import finetune as ft
import finetune.data.looks as room
from finetune.data.examples import read_examples
from finetune.data.looks import FACTS, SIDE, Looks, Onlooker, look_at
from finetune.data.options import Data
from finetune.features import features
from tests.data.pictures import save


@pytest.fixture
def examples(tmp_path):
    for number in range(6):
        save(tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png", size=(20 + 7 * number, 24), seed=number)
    return read_examples(Data(source=str(tmp_path / "pictures")))


def same(first, second):
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in FACTS)


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    "shape", [(40, 30, 3), (40, 30, 1), (40, 30, 4), (40, 30, 7), (1, 1, 3), (1, 900, 1), (3000, 2, 3)]
)
def test_facts_of_any_picture_stay_in_their_ranges(shape):
    for picture in (noise(shape), noise(shape).astype(np.float32) / 255, np.zeros(shape, np.uint8)):
        look = look_at(picture)
        assert (look.height, look.width) == shape[:2] and len(look.digest) == 32
        assert look.thumbnail.shape == (32, 32) and look.thumbnail.dtype == np.uint8
        assert 0 <= look.brightness <= 1 and 0 <= look.contrast <= 0.51 and look.sharpness >= 0
        assert 0 <= look.hash < 2**64


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_picture_of_16_bits_looks_like_the_same_of_8(channels):
    eight = np.asarray(Image.fromarray(noise((6, 5, 3))).resize((60, 50), Image.Resampling.BICUBIC))
    eight = eight[..., [0, 1, 2, 0][:channels]]
    first, second = look_at(eight), look_at(eight.astype(np.float32) / 255)
    assert first.digest != second.digest
    assert np.abs(first.thumbnail.astype(int) - second.thumbnail).max() <= 2
    assert (first.hash ^ second.hash).bit_count() <= 4
    assert first.brightness == pytest.approx(second.brightness, abs=0.005)
    assert first.contrast == pytest.approx(second.contrast, abs=0.005)


def test_the_digest_is_of_the_pixels_and_of_their_shape():
    picture = noise((4, 6, 3))
    assert look_at(picture).digest == look_at(picture.copy()).digest == look_at(np.asfortranarray(picture)).digest
    changed = picture.copy()
    changed[3, 5, 2] ^= 1
    others = [changed, picture.reshape(6, 4, 3), picture.astype(np.float32)]
    assert len({look_at(p).digest for p in [picture, *others]}) == 4


def test_sharpness_compares_between_sizes_and_falls_with_blur():
    picture = Image.fromarray(noise((24, 24, 3))).resize((2 * SIDE, 2 * SIDE), Image.Resampling.BICUBIC)
    half = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    blurred = picture.resize((8, 8)).resize((2 * SIDE, 2 * SIDE), Image.Resampling.BICUBIC)
    sharp, smaller, soft = (look_at(np.asarray(p)).sharpness for p in (picture, half, blurred))
    assert smaller == pytest.approx(sharp, rel=0.5)
    assert soft < sharp / 4


def test_the_hash_stays_when_a_picture_is_resized_and_not_for_another():
    picture = Image.fromarray(noise((12, 12, 3))).resize((300, 200), Image.Resampling.BICUBIC)
    other = Image.fromarray(noise((12, 12, 3), seed=1)).resize((300, 200), Image.Resampling.BICUBIC)
    hashes = [look_at(np.asarray(p)).hash for p in (picture, picture.resize((100, 90)), other)]
    assert (hashes[0] ^ hashes[1]).bit_count() <= 6 < 14 <= (hashes[0] ^ hashes[2]).bit_count()


def test_looks_taken_by_the_way_are_those_of_a_pass_of_their_own(examples, tmp_path):
    network = ft.Backbone("finetune/lenet5", weights="none").build(2).eval()
    onlooker = Onlooker(examples, in_chans=network.spec.in_chans, cache=tmp_path / "a")
    features(network, examples, cache=tmp_path / "features", also=onlooker)
    by_the_way = onlooker.looks()
    own = Looks.of(examples, in_chans=network.spec.in_chans, cache=tmp_path / "b")
    assert same(by_the_way, own) and own.read.all() and len(own) == 6
    for row, source in enumerate(examples.table["source"]):
        mode = "L" if network.spec.in_chans == 1 else "RGB"
        pixels = np.asarray(Image.open(source).convert(mode)).reshape(own.height[row], own.width[row], -1)
        assert own[row].digest == look_at(pixels).digest and own[row].hash == look_at(pixels).hash


def test_what_a_pass_did_not_show_is_read_afterwards(examples, tmp_path, monkeypatch):
    network = ft.Backbone("finetune/lenet5", weights="none").build(2).eval()
    first = features(network, examples, cache=tmp_path / "features")
    onlooker = Onlooker(examples, in_chans=network.spec.in_chans, cache=tmp_path)
    again = features(network, examples, cache=tmp_path / "features", also=onlooker)
    assert np.array_equal(first.values, again.values)
    assert onlooker.looks().read.all()


def test_known_looks_are_neither_read_nor_computed_again(examples, tmp_path, monkeypatch):
    fresh = Looks.of(examples, cache=tmp_path)
    monkeypatch.setattr(room, "look_at", lambda picture: pytest.fail("computed again"))
    monkeypatch.setattr("finetune.data.readers.read_image", lambda *a, **k: pytest.fail("read again"))
    done = []
    assert same(fresh, Looks.of(examples, cache=tmp_path, progress=done.append)) and sum(done) == 6
    assert same(fresh.take([4, 1]), Looks.of(examples.take([4, 1]), cache=tmp_path))


def test_a_changed_picture_is_looked_at_anew_and_the_others_are_not(examples, tmp_path):
    before = Looks.of(examples, cache=tmp_path)
    save(Path(examples.table["source"][2]), size=(50, 50), seed=99)
    onlooker = Onlooker(examples, cache=tmp_path)
    after = onlooker.looks()
    assert list(onlooker.taken()) == [2]
    assert [a == b for a, b in zip(before.hash, after.hash, strict=True)] == [row != 2 for row in range(6)]


def test_grey_and_coloured_readings_are_kept_apart(examples, tmp_path):
    coloured, grey = (Looks.of(examples, in_chans=n, cache=tmp_path) for n in (3, 1))
    assert not np.array_equal(coloured.digest, grey.digest)
    assert same(grey, Looks.of(examples, in_chans=1, cache=tmp_path / "other"))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "array"])
def test_a_broken_file_is_made_anew(examples, tmp_path, damage):
    fresh = Looks.of(examples, cache=tmp_path)
    files = list((tmp_path / "looks").glob("*.npz"))
    assert len(files) == 2
    for file in files:
        content = bytearray(file.read_bytes())
        if damage == "array":
            np.savez(file, names=np.array(["0.png"]), stamps=np.zeros((1, 2)), records=np.zeros(1))
            continue
        content[len(content) // 2] ^= 0xFF
        file.write_bytes({"cut": content[:400], "flipped": content, "empty": b"", "text": b"hello"}[damage])
    assert same(fresh, Looks.of(examples, cache=tmp_path))
    assert not [f for f in (tmp_path / "looks").iterdir() if f.suffix != ".npz"]


def test_the_cache_keeps_to_its_size(examples, tmp_path, monkeypatch):
    monkeypatch.setattr("finetune.data.known.KEPT_BYTES", 1)
    fresh = Looks.of(examples, cache=tmp_path)
    assert len(list((tmp_path / "looks").glob("*.npz"))) == 0
    assert same(fresh, Looks.of(examples, cache=tmp_path))


def test_a_cache_that_cannot_be_written_costs_nothing(examples, tmp_path):
    (tmp_path / "looks").write_text("no folder")
    assert Looks.of(examples, cache=tmp_path).read.all()


def test_rows_that_cannot_be_read_carry_their_reason(examples, tmp_path):
    broken = Path(examples.table["source"][3])
    broken.write_bytes(b"hello")
    looks = Looks.of(examples, cache=tmp_path)
    assert list(looks.errors) == [3] and "no picture" in looks.errors[3]
    assert looks.read.tolist() == [row != 3 for row in range(6)]
    assert list(looks.take([0, 3]).errors) == [1]
    again = Looks.of(examples, cache=tmp_path)
    assert same(looks, again) and again.errors == looks.errors


def test_reasons_that_a_pass_has_found_are_not_sought_again(examples, tmp_path, monkeypatch):
    onlooker = Onlooker(examples, cache=tmp_path)
    for row in (0, 1, 2, 3, 5):
        onlooker.note(row, onlooker.see(row, noise((5, 5, 3), row)))
    monkeypatch.setattr("finetune.data.readers.read_image", lambda *a, **k: pytest.fail("read"))
    assert onlooker.looks(errors={4: "it is empty"}).errors == {4: "it is empty"}


def test_pictures_in_memory_have_looks_too(tmp_path):
    arrays = [noise((9, 8, 3)), noise((30, 20), 1), noise((7, 7, 1), 2).astype(np.uint16) * 257]
    examples = read_examples(Data(source=(arrays, ["a", "b", "a"])))
    looks = Looks.of(examples, cache=tmp_path)
    assert looks.width.tolist() == [8, 20, 7] and not (tmp_path / "looks").exists()
