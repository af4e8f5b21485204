import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from finetune.data import pixels
from finetune.data.readers import read_image
from finetune.errors import UnreadableError


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def claiming(content, width, height):
    """A PNG whose header says another size, with its checksum right."""
    raw = bytearray(content)
    raw[16:24] = struct.pack(">II", width, height)
    raw[29:33] = zlib.crc32(bytes(raw[12:29])).to_bytes(4, "big")
    return bytes(raw)


def scene(mode):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (23, 37, 4), np.uint8), "RGBA")
    if mode == "P with a transparent colour":
        image = image.convert("RGB").quantize(16)
        image.info["transparency"] = 3
        return image
    return image.convert(mode)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("in_chans", [1, 3])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGB", "L", "1", "P with a transparent colour"])
def test_strips_make_the_same_picture_as_the_whole(mode, in_chans, orientation, monkeypatch):
    exif = Image.Exif()
    exif[pixels.ORIENTATION] = orientation
    content = encoded(scene(mode), exif=exif)
    whole = read_image(content, in_chans=in_chans)
    assert whole.shape == ((23, 37, in_chans) if orientation < 5 else (37, 23, in_chans))
    for strip in (1, 37 * 4, 37 * 23 - 1):
        monkeypatch.setattr(pixels, "STRIP", strip)
        assert np.array_equal(read_image(content, in_chans=in_chans), whole)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_turning_while_converting_is_what_pil_does(orientation):
    exif = Image.Exif()
    exif[pixels.ORIENTATION] = orientation
    expected = np.asarray(scene("RGB").transpose(pixels.UPRIGHT[orientation]))
    assert np.array_equal(read_image(encoded(scene("RGB"), exif=exif)), expected)


def test_deep_pictures_lie_on_white_however_they_are_cut(monkeypatch):
    array = np.random.default_rng(0).integers(0, 65536, (23, 37, 4)).astype(np.uint16)
    shares = array.astype(np.float32) / 65535
    expected = shares[..., :3] * shares[..., 3:] + (1 - shares[..., 3:])
    for strip in (1, 37 * 4, 10**6):
        monkeypatch.setattr(pixels, "STRIP", strip)
        assert np.allclose(pixels.without_alpha(array), expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_a_png_that_claims_more_than_its_bytes_can_hold_is_cut_off(mode):
    content = encoded(Image.new(mode, (48, 40)))
    with pytest.raises(UnreadableError, match="bytes cannot hold the 48 x 1000000 pixels"):
        read_image(claiming(content, 48, 1_000_000))


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_the_smallest_file_of_a_large_blank_page_is_read(mode):
    """Blank scans are honest, and as small as a PNG can be."""
    page = Image.new(mode, (2480, 3508))
    assert read_image(encoded(page, optimize=True, compress_level=9)).shape == (3508, 2480, 3)


def test_more_pixels_than_any_camera_gives_are_refused_before_they_are_decoded(monkeypatch):
    small, webp = encoded(Image.new("RGB", (40, 30)), "JPEG"), encoded(Image.new("RGB", (40, 30)), "WEBP")
    monkeypatch.setattr(pixels, "MOST_PIXELS", 40 * 30)
    assert read_image(small).shape == (30, 40, 3)
    with pytest.raises(UnreadableError, match="too many pixels"):
        read_image(webp)  # its decoder holds several copies
    monkeypatch.setattr(pixels, "MOST_PIXELS", 40 * 30 - 1)
    with pytest.raises(UnreadableError, match="too many pixels"):
        read_image(small)


def test_a_later_frame_is_asked_for_its_own_size(monkeypatch, tmp_path):
    path = tmp_path / "pages.tif"
    Image.new("L", (8, 8)).save(path, save_all=True, append_images=[Image.new("L", (400, 300))])
    monkeypatch.setattr(pixels, "MOST_PIXELS", 1000)
    assert read_image(f"{path}#frame=1").shape == (8, 8, 3)
    with pytest.raises(UnreadableError, match="too many pixels"):
        read_image(f"{path}#frame=2")
