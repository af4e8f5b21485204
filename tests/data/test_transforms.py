import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import timm.data
from PIL import Image

from finetune.data.transforms import POLICIES, eval_transform, resize, shrink_to, train_transform
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
    image = picture(*shape)
    ours = eval_transform(spec((224, 224), interpolation=interpolation, crop_pct=crop_pct))(image)
    theirs = timm.data.create_transform(
        (3, 224, 224), is_training=False, interpolation=interpolation, crop_pct=crop_pct, mean=(0,) * 3, std=(1,) * 3
    )(Image.fromarray(image))
    assert np.abs(ours / 255 - theirs.numpy().transpose(1, 2, 0)).max() <= 1 / 255 + 1e-6


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("chans", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("name", sorted(POLICIES))
def test_every_policy_takes_every_type_and_number_of_channels(name, chans, dtype):
    made = train_transform(spec(chans=chans), name)(picture(chans=chans, dtype=dtype), 3)
    assert made.shape == (32, 32, chans) and made.dtype == dtype
    assert made.max() > made.min() and (dtype == np.uint8 or (made.min() >= 0 and made.max() <= 1))


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_one_seed_gives_one_picture_in_any_order_and_process(name):
    image = picture()
    first, second = train_transform(spec(), name), train_transform(spec(), name)
    np.random.seed(1)
    forward = [first(image, seed) for seed in range(8)]
    np.random.seed(2)
    backward = [second(image, seed) for seed in reversed(range(8))][::-1]
    np.testing.assert_array_equal(forward, backward)
    assert name == "none" or len({made.tobytes() for made in forward}) == 8


def test_the_picture_itself_stays_as_it_is():
    image = picture()
    before = image.copy()
    for name in POLICIES:
        train_transform(spec(), name)(image, 0)
    np.testing.assert_array_equal(image, before)


def test_no_augmentation_is_what_evaluation_sees():
    image = picture()
    np.testing.assert_array_equal(train_transform(spec(), "none")(image, 5), eval_transform(spec())(image))
    assert shrink_to(spec(), "none") is None


def test_the_flip_says_nothing_about_the_crop():
    # albumentations gives all steps the same stream: there, every flipped picture was cropped on one side.
    ramp = np.repeat(np.linspace(0, 1, 64, dtype=np.float32)[None, :, None], 64, axis=0)
    transform = train_transform(spec(chans=1), "mild")
    made = [transform(ramp, seed)[..., 0] for seed in range(400)]
    flipped = np.array([one[:, 0].mean() > one[:, -1].mean() for one in made])
    span = np.array([abs(one[:, 0].mean() - one[:, -1].mean()) for one in made])
    assert 0.4 < flipped.mean() < 0.6
    assert abs(np.corrcoef(flipped, span)[0, 1]) < 0.15


def test_documents_are_never_flipped():
    ramp = np.repeat(np.linspace(0, 1, 64, dtype=np.float32)[None, :, None], 64, axis=0)
    transform = train_transform(spec(chans=1), "document")
    assert all(one[:, :8].mean() < one[:, -8:].mean() for one in (transform(ramp, seed) for seed in range(50)))


def test_shrinking_does_not_alias():
    stripes = np.tile(np.array([0, 255], np.uint8), (512, 256))[..., None].repeat(3, axis=2)
    for transform in (eval_transform(spec()), lambda image: train_transform(spec(), "medical")(image, 3)):
        assert transform(stripes).std() < 12


def test_a_network_that_is_not_square_sees_the_whole_picture():
    image = picture(48, 64)
    np.testing.assert_array_equal(eval_transform(spec((16, 40)))(image), resize(image, (16, 40), "bicubic"))


def test_an_unknown_policy_answers_with_the_nearest():
    with pytest.raises(ConfigError, match='Did you mean "natural"'):
        train_transform(spec(), "natral")


def test_albumentations_is_imported_where_needed_without_its_version_check():
    code = (
        "import sys, os, finetune.data.transforms as t\n"
        "assert 'albumentations' not in sys.modules\n"
        "import urllib.request\n"
        "urllib.request.OpenerDirector.open = lambda *a, **k: sys.exit('asked the network')\n"
        "t.albumentations()\n"
        "print(os.environ.get('NO_ALBUMENTATIONS_UPDATE'))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "None"), done.stderr


def test_a_spec_travels_to_workers():
    assert pickle.loads(pickle.dumps(spec())) == spec()
