"""What each policy promises never to do, on real transforms; and that both engines do the same."""

from __future__ import annotations

import colorsys
import math

import cv2
import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as F

from finetune.data import with_albumentations, with_torchvision
from finetune.data.draws import Operation, draw
from finetune.data.policies import ENGINES, POLICIES
from finetune.data.steps import CHANGES
from finetune.data.transforms import resize, train_transform
from finetune.types import ImageSpec

SIZE = (48, 48)
SPEC = ImageSpec(size=SIZE, mean=(0.5, 0.45, 0.4), std=(0.2,) * 3, crop_pct=1.0)
DRAWS = range(400)
SEEDS = range(200)

# What people rely on; the policies themselves derive theirs from their steps.
PROMISED = {
    "none": set(CHANGES),
    "light": {"flip", "turn", "quarter", "bend", "tone", "blur", "erase"},
    "standard": {"flip", "turn", "quarter", "bend", "tone"},
    "strong": {"flip", "quarter", "bend", "tone"},
    "trivial": {"flip", "erase"},
    "rand": {"flip", "quarter", "erase"},
    "medical": {"quarter", "bend", "saturation", "hue", "tone", "blur", "erase"},
    "any-angle": {"bend", "light", "saturation", "hue", "tone", "blur", "erase"},
    "digits": {"mirror", "flip", "quarter", "saturation", "hue", "tone", "blur", "erase"},
    "elastic": {"mirror", "flip", "quarter", "light", "saturation", "hue", "tone", "blur", "erase"},
    "documents": {"mirror", "flip", "turn", "quarter", "bend", "crop", "saturation", "hue", "tone", "erase"},
}
WORDS = {
    **{"crop": "crop", "mirror": "mirror", "flip": "flip", "erase": "erase", "blur": "blur", "sharpness": "blur"},
    **{
        "elastic": "bend",
        "brightness": "light",
        "contrast": "light",
        "light": "light",
        "saturation": "saturation",
        "hue": "hue",
    },
    **dict.fromkeys(("posterize", "solarize", "autocontrast", "equalize"), "tone"),
}


def keeping(word):
    """Policies that promise it, by both engines."""
    return pytest.mark.parametrize(
        ("name", "engine"), [(name, engine) for name in POLICIES for engine in ENGINES if word in PROMISED[name]]
    )


def varied(name, engine, picture, seeds=SEEDS):
    transform = train_transform(SPEC, name, engine=engine)
    return [transform(picture, seed) for seed in seeds]


def drawn(name, channels=3):
    for seed in DRAWS:
        yield from draw(POLICIES[name].steps, frame=(60, 80), size=SIZE, channels=channels, seed=seed)


def ramps():
    """Red grows to the right, green downwards."""
    across, down = np.meshgrid(np.linspace(20, 220, 60), np.linspace(20, 220, 60))
    return np.stack([across, down, np.full((60, 60), 120.0)], axis=2).astype(np.uint8)


@pytest.mark.parametrize("name", POLICIES)
def test_what_a_policy_says_of_itself_is_what_was_promised(name):
    assert PROMISED.keys() == POLICIES.keys()
    assert PROMISED[name] == POLICIES[name].never
    assert POLICIES[name].does | POLICIES[name].never == set(CHANGES)
    assert not POLICIES[name].does & POLICIES[name].never


@pytest.mark.parametrize("name", POLICIES)
def test_what_is_drawn_is_what_a_policy_says_it_does(name):
    seen, angles, slants = set(), [0.0], [0.0]
    for operation, values in drawn(name):
        if operation == "warp":
            (a, b, _, d, e, _), _border = values
            assert a * e - b * d > 0, "a warp mirrors nothing"
            angles.append(abs(math.degrees(math.atan2(-d, a))))
            slants.append(abs(a * b + d * e))
        else:
            seen.add(WORDS[operation])
    seen |= {"turn"} if max(angles) > 5.5 else set()
    seen |= {"quarter"} if max(angles) >= 90 else set()
    seen |= {"crop"} if name == "any-angle" else set()  # its boxes are looked at in a test of their own
    seen |= {"bend"} if max(slants) > 0.02 else set()
    # Some changes come along with others: what is inverted has another hue, what is turned or slanted loses corners.
    along = ({"hue"} if "tone" in seen else set()) | ({"crop"} if "bend" in seen else set())
    assert seen | along == POLICIES[name].does


