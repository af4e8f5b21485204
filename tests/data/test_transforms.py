import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import timm.data
from packaging.version import Version
from PIL import Image

from finetune.data.policies import ENGINES, POLICIES, Policy
from finetune.data.steps import Crop
from finetune.data.transforms import TrainTransform, eval_transform, resize, shrink_to, train_transform
from finetune.errors import ConfigError
from finetune.types import ImageSpec


def spec(size=(32, 32), chans=3, **options):
    return ImageSpec(size=size, mean=(0.5,) * chans, std=(0.5,) * chans, **options)


def picture(height=48, width=64, chans=3, dtype=np.uint8, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, chans), np.uint8)
    array = resize(small, (height, width), "bicubic")
    return array if dtype == np.uint8 else (array / 255).astype(np.float32)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 0.965, 1.0])
@pytest.mark.parametrize("shape", [(224, 224), (375, 500), (500, 333), (100, 130), (1200, 240), (225, 227)])
def test_evaluation_is_timms_own(shape, crop_pct, interpolation):
    check_timm(shape, (224, 224), crop_pct, interpolation, "crop")


@pytest.mark.parametrize("crop_mode", ["crop", "pad", "squish"])
@pytest.mark.parametrize("size", [(96, 96), (64, 96), (96, 60)])
@pytest.mark.parametrize("shape", [(96, 96), (150, 200), (200, 133), (40, 52), (480, 96), (97, 99)])
def test_every_crop_mode_is_timms_own(shape, size, crop_mode):
    if crop_mode == "crop" and size[0] != size[1] and Version(timm.__version__) < Version("1.0.31"):
        pytest.skip("timm resized otherwise for inputs that are not square before 1.0.31")
    for crop_pct, interpolation in ((0.9, "bicubic"), (1.0, "bilinear")):
        check_timm(shape, size, crop_pct, interpolation, crop_mode)


TIMMS = {"crop": "center", "pad": "border", "squish": "squash"}


def across_then_down(image, size, *words, resize=Image.Image.resize, **more):
    """The order of every Pillow before 13, which takes the shorter way."""
    return resize(resize(image, (size[0], image.height), *words, **more), size, *words, **more)


def check_timm(shape, size, crop_pct, interpolation, crop_mode):
    image, mean = picture(*shape), (0.2, 0.5, 0.7)
    asked = ImageSpec(size=size, mean=mean, std=(1.0,) * 3, interpolation=interpolation, crop_pct=crop_pct,
                      crop_mode=crop_mode)  # fmt: skip
    transform = timm.data.create_transform(
        (3, *size), is_training=False, interpolation=interpolation, crop_pct=crop_pct, mean=mean, std=(1,) * 3,
        crop_mode=TIMMS[crop_mode],
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, "resize", across_then_down)
        theirs = transform(Image.fromarray(image))
    seen = theirs.numpy().transpose(1, 2, 0) + np.array(mean)
    assert np.abs(eval_transform(asked)(image) / 255 - seen).max() <= 1 / 255 + 1e-6


def test_a_spec_says_its_crop_mode_and_one_of_before_means_crop():
    said = spec(crop_mode="pad").to_dict()
    assert ImageSpec.from_dict(said) == spec(crop_mode="pad")
    assert said != spec().to_dict(), "which names the files of features"
    del said["crop_mode"]
    assert ImageSpec.from_dict(said) == spec()


def ramps(height, width):
    """Red grows to the right, green downwards: a picture tells which part of it is seen."""
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return np.stack([across, down, np.zeros((height, width))], axis=2).astype(np.float32)


