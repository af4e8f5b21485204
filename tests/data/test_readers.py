import io
import time
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from finetune.data.examples import read_examples
from finetune.data.options import Data
from finetune.data.readers import read_image, scan, without_unreadable
from finetune.errors import DataError, UnreadableError

from .pictures import save, tree


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rgb(size=(32, 24), seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def deep(pixels, kind, *options):
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]
    return cv2.imencode(kind, np.ascontiguousarray(pixels[..., order]), options)[1].tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM"])
@pytest.mark.parametrize("in_chans", [1, 3])
def test_everyday_formats_give_height_width_channels(kind, in_chans):
    array = read_image(encoded(rgb(), kind), in_chans=in_chans)
    assert array.shape == (24, 32, in_chans) and array.dtype == np.uint8


@pytest.mark.parametrize(
    "mode, kind", [("L", "PNG"), ("1", "PNG"), ("P", "PNG"), ("CMYK", "JPEG"), ("LA", "PNG"), ("RGBA", "PNG")]
)
def test_every_mode_becomes_the_picture_that_it_shows(mode, kind):
    image = rgb().convert(mode)
    expected = np.asarray(image.convert("RGB"), np.int16)
    assert np.abs(read_image(encoded(image, kind)) - expected).mean() < 8
    assert read_image(encoded(image, kind), in_chans=1).shape == (24, 32, 1)


def test_transparency_is_shown_on_white():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    for content in (encoded(clear), encoded(palette, transparency=1), encoded(Image.new("LA", (4, 4), (0, 0)))):
        assert (read_image(content) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_stand_upright(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(rgb(), kind, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    np.testing.assert_array_equal(read_image(content), expected)
    assert read_image(content).shape[:2] == ((32, 24) if orientation > 4 else (24, 32))


def test_sixteen_bits_are_scaled_and_not_clipped():
    pixels = np.array([[0, 255, 256, 65535]], np.uint16)
    for content in (encoded(Image.fromarray(pixels)), encoded(Image.fromarray(pixels), "TIFF")):
        array = read_image(content)
        assert array.dtype == np.float32 and array.shape == (1, 4, 3)
        np.testing.assert_allclose(array[0, :, 0], pixels[0] / 65535, rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", [".png", ".tiff"])
def test_all_16_bits_of_every_channel_are_kept(kind, channels):
    pixels = np.random.default_rng(0).integers(0, 65536, (9, 7, channels)).astype(np.uint16)
    content = deep(pixels, kind)
    if channels == 4:
        np.testing.assert_allclose(read_image(content, in_chans=4), pixels / 65535, atol=1e-7)
        shares = pixels / 65535
        pixels = (shares[..., :3] * shares[..., 3:] + 1 - shares[..., 3:]) * 65535  # shown on white
    array = read_image(content)
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, np.broadcast_to(pixels / 65535, (9, 7, 3)), atol=1e-6)


@pytest.mark.parametrize("compression", [1, 5, 8, 32946])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_tiff_of_16_bits_may_be_compressed_by_lzw_or_deflate(compression, channels):
    pixels = np.random.default_rng(0).integers(0, 65536, (9, 7, channels)).astype(np.uint16)
    content = deep(pixels, ".tiff", cv2.IMWRITE_TIFF_COMPRESSION, compression)
    np.testing.assert_allclose(read_image(content, in_chans=channels), pixels / 65535, atol=1e-7)


def test_the_first_of_several_pages_is_read_and_any_can_be_named(tmp_path):
    pages = [Image.fromarray(np.full((4, 5), 1000 * n, np.uint16)) for n in (1, 2, 3)]
    file = tmp_path / "pages.tif"
    pages[0].save(file, save_all=True, append_images=pages[1:])
    for name, value in ((file, 1000), (f"{file}#frame=1", 1000), (f"{file}#frame=3", 3000)):
        assert read_image(name).max() == pytest.approx(value / 65535)
    with pytest.raises(UnreadableError):
        read_image(f"{file}#frame=4")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_of_16_bits_stand_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw, tag = deep(np.asarray(rgb()).astype(np.uint16) * 257, ".png"), exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = len(tag).to_bytes(4, "big") + b"eXIf" + tag + zlib.crc32(b"eXIf" + tag).to_bytes(4, "big")
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(rgb(), exif=exif)))))
    np.testing.assert_allclose(read_image(raw[:33] + chunk + raw[33:]), expected / 255, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, bool])