@keeping("mirror")
def test_who_never_mirrors_keeps_left_on_the_left(name, engine):
    assert all(one[:, :24, 0].mean() < one[:, 24:, 0].mean() for one in varied(name, engine, ramps()))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["light", "standard", "strong"])
def test_who_never_flips_keeps_the_top_at_the_top_and_mirrors_every_second_picture(name, engine):
    pictures = varied(name, engine, ramps())
    assert all(one[:24, :, 1].mean() < one[24:, :, 1].mean() for one in pictures)
    assert 0.35 < np.mean([one[:, :24, 0].mean() > one[:, 24:, 0].mean() for one in pictures]) < 0.65


@pytest.mark.parametrize("name", ["digits", "documents"])
def test_a_picture_that_is_never_mirrored_is_nearer_to_itself_than_to_its_mirror_image(name):
    picture = np.full((48, 48, 3), 30, np.uint8)
    picture[8:40, 10:18] = picture[8:16, 10:36] = 220
    for one in varied(name, ENGINES[0], picture):
        itself, mirrored, flipped = (
            np.corrcoef(one.ravel(), other.ravel())[0, 1] for other in (picture, picture[:, ::-1], picture[::-1])
        )
        assert itself > max(mirrored, flipped)


@keeping("hue")
def test_who_never_touches_hue_keeps_grey_grey_and_colours_their_own(name, engine):
    grey = np.repeat(ramps()[..., :1], 3, axis=2)
    assert max(np.ptp(one.astype(int), axis=2).max() for one in varied(name, engine, grey, range(60))) <= 1
    patch = np.full((60, 60, 3), (140, 90, 70), np.uint8)
    hue = colorsys.rgb_to_hsv(140, 90, 70)[0]
    for one in varied(name, engine, patch, range(60)):
        found = colorsys.rgb_to_hsv(*one.reshape(-1, 3).mean(axis=0))[0]
        assert abs(found - hue) < 0.01


@pytest.mark.parametrize("engine", ENGINES)
def test_who_does_touch_hue_is_seen_to(engine):
    patch = np.full((60, 60, 3), (140, 90, 70), np.uint8)
    hues = [colorsys.rgb_to_hsv(*one.reshape(-1, 3).mean(axis=0))[0] for one in varied("strong", engine, patch)]
    assert np.ptp(hues) > 0.04


@keeping("crop")
def test_who_never_crops_keeps_the_marks_near_the_border(name, engine):
    picture = np.full((48, 48, 3), 60, np.uint8)
    for rows in (slice(5, 10), slice(38, 43)):
        for columns in (slice(5, 10), slice(38, 43)):
            picture[rows, columns] = 230
    for one in varied(name, engine, picture):
        for corner in (one[:24, :24], one[:24, 24:], one[24:, :24], one[24:, 24:]):
            assert corner.max() - np.median(corner) > 50


@keeping("erase")
def test_who_never_erases_leaves_no_hole_in_an_even_picture(name, engine):
    # In the mean colour, as what comes in from outside is after a large turn; of two operations, the first may change
    # the colour, and then the corners are told from it.
    seeds = [seed for seed in range(80) if name != "rand" or sum(o.name == "warp" for o in steps_of(name, seed)) == 0]
    picture = np.full((60, 60, 3), (128, 115, 102), np.uint8)
    assert max(one.std(axis=(0, 1)).max() for one in varied(name, engine, picture, seeds)) <= 1.5


def steps_of(name, seed):
    return draw(POLICIES[name].steps, frame=(60, 60), size=SIZE, channels=3, seed=seed)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["standard", "strong"])
def test_holes_have_the_sizes_that_were_said(name, engine):
    holes = [values[2:] for operation, values in drawn(name) if operation == "erase"]
    side = POLICIES[name].steps[-1].side
    assert all(int(0.1 * 48) <= length <= side * 48 for hole in holes for length in hole)
    assert abs(len(holes) / len(DRAWS) - POLICIES[name].steps[-1].p) < 0.08
    white = np.full((60, 60, 3), 255, np.uint8)
    assert any(one.std() > 5 for one in varied(name, engine, white, range(40)))