@pytest.mark.parametrize("shape", [(60, 180), (180, 60)])
def test_training_keeps_the_proportions_of_evaluation(shape):
    seen = {}
    for mode in ("crop", "squish", "pad"):
        asked = ImageSpec(size=(32, 32), mean=(1.0, 1.0, 1.0), std=(1.0,) * 3, crop_mode=mode)
        transform = TrainTransform(asked, Policy("", (Crop(scale=0.8),)), "albumentations")
        pictures = [transform(ramps(*shape), seed) for seed in range(40)]
        area = [np.ptp(one[..., 0]) * np.ptp(one[..., 1]) for one in pictures]
        rim = [(one[..., 2] > 0.5).mean() for one in pictures]
        seen[mode] = np.array([area, rim])
    # A box of 4:3 at most sees less than a half of a picture of 3:1; squeezed first, it sees at least its share.
    assert seen["crop"][0].max() < 0.5 and seen["crop"][1].max() == 0
    assert seen["squish"][0].min() > 0.7 and seen["squish"][1].max() == 0
    # Two thirds of the padded square are rim.
    assert 0.55 < seen["pad"][1].mean() < 0.75


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("chans", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("name", sorted(POLICIES))
def test_every_policy_takes_every_type_and_number_of_channels(name, chans, engine):
    transform = train_transform(spec(chans=chans), name, engine=engine)
    for dtype in (np.uint8, np.float32):
        for seed in range(4):
            made = transform(picture(chans=chans, dtype=dtype), seed)
            assert made.shape == (32, 32, chans) and made.dtype == dtype
            assert made.max() > made.min() and (dtype == np.uint8 or (made.min() >= 0 and made.max() <= 1))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", sorted(POLICIES))
def test_one_seed_gives_one_picture_in_any_order_thread_and_process(name, engine):
    image = picture()
    transform = train_transform(spec(), name, engine=engine)
    np.random.seed(1)
    forward = [transform(image, seed) for seed in range(8)]
    np.random.seed(2)
    backward = [pickle.loads(pickle.dumps(transform))(image, seed) for seed in reversed(range(8))][::-1]
    np.testing.assert_array_equal(forward, backward)
    with ThreadPoolExecutor(4) as pool:
        np.testing.assert_array_equal(forward, list(pool.map(lambda seed: transform(image, seed), range(8))))
    different = {"none": 1, "trivial": 5, "rand": 5}.get(name, 8)  # one of the fourteen does nothing
    assert len({made.tobytes() for made in forward}) >= different


def test_the_picture_itself_stays_as_it_is():
    image = picture()
    before = image.copy()
    for name in POLICIES:
        for engine in ENGINES:
            for seed in range(5):
                train_transform(spec(), name, engine=engine)(image, seed)
    np.testing.assert_array_equal(image, before)


def test_no_augmentation_is_what_evaluation_sees():
    image = picture()
    np.testing.assert_array_equal(train_transform(spec(), "none")(image, 5), eval_transform(spec())(image))
    assert shrink_to(spec(), "none") is None


def test_the_mirror_says_nothing_about_the_crop():
    # albumentations gives all steps the same stream: there, every mirrored picture was cropped on one side.
    ramp = np.repeat(np.linspace(0, 1, 64, dtype=np.float32)[None, :, None], 64, axis=0)
    transform = train_transform(spec(chans=1), "light")
    made = [transform.vary(ramp, seed) for seed in range(400)]
    pictures = [one.picture[..., 0] for one in made]
    mirrored = np.array([one[:, 0].mean() > one[:, -1].mean() for one in pictures])
    span = np.array([abs(one[:, 0].mean() - one[:, -1].mean()) for one in pictures])
    assert 0.4 < mirrored.mean() < 0.6
    assert abs(np.corrcoef(mirrored, span)[0, 1]) < 0.15
    assert mirrored.tolist() == [one.mirrored for one in made]


def test_shrinking_does_not_alias():
    stripes = np.tile(np.array([0, 255], np.uint8), (512, 256))[..., None].repeat(3, axis=2)
    for transform in (eval_transform(spec()), lambda image: train_transform(spec(), "medical")(image, 3)):
        assert transform(stripes).std() < 12


def test_an_unknown_policy_answers_with_the_nearest():
    with pytest.raises(ConfigError, match='Did you mean "standard"'):
        train_transform(spec(), "standrd")
    with pytest.raises(ConfigError, match='Did you mean "torchvision"'):
        train_transform(spec(), "light", engine="torchvison")


def test_albumentations_is_imported_where_needed_without_its_version_check():
    code = (
        "import sys, os, finetune.data.transforms as t\n"
        "assert 'albumentations' not in sys.modules\n"
        "import urllib.request\n"
        "urllib.request.OpenerDirector.open = lambda *a, **k: sys.exit('asked the network')\n"
        "import finetune.data.with_albumentations\n"
        "assert 'albumentations' in sys.modules\n"
        "print(os.environ.get('NO_ALBUMENTATIONS_UPDATE'))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "None"), done.stderr


def test_a_spec_travels_to_workers():
    assert pickle.loads(pickle.dumps(spec())) == spec()