@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 3)])
def test_numpys_own_files_are_pictures(tmp_path, dtype, shape):
    array = (np.random.default_rng(0).random(shape) * (200 if dtype != np.float32 else 1)).astype(dtype)
    for order in (array, np.asfortranarray(array)):
        np.save(tmp_path / "a.npy", order)
        np.testing.assert_array_equal(read_image(tmp_path / "a.npy"), read_image(array))
        np.testing.assert_array_equal(read_image((tmp_path / "a.npy").read_bytes()), read_image(array))


def npy(shape, dtype="<f8", content=b""):
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


@pytest.mark.parametrize(
    "content, reason",
    [
        (npy((60000, 60000)), "too many pixels"),
        (npy((100, 100), content=b"123"), "cut off"),
        (npy((2, 2), "|O", b"cos\nsystem\n"), "Python objects"),
        (npy((-4, -4), content=b"0" * 128), "shape"),
        (npy((4,), content=b"0" * 32), "shape"),
        (npy((1, 2), content=np.array([7.0, 900.0]).tobytes()), "which can mean several things"),
        (b"\x93NUMPY\x09\x00", "cannot be decoded"),
    ],
)
def test_a_numpy_file_that_lies_is_refused(content, reason):
    with pytest.raises(UnreadableError, match=reason):
        read_image(content)


def test_float_pictures_keep_their_values():
    array = read_image(encoded(Image.fromarray(np.array([[0.25, 1.0]], np.float32)), "TIFF"), in_chans=1)
    np.testing.assert_array_equal(array[..., 0], [[0.25, 1.0]])


def test_a_tiff_of_colours_in_floats_is_read_where_they_are_shares():
    shares = np.random.default_rng(0).random((9, 7, 3)).astype(np.float32)
    np.testing.assert_allclose(read_image(deep(shares, ".tiff")), shares)
    with pytest.raises(UnreadableError, match=r"float in 0\.\.1"):
        read_image(deep(shares * 900, ".tiff"))
    with pytest.raises(UnreadableError, match=r"TIFF whose header|cannot be decoded"):
        read_image(deep(shares, ".tiff")[:8] + b"\xff" * 64)


def test_integers_up_to_255_are_8_bits_and_other_numbers_without_one_meaning_are_refused():
    for dtype in (np.int16, np.int32, np.int64, np.uint32):
        array = read_image(np.full((4, 5, 3), 200, dtype))
        assert array.dtype == np.uint8 and (array == 200).all()
    for odd in (np.full((4, 5), 300, np.int64), np.full((4, 5), -1, np.int64), np.full((4, 5), 200.0)):
        with pytest.raises(UnreadableError, match=r"uint8 .*, uint16 .* or float in 0\.\.1"):
            read_image(odd)
    with pytest.raises(UnreadableError, match="float in"):
        read_image(encoded(Image.fromarray(np.full((4, 5), 200, np.float32)), "TIFF"))
    with pytest.raises(UnreadableError, match="float in"):
        read_image(np.full((4, 5), 1j))
    assert read_image(Image.fromarray(np.full((4, 5), 65535, np.int32))).max() == 1


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert read_image(content)[0, 0, 0] > 240


def test_other_channel_numbers_must_be_the_pictures_own():
    assert read_image(encoded(rgb().convert("RGBA")), in_chans=4).shape == (24, 32, 4)
    assert read_image(np.zeros((5, 6, 7), np.uint8), in_chans=7).shape == (5, 6, 7)
    for source in (encoded(rgb()), np.zeros((5, 6, 7), np.uint8)):
        with pytest.raises(UnreadableError, match="expected 4"):
            read_image(source, in_chans=4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, bool])
@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 3)])
@pytest.mark.parametrize("in_chans", [1, 3])
def test_arrays_of_any_type_come_as_8_bits_or_as_shares(dtype, shape, in_chans):
    array = read_image(np.ones(shape, dtype), in_chans=in_chans)
    assert array.shape == (5, 6, in_chans) and array.dtype == (np.uint8 if dtype in (np.uint8, bool) else np.float32)