@pytest.mark.parametrize("name", [name for name in POLICIES if POLICIES[name].scale])
@pytest.mark.parametrize("frame", [(60, 80), (300, 200), (33, 400)])
def test_crops_keep_the_share_and_the_proportions_that_were_said(name, frame):
    crop = POLICIES[name].steps[:1]
    boxes = np.array([draw(crop, frame=frame, size=SIZE, channels=3, seed=seed)[0].values for seed in DRAWS])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() >= 0 and boxes[:, 2].max() <= frame[1] and boxes[:, 3].max() <= frame[0]
    assert np.all((width / height > 0.7) & (width / height < 1.42))
    if max(frame) < 3 * min(frame):
        share = width * height / math.prod(frame)
        assert share.min() > POLICIES[name].scale - 0.02 and share.max() > 0.8
        # Below the middle of the range, since large boxes of other proportions than the picture's do not fit.
        assert POLICIES[name].scale + 0.05 < share.mean() < (POLICIES[name].scale + 1) / 2 + 0.02


def test_the_chances_of_light_are_those_of_albumentations_own_pipeline():
    # The defaults were measured with it: the same seed gives the same pixels.
    A = pytest.importorskip("albumentations")
    image = smooth(60, 80)
    transform = train_transform(SPEC, "light")
    crop = A.RandomResizedCrop(size=SIZE, scale=(0.6, 1.0), ratio=(3 / 4, 4 / 3))
    steps = [A.HorizontalFlip(p=0.5), A.ColorJitter((0.85, 1.15), (0.85, 1.15), (0.85, 1.15), (-0.02, 0.02), p=0.8)]
    for seed in range(30):
        for step, own in zip([crop, *steps], np.random.SeedSequence(seed).generate_state(3), strict=True):
            step.set_random_seed(int(own))
        box = crop.get_params_dependent_on_data({"shape": image.shape}, {"image": image})["crop_coords"]
        expected = resize(image, SIZE, "bicubic", box)
        for step in steps:
            expected = step(image=expected)["image"]
        # The crop is resized in vector code, which rounds otherwise by a level or two, and colour makes more of it.
        apart = np.abs(transform(image, seed).astype(int) - expected.astype(int))
        assert apart.mean() < 0.1 and np.quantile(apart, 0.999) <= 4


def smooth(height, width, chans=3, seed=0):
    small = np.random.default_rng(seed).integers(30, 226, (6, 8, chans), np.uint8)
    return resize(small, (height, width), "bicubic")


MATRIX = (0.9, 0.2, 3.0, -0.15, 1.05, 2.0)
FIXED = {
    **{"mirror": (), "flip": (), "autocontrast": (), "equalize": (), "brightness": (1.3,), "contrast": (0.6,)},
    **{"saturation": (1.4,), "hue": (0.05,), "light": (1.1, -0.1), "blur": (1.2,), "erase": (5, 7, 20, 11)},
    **{"sharpness": (1.6,), "posterize": (3,), "solarize": (0.6,), "elastic": (7, 68.0, 6.0), "warp": (MATRIX, "edge")},
}
# OpenCV keeps the hue of 8 bits in steps of 2 degrees; the libraries' tables for equalising differ by an entry, the
# less the more pixels there are; all others round differently by a level, and by more where they round twice.
# OpenCV before 5 takes the pixels of a warp at multiples of 1/32.
COARSE = int(cv2.__version__.partition(".")[0]) < 5
LEVELS = {"hue": 10, "equalize": 5, "saturation": 3, "contrast": 2, "warp": 3 if COARSE else 2}


@pytest.mark.parametrize("chans", [1, 3, 5])
@pytest.mark.parametrize("name", FIXED)
def test_both_engines_make_the_same_pixels_from_the_same_numbers(name, chans):
    assert FIXED.keys() == with_albumentations.OPERATIONS.keys() == with_torchvision.OPERATIONS.keys()
    image, mean = smooth(200, 240, chans), (0.4,) * chans
    values = [FIXED[name]] + ([(MATRIX, "reflect"), (MATRIX, "mean")] if name == "warp" else [])
    if chans != 3 and name in ("hue", "saturation"):  # drawn for no others: colour has a meaning in three alone
        assert name not in {operation for policy in POLICIES for operation, _ in drawn(policy, channels=chans)}
        values = []
    for one in values:
        operation = [Operation(name, one)]
        first, second = (engine.apply(image, operation, mean) for engine in (with_albumentations, with_torchvision))
        assert first.dtype == second.dtype == np.uint8
        assert np.abs(first.astype(int) - second).max() <= LEVELS.get(name, 1)
        assert not np.array_equal(first, image) and np.array_equal(image, smooth(200, 240, chans))
        exact = (image / 255).astype(np.float32)
        first, second = (engine.apply(exact, operation, mean) for engine in (with_albumentations, with_torchvision))
        # Levels of 16 bits are told apart by their first 8 where a histogram is taken, or some of them are dropped.
        most = {
            "warp": 3 / 255 if COARSE else 2e-3,
            **dict.fromkeys(("equalize", "autocontrast", "posterize"), 5 / 255),
        }
        assert np.abs(first - second).max() <= most.get(name, 2e-3)


