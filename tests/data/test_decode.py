import io
import random

import numpy as np
import pytest
from PIL import Image

from finetune.data import readers
from finetune.data.decode import _simplejpeg, decode_jpeg
from finetune.data.kernels import quick_resize
from finetune.data.readers import read_image
from finetune.data.transforms import resize
from finetune.errors import UnreadableError

needs_simplejpeg = pytest.mark.skipif(_simplejpeg() is None, reason="simplejpeg is not installed")


def jpeg(size=(75, 101), mode="RGB", seed=0, **options):
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    image = Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC).convert(mode)
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def by_pil(raw, shrink_to=None):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "decode_jpeg", lambda image, shrink_to: None)
        return outcome(raw, shrink_to)


def outcome(raw, shrink_to=None):
    try:
        return read_image(raw, shrink_to=shrink_to)
    except UnreadableError as error:
        return str(error)


def agree(raw, shrink_to=None):
    one, other = outcome(raw, shrink_to), by_pil(raw, shrink_to)
    if isinstance(one, str) or isinstance(other, str):
        return one == other if type(one) is type(other) else False
    return one.shape == other.shape and bool((one == other).all())


KINDS = {
    "plain": {}, "progressive": {"progressive": True}, "whole colour": {"subsampling": 0}, "half": {"subsampling": 1},
    "grey": {"mode": "L"}, "four colours": {"mode": "CMYK"}, "turned": {"exif": turned(6)},
    "upright": {"exif": turned(1)}, "poor": {"quality": 5}, "one pixel": {"size": (1, 1)},
    "restarts": {"restart_marker_rows": 1},
}  # fmt: skip


@needs_simplejpeg
@pytest.mark.parametrize("shrink_to", [None, 1, 10, 20, 37, 38, 75, 200])
@pytest.mark.parametrize("kind", KINDS)
def test_the_quick_decoder_gives_the_pixels_of_pil(kind, shrink_to):
    assert agree(jpeg(**KINDS[kind]), shrink_to)


@needs_simplejpeg
def test_the_quick_decoder_is_used_for_upright_rgb_and_nothing_else():
    used = {kind: decode_jpeg(Image.open(io.BytesIO(jpeg(**options)))) is not None for kind, options in KINDS.items()}
    assert {kind for kind, use in used.items() if not use} == {"grey", "four colours"}
    file = io.BytesIO()
    Image.new("RGB", (9, 9)).save(file, "PNG")
    assert decode_jpeg(Image.open(file)) is None


@needs_simplejpeg
@pytest.mark.parametrize("count", [60, pytest.param(4000, marks=pytest.mark.thorough)])
def test_damaged_files_are_refused_or_read_as_pil_does(count):
    rng = random.Random(0)
    for number in range(count):
        raw = bytearray(jpeg(seed=number % 7, progressive=number % 2 == 0))
        where = rng.randrange(2, len(raw))
        if number % 3 == 0:
            raw = raw[:where]
        elif number % 3 == 1:
            raw[where] = rng.randrange(256)
        else:
            del raw[where : where + rng.choice([1, 9, 300])]
        assert agree(bytes(raw)), number


def test_a_truncated_picture_is_refused():
    raw = jpeg(size=(200, 300))
    assert "truncated" in outcome(raw[: len(raw) // 2])


def test_pictures_are_read_without_the_quick_decoder(monkeypatch):
    raw = jpeg()
    expected = read_image(raw)
    monkeypatch.setattr("finetune.data.decode._simplejpeg", lambda: None)
    np.testing.assert_array_equal(read_image(raw), expected)


@pytest.mark.parametrize("chans", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(32, 32), (20, 45), (90, 130)])
def test_the_quick_resize_is_that_of_pil_but_for_rounding(size, kernel, chans):
    picture = np.random.default_rng(0).integers(0, 256, (75, 101, chans), np.uint8)
    made = quick_resize(picture, size, kernel)
    assert made.shape == (*size, chans) and made.dtype == np.uint8
    gap = np.abs(made.astype(int) - resize(picture, size, kernel))
    assert gap.max() <= 2 and gap.mean() < 0.1


def test_the_quick_resize_takes_a_box_and_leaves_the_picture_alone():
    picture = np.random.default_rng(0).integers(0, 256, (75, 101, 3), np.uint8)
    picture.flags.writeable = False
    np.testing.assert_array_equal(
        quick_resize(picture, (20, 30), "bilinear", (10, 5, 70, 45)),
        quick_resize(picture[5:45, 10:70], (20, 30), "bilinear"),
    )
    np.testing.assert_array_equal(quick_resize(picture, (40, 60), "bilinear", (10, 5, 70, 45)), picture[5:45, 10:70])
