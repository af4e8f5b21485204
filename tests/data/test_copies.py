import io

import cv2
import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from finetune.data.aligned import align, one_thread
from finetune.data.copies import CONFIRMED, Pair, clusters, find_copies
from finetune.data.examples import read_examples
from finetune.data.likeness import pose_hashes
from finetune.data.looks import Looks, look_at
from finetune.data.options import Data
from finetune.data.sights import SIDE, posed, sight_of
from finetune.data.words import Words

CHANGES = {
    "re-encoded": lambda image: image,
    "smaller": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
    "larger": lambda image: image.resize((image.width * 3 // 2, image.height * 3 // 2), Image.Resampling.BICUBIC),
    "mirrored": ImageOps.mirror,
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "upside down": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "rotated": lambda image: image.rotate(9, Image.Resampling.BICUBIC),
    "cropped": lambda image: image.crop((image.width // 6, image.height // 8, image.width, image.height)),
    "lit": lambda image: ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(0.8)).enhance(1.2),
    "mirrored, cropped and smaller": lambda image: ImageOps.mirror(image).crop((0, 9, 170, 150)).resize((110, 90)),
}


def scene(seed, size=(200, 160)):
    """A picture with edges and corners: patches of many sizes, one on another."""
    rng = np.random.default_rng(seed)
    page = np.zeros((size[1], size[0], 3), np.uint8)
    for _ in range(120):
        x, y = rng.integers(0, size[0]), rng.integers(0, size[1])
        w, h = rng.integers(5, 50, 2)
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        if rng.integers(2):
            cv2.rectangle(page, (int(x), int(y)), (int(x + w), int(y + h)), colour, -1)
        else:
            cv2.circle(page, (int(x), int(y)), int(w // 2), colour, -1)
    return Image.fromarray(cv2.GaussianBlur(page, (0, 0), 0.8))


def encoded(image, quality=60):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def table(pictures):
    arrays = [np.asarray(picture) for picture in pictures]
    return read_examples(Data(source=(arrays, [str(n % 2) for n in range(len(arrays))])))


def found_among(pictures, **words):
    examples = table(pictures)
    return find_copies(examples, Looks.of(examples), threads=2, **words)


def test_planted_copies_of_every_kind_are_found_and_nothing_else():
    originals = [scene(seed) for seed in range(len(CHANGES))]
    copies = [encoded(change(image)) for image, change in zip(originals, CHANGES.values(), strict=True)]
    pairs = found_among([*originals, *copies])
    assert [(p.first, p.second) for p in pairs] == [(row, row + len(CHANGES)) for row in range(len(CHANGES))]
    assert all(p.kind == "copy" and CONFIRMED <= p.correlation <= 1 for p in pairs)
    how = dict(zip(CHANGES, (p.how for p in pairs), strict=True))
    assert how["re-encoded"] == "other pixels of the same size" and how["smaller"] == "resized"
    assert how["mirrored"] == "mirrored" and how["turned"] == "turned by 90°" and how["rotated"] == "turned by 9°"
    assert how["upside down"] == "turned by 180°"
    assert how["cropped"] == "cut" and how["mirrored, cropped and smaller"] == "mirrored, cut"


@pytest.mark.parametrize("kind", ["smaller", "rotated", "mirrored, cropped and smaller"])
def test_it_does_not_matter_which_of_two_is_the_copy(kind):
    image = scene(5)
    first, second = sight_of(np.asarray(image)), sight_of(encoded(CHANGES[kind](image)))
    there, back = align(first, second), align(second, first)
    assert there.correlation == pytest.approx(back.correlation, abs=0.03) and there.how == back.how
    # The one matrix undoes the other.
    places = np.array([[60, 50, 1], [120, 90, 1], [90, 60, 1]]) @ there.matrix.T
    again = np.column_stack([places, np.ones(3)]) @ back.matrix.T
    assert np.abs(again - [[60, 50], [120, 90], [90, 60]]).max() < 3


def test_two_pictures_of_one_kind_are_not_copies():
    assert found_among([scene(seed) for seed in range(6)] + [_body(seed) for seed in range(6)]) == []


def _body(seed):
    """The same build with other details, as X-rays have."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:192, :192] / 192 - 0.5
    build = 140 * np.exp(-8 * (x**2 + y**2)) + 60 * np.exp(-60 * x**2)
    small = rng.normal(0, 1, (16, 16)).astype(np.float32)
    detail = cv2.resize(small, (192, 192), interpolation=cv2.INTER_CUBIC)
    return np.clip(build + 18 * detail + rng.normal(0, 2, build.shape), 0, 255).astype(np.uint8)[..., None]


@pytest.mark.parametrize("change", ["turned", "cropped"])
def test_copies_of_smooth_pictures_are_found_too(change):
    originals = [_body(seed) for seed in range(3)]
    copy = encoded(CHANGES[change](Image.fromarray(originals[2][..., 0])), 80)[..., None]
    assert [(p.first, p.second) for p in found_among([*originals, copy])] == [(2, 3)]


def test_pictures_with_the_same_pixels_are_paired_with_the_first_alone():
    first, second, blank = np.asarray(scene(1)), np.asarray(scene(2)), np.full((30, 40, 3), 7, np.uint8)
    pairs = found_among([first, second, first, blank, first.copy(), blank, encoded(Image.fromarray(first))])
    assert [(p.first, p.second, p.kind) for p in pairs] == [
        (0, 2, "exact"), (0, 4, "exact"), (0, 6, "copy"), (3, 5, "exact"),
    ]  # fmt: skip
    assert all(p.correlation == 1 for p in pairs if p.kind == "exact")


def test_pictures_of_other_number_types_and_odd_shapes_are_compared():
    image = scene(3)
    grey = np.asarray(image.convert("L"))
    tiny = [
        np.full((1, 1, 3), 9, np.uint8),
        np.arange(200, dtype=np.uint8)[None, :, None],
        np.zeros((300, 2), np.uint8),
    ]
    pairs = found_among([np.asarray(image), grey, (grey / 255).astype(np.float32), *tiny])
    assert {(p.first, p.second) for p in pairs} >= {(0, 1), (0, 2)}
    assert all(p.second <= 2 for p in pairs)


def test_features_propose_pairs_and_rows_without_them_do_no_harm():
    originals = [scene(seed) for seed in range(4)]
    pictures = [*originals, encoded(CHANGES["cropped"](originals[1]))]
    values = np.random.default_rng(0).normal(size=(5, 8))
    values[4], values[0] = values[1], np.nan
    pairs = found_among(pictures, features=values)
    assert [(p.first, p.second) for p in pairs] == [(1, 4)]
    assert pairs == found_among(pictures, features=np.zeros((5, 8)))


def test_rows_that_cannot_be_read_are_in_no_pair(tmp_path):
    for number in range(3):
        scene(0).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"broken")
    examples = read_examples(Data(source=([str(tmp_path / f"{n}.png") for n in range(3)], ["a", "b", "a"])))
    looks = Looks.of(examples, cache=tmp_path)
    assert [(p.first, p.second) for p in find_copies(examples, looks)] == [(0, 2)]
    scene(1).save(tmp_path / "2.png")
    (tmp_path / "0.png").unlink()  # gone since it was looked at
    assert find_copies(examples.take([0]), looks.take([0])) == []


def test_the_answer_does_not_depend_on_threads_and_the_bar_is_filled():
    originals = [scene(seed) for seed in range(3)]
    examples = table([*originals, *(encoded(ImageOps.mirror(image)) for image in originals), originals[0]])
    looks, told = Looks.of(examples), []
    before = cv2.getNumThreads()
    one, four = (find_copies(examples, looks, threads=n, progress=told.append) for n in (1, 4))
    assert one == four and cv2.getNumThreads() == before
    assert sum(told) == 2 * 2 * len(examples)


@given(st.integers(1, 14).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_families_are_the_connected_pictures(drawn):
    count, edges = drawn
    edges = [tuple(sorted(edge)) for edge in edges if edge[0] != edge[1]]
    pairs = [Pair(first=a, second=b, kind="copy", how="", correlation=1.0) for a, b in edges]
    families = clusters(pairs, count)
    reach = np.eye(count, dtype=bool)
    for a, b in edges:
        reach[a, b] = reach[b, a] = True
    for middle in range(count):
        reach |= reach[:, [middle]] & reach[[middle], :]
    assert np.array_equal(families[:, None] == families[None], reach)
    firsts = [families.tolist().index(number) for number in range(families.max() + 1)]
    assert firsts == sorted(firsts)


def test_hashes_of_the_poses_are_those_of_the_posed_pictures():
    thumbnails = np.stack([look_at(np.asarray(scene(seed))).thumbnail for seed in range(4)])
    bits = pose_hashes(thumbnails)
    for row, thumbnail in enumerate(thumbnails):
        expected = {imagehash.phash(Image.fromarray(posed(thumbnail, pose).copy())).hash.tobytes() for pose in range(8)}
        assert {pose.tobytes() for pose in bits[:, row]} == expected
        assert bits[0, row].tobytes() == imagehash.phash(Image.fromarray(thumbnail)).hash.tobytes()


def test_corners_of_the_mirror_image_need_not_be_sought_again():
    picture = np.asarray(scene(4))
    shortcut, sought = sight_of(picture).mirrored_points, sight_of(picture[:, ::-1]).points
    apart = np.linalg.norm(shortcut.places[:, None] - sought.places[None], axis=2)
    same = apart.min(axis=1) < 1
    first, second = (
        shortcut.descriptors[same].astype(float),
        sought.descriptors[apart.argmin(axis=1)[same]].astype(float),
    )
    cosine = (first * second).sum(axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    assert same.mean() > 0.5 and np.median(cosine) > 0.98


def test_a_bag_of_corners_knows_a_cut_and_turned_picture_again():
    sights = [sight_of(np.asarray(scene(seed))) for seed in range(8)]
    words = Words.learn([sight.points.descriptors for sight in sights])
    copy = scene(3).rotate(40, Image.Resampling.BICUBIC).crop((30, 20, 180, 150))
    bag = words.bag(sight_of(np.asarray(copy)).points.descriptors)
    assert np.argmax([words.bag(sight.points.descriptors) @ bag for sight in sights]) == 3
    assert Words.learn([]) is None and np.all(words.bag(np.zeros((0, 128), np.uint8)) == 0)


def test_threads_of_opencv_are_given_back_after_an_error():
    before = cv2.getNumThreads()
    with pytest.raises(ValueError), one_thread():
        assert cv2.getNumThreads() == 1
        raise ValueError
    assert cv2.getNumThreads() == before


def test_pictures_are_compared_at_one_size():
    assert {max(sight_of(np.zeros(shape, np.uint8)).grey.shape) for shape in [(9, 4, 3), (900, 700, 1), (1, 1, 4)]} == {
        SIDE
    }


@pytest.mark.parametrize(
    ("folder", "pattern"), [("cats_dogs/train", "*.jpg"), ("chest_xray", "*/*"), ("isic_lesions/images", "*.jpg")]
)
def test_planted_copies_of_real_pictures_are_found_and_similar_pictures_are_not(shared_data, folder, pattern):
    files = sorted((shared_data / folder).glob(pattern))[:80:20]
    images = [Image.open(file).convert("RGB") for file in files]
    changes = ["re-encoded", "mirrored", "turned", "cropped"]
    copies = [encoded(CHANGES[change](image), 75) for image, change in zip(images, changes, strict=True)]
    pairs = found_among([*images, *copies])
    assert [(p.first, p.second) for p in pairs] == [(row, row + len(images)) for row in range(len(images))]