@pytest.mark.parametrize("angle", [-130, -20, 7, 90])
def test_a_turn_is_torchvisions_turn(angle):
    image = smooth(48, 48)
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    middle = 23.5
    matrix = (c, s, middle - c * middle - s * middle, -s, c, middle + s * middle - c * middle)
    turned = with_albumentations.apply(image, [Operation("warp", (matrix, "mean"))], (0.5,) * 3)
    theirs = F.rotate(
        torch.from_numpy(image.copy()).permute(2, 0, 1), angle, F.InterpolationMode.BILINEAR, fill=[127.5] * 3
    )
    # All but the seam with the empty corners, which torchvision darkens.
    assert np.quantile(np.abs(turned.astype(int) - theirs.permute(1, 2, 0).numpy()), 0.95) <= 1


@pytest.mark.parametrize("name", POLICIES)
def test_both_engines_vary_pictures_alike(name):
    image = smooth(90, 120)
    first, second = (np.array(varied(name, engine, image, range(80)), np.float64) for engine in ENGINES)
    gap = np.abs(first - second).mean(axis=(1, 2, 3))
    # A level more or less decides where values are cut to a few levels or equalised: some pictures of the two that do.
    often = 0.75 if name in ("trivial", "rand") else 1.0
    assert np.quantile(gap, often) <= 2.5
    for statistic in (
        lambda many: many.mean(axis=(1, 2, 3)),
        lambda many: many.std(axis=(1, 2, 3)),
        lambda many: np.ptp(many.mean(axis=(1, 2)), axis=1),
    ):
        low, high = statistic(first), statistic(second)
        assert abs(low.mean() - high.mean()) < 0.6 and abs(low.std() - high.std()) < 0.6


@pytest.mark.parametrize(("name", "most"), [("light", 0.15), ("standard", 0.35), ("strong", 0.5)])
def test_factors_fill_the_range_that_was_said(name, most):
    found = {}
    for operation, values in drawn(name):
        found.setdefault(operation, []).append(values[0] if values else 0)
    for factor in ("brightness", "contrast", "saturation"):
        assert 1 - most <= min(found[factor]) < 1 - 0.9 * most and 1 + 0.9 * most < max(found[factor]) <= 1 + most
    assert 0.75 < len(found["hue"]) / len(DRAWS) < 0.85


def test_randaugment_does_two_things_and_trivialaugment_one_at_every_strength():
    for name, count in (("trivial", 1), ("rand", 2)):
        step = POLICIES[name].steps[-1:]
        lists = [draw(step, frame=SIZE, size=SIZE, channels=3, seed=seed) for seed in DRAWS]
        assert max(map(len, lists)) == count
        strengths = {round(abs(o.values[0] - 1), 4) for one in lists for o in one if o.name == "brightness"}
        assert strengths == {round(0.9 * 9 / 30, 4)} if name == "rand" else len(strengths) > 5


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("size", [(48, 48), (40, 64)])
def test_a_turn_by_any_angle_shows_nothing_from_outside_the_picture(engine, size, monkeypatch):
    """On a picture whose rim is black outside of itself: what comes in from outside would be seen."""
    from finetune.data.draws import Operation, _turned

    spec = ImageSpec(size=size, mean=(0.0,) * 3, std=(1.0,) * 3, crop_pct=1.0)
    white = np.full((*size, 3), 255, np.uint8)
    for degrees in range(360):
        drawn = [Operation("warp", (_turned(math.radians(degrees), size), "mean"))]
        monkeypatch.setattr("finetune.data.transforms.draw", lambda *a, drawn=drawn, **k: drawn)
        assert train_transform(spec, "any-angle", engine=engine)(white, 0).min() >= 254, degrees