@pytest.mark.parametrize(
    "array",
    [
        np.full((4, 4), np.nan),
        np.full((4, 4), -1.0),
        np.zeros((0, 4, 3)),
        np.zeros((2, 2, 2, 2)),
        Image.new("I", (0, 0)),
    ],
)
def test_arrays_without_meaning_are_refused(array):
    with pytest.raises(UnreadableError):
        read_image(array)


def test_a_jpeg_may_be_shrunk_while_it_is_decoded_but_not_below_what_is_needed():
    content = encoded(rgb((640, 480)), "JPEG")
    assert read_image(content, shrink_to=100).shape == (120, 160, 3)
    assert read_image(content, shrink_to=121).shape == (240, 320, 3)
    assert read_image(content).shape == (480, 640, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused_and_never_half_grey(kind, kept):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    content = encoded(noise, kind)
    with pytest.raises(UnreadableError):
        read_image(content[: int(len(content) * kept)])


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"]), st.data())
def test_damaged_bytes_are_read_or_refused_and_nothing_else(kind, data):
    content = bytearray(encoded(rgb(), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert read_image(bytes(content)).ndim == 3
    except UnreadableError as error:
        assert str(error)


def test_what_is_no_picture_says_what_it_is(tmp_path):
    text, empty = tmp_path / "a.jpg", tmp_path / "b.jpg"
    text.write_text("hello")
    empty.touch()
    postscript = tmp_path / "c.jpg"
    postscript.write_bytes(encoded(rgb(), "EPS"))
    for path, reason in (
        (text, "no picture of a known format"),
        (empty, "empty"),
        (tmp_path, "folder"),
        (tmp_path / "gone.jpg", "no such file"),
        (postscript, "no picture of a known format"),
    ):
        with pytest.raises(UnreadableError, match=reason) as caught:
            read_image(path)
        assert str(tmp_path) not in str(caught.value)


def test_a_bomb_is_refused_by_its_header():
    header = encoded(Image.new("1", (8, 8)))
    bomb = bytearray(header)
    bomb[16:24] = (60000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bytes(bomb[12:29])).to_bytes(4, "big")
    start = time.perf_counter()
    with pytest.raises(UnreadableError, match="too many pixels"):
        read_image(bytes(bomb))
    assert time.perf_counter() - start < 1


def test_scanning_names_every_unreadable_row_and_skipping_leaves_the_rest(tmp_path):
    tree(tmp_path, ["a/1.jpg", "a/2.jpg", "b/1.png", "b/2.png"])
    whole = (tmp_path / "a/2.jpg").read_bytes()
    (tmp_path / "a/2.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b/1.png").write_text("no picture")
    examples = read_examples(Data(source=str(tmp_path)))
    errors = scan(examples)
    assert sorted(errors) == [1, 2]
    with pytest.raises(DataError, match=r"(?s)2 of 4 pictures.*2\.jpg.*1\.png.*--on-corrupt skip"):
        without_unreadable(examples, errors, "stop")
    kept, note = without_unreadable(examples, errors, "skip")
    assert list(kept.table["id"]) == ["a/1.jpg", "b/2.png"] and "2 of 4" in note
    assert without_unreadable(examples, {}, "stop") == (examples, None)


def test_scanning_tells_of_each_picture_done(tmp_path):
    examples = read_examples(Data(source=str(tree(tmp_path, ["a/1.jpg", "a/2.jpg", "b/1.png"]))))
    told: list[int] = []
    assert scan(examples, progress=told.append) == {}
    assert told == [1, 1, 1]


def test_skipping_everything_is_refused(tmp_path):
    save(tmp_path / "a/1.jpg")
    save(tmp_path / "b/1.jpg")
    examples = read_examples(Data(source=str(tmp_path)))
    with pytest.raises(DataError, match="2 of 2"):
        without_unreadable(examples, {0: "x", 1: "x"}, "skip")


def test_real_photographs_with_odd_headers_are_read(shared_data):
    paths = sorted((shared_data / "photos_exif").rglob("*.jpg"))
    assert len(paths) == 31
    assert all(read_image(path).shape[2] == 3 for path in paths)
