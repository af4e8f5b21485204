import io
import shutil
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from finetune.cli import call
from finetune.data.examples import list_pictures, read_examples
from finetune.data.options import Data
from finetune.data.readers import read_image
from finetune.errors import ConfigError, UnreadableError
from tests.made import QUICK_WORDS, class_folders, table

from .dicoms import dicom

pydicom = pytest.importorskip("pydicom")

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def grey(content):
    array = read_image(content, in_chans=1)
    assert array.dtype == np.float32 and array.shape[2] == 1
    return array[..., 0]


def test_without_a_window_the_range_of_the_stored_bits_is_the_scale():
    np.testing.assert_allclose(grey(dicom(RAMP, BitsStored=12)), RAMP / 4095, atol=1e-6)
    np.testing.assert_allclose(grey(dicom(RAMP)), RAMP / 65535, atol=1e-6)
    signed = RAMP.astype(np.int16) - 2048
    np.testing.assert_allclose(grey(dicom(signed, BitsStored=12)), RAMP / 4095, atol=1e-6)


def test_all_shades_of_16_bits_are_kept():
    assert len(np.unique(grey(dicom(RAMP, BitsStored=12)))) == 4096


@settings(max_examples=40)
@given(st.floats(0.5, 4), st.integers(-1500, 0), st.integers(-800, 2000), st.integers(2, 3000))
def test_a_window_is_taken_after_slope_and_intercept(slope, intercept, center, width):
    shown = grey(dicom(RAMP, RescaleSlope=round(slope, 2), RescaleIntercept=intercept,
                       WindowCenter=[center, 1], WindowWidth=[width, 2]))  # fmt: skip
    values = RAMP * round(slope, 2) + intercept
    np.testing.assert_allclose(shown, np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1), atol=2e-3)


def test_each_voi_function_means_what_the_standard_says():
    words = {"WindowCenter": 2000, "WindowWidth": 1000}
    assert grey(dicom(RAMP, VOILUTFunction="SIGMOID", **words))[31, 16] == pytest.approx(0.5)
    exact = grey(dicom(RAMP, VOILUTFunction="LINEAR_EXACT", **words)).ravel()
    assert exact[[1500, 2000, 2500]] == pytest.approx([0, 0.5, 1])
    threshold = grey(dicom(RAMP, WindowCenter=100, WindowWidth=1)).ravel()
    assert threshold[99] == 0 and threshold[100] == 1
    np.testing.assert_allclose(grey(dicom(RAMP, WindowCenter=100, WindowWidth=0)), grey(dicom(RAMP)))


def test_pydicoms_own_windowing_agrees():
    from pydicom.pixels import apply_voi_lut

    content = dicom(RAMP, WindowCenter=1000, WindowWidth=600, BitsStored=12)
    theirs = apply_voi_lut(RAMP, pydicom.dcmread(io.BytesIO(content)))
    np.testing.assert_allclose(grey(content), theirs / theirs.max(), atol=1e-5)


def test_lookup_tables_of_modality_and_voi_are_followed():
    def lut(entries, bits):
        item = pydicom.Dataset()
        item.add_new("LUTDescriptor", "US", [len(entries), 0, bits])
        item.add_new("LUTData", "OW", np.asarray(entries, np.uint16).tobytes())
        return pydicom.Sequence([item])

    pixels = np.arange(4, dtype=np.uint8).reshape(2, 2)
    entries = [0, 1000, 3000, 4095]
    expected = np.reshape(entries, (2, 2)) / 4095
    np.testing.assert_allclose(grey(dicom(pixels, VOILUTSequence=lut(entries, 12))), expected, atol=1e-6)
    modality = {"ModalityLUTSequence": lut(entries, 16)}
    np.testing.assert_allclose(grey(dicom(pixels, **modality)), expected * 4095 / 65535, atol=1e-6)


def test_monochrome1_is_inverted():
    plain = grey(dicom(RAMP, BitsStored=12))
    np.testing.assert_allclose(grey(dicom(RAMP, BitsStored=12, PhotometricInterpretation="MONOCHROME1")), 1 - plain)


def test_colour_is_rgb_however_it_is_laid_out():
    colour = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    np.testing.assert_array_equal(read_image(dicom(colour)), colour)
    planes = np.ascontiguousarray(colour.transpose(2, 0, 1)).reshape(colour.shape)
    np.testing.assert_array_equal(read_image(dicom(planes, PlanarConfiguration=1)), colour)
    deep = colour.astype(np.uint16) * 257
    np.testing.assert_allclose(read_image(dicom(deep)), colour / 255, atol=1e-6)
    flat = np.full((6, 8, 3), 128, np.uint8)
    assert np.ptp(read_image(dicom(flat, PhotometricInterpretation="YBR_FULL")).astype(int)) <= 1


def test_the_middle_frame_is_read_and_any_can_be_named(tmp_path):
    frames = np.stack([np.full((4, 5), 10 * n, np.uint8) for n in range(5)])
    file = tmp_path / "many.dcm"
    file.write_bytes(dicom(frames, NumberOfFrames=5))
    assert grey(file)[0, 0] == pytest.approx(20 / 255)
    for number in range(1, 6):
        assert grey(f"{file}#frame={number}")[0, 0] == pytest.approx(10 * (number - 1) / 255)
    with pytest.raises(UnreadableError, match="5 frame"):
        read_image(f"{file}#frame=6")


def test_a_file_that_is_called_like_a_frame_is_that_file(tmp_path):
    file = tmp_path / "a.dcm#frame=2"
    file.write_bytes(dicom(RAMP))
    assert grey(str(file)).shape == (64, 64)


def test_frames_of_one_file_come_from_a_table_and_stay_on_one_side(tmp_path):
    frames = np.zeros((3, 4, 5), np.uint8)
    for name in "ab":
        (tmp_path / f"{name}.dcm").write_bytes(dicom(frames, NumberOfFrames=3))
    rows = [(f"{name}.dcm#frame={n}", name) for name in "ab" for n in (1, 2, 3)]
    examples = read_examples(Data(source=str(table(tmp_path / "t.csv", ("image", "label"), rows))))
    assert list(examples.table["id"]) == [image for image, _ in rows]
    assert examples.table.groupby("group")["id"].count().tolist() == [3, 3]
    assert list_pictures([f"{tmp_path}/a.dcm#frame=2"]) == [f"{tmp_path}/a.dcm#frame=2"]


@pytest.mark.parametrize("meta", [True, False])
def test_a_file_without_extension_or_meta_header_is_known_by_its_bytes(tmp_path, meta):
    file = tmp_path / "IM000001"
    file.write_bytes(dicom(RAMP, BitsStored=12, meta=meta))
    np.testing.assert_allclose(grey(file), RAMP / 4095, atol=1e-6)


def test_a_preamble_that_looks_like_a_tiff_deceives_nobody():
    content = bytearray(dicom(RAMP, BitsStored=12))
    content[:8] = b"II*\0\x08\0\0\0"
    np.testing.assert_allclose(grey(bytes(content)), RAMP / 4095, atol=1e-6)


def bad():
    colour = np.zeros((4, 4, 3), np.uint8)
    whole = dicom(RAMP)
    yield "cut off", whole[: len(whole) // 2], "cannot be decoded"
    yield "no pixels", dicom(RAMP, Rows=None), "DICOM without a picture.*Rows"
    yield "bomb", dicom(colour, Rows=60000, Columns=60000), "too many pixels"
    yield "video", dicom(colour, syntax="1.2.840.10008.1.2.4.100"), "MPEG2.*does not decode"
    yield "lossless", dicom(RAMP, syntax="1.2.840.10008.1.2.4.70"), "JPEG Lossless.*pip install python-gdcm"
    yield "frames", dicom(RAMP[None], NumberOfFrames=1000), "cannot be decoded"
    yield "too short", dicom(RAMP, PhotometricInterpretation="RGB", SamplesPerPixel=3), "cannot be decoded"
    yield "unknown syntax", dicom(RAMP, syntax="1.2.840.10008.1.2.4.94"), "does not decode"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("content, reason", [pytest.param(*rest, id=name) for name, *rest in bad()])
def test_what_is_no_whole_picture_says_why(content, reason):
    with pytest.raises(UnreadableError, match=reason):
        read_image(content)


def test_a_compressed_picture_that_is_larger_than_its_header_says_is_refused_before_it_is_decoded():
    buffer = io.BytesIO()
    Image.new("L", (640, 480)).save(buffer, "JPEG")
    content = dicom(np.zeros((8, 8), np.uint8), syntax="1.2.840.10008.1.2.4.50", encoded=buffer.getvalue())
    with pytest.raises(UnreadableError, match="640 x 480 pixels, its header says 8 x 8"):
        read_image(content)


def test_a_deflated_file_is_read_and_a_bomb_in_it_is_not(monkeypatch):
    content = dicom(RAMP, BitsStored=12, syntax="1.2.840.10008.1.2.1.99")
    np.testing.assert_allclose(grey(content), RAMP / 4095, atol=1e-6)
    monkeypatch.setattr("finetune.data.dicom.MOST_BYTES", 1000)
    with pytest.raises(UnreadableError, match="inflates to more"):
        read_image(content)


REAL = {
    "CT_small": (128, 128), "GDCMJ2K_TextGBR": (400, 400), "J2K_pixelrep_mismatch": (512, 512),
    "SC_rgb_jpeg_dcmd": (256, 256), "SC_ybr_full_422_uncompressed": (100, 100), "examples_jpeg2k": (480, 640),
    "examples_overlay": (300, 484), "examples_palette": (350, 800), "examples_rgb_color": (240, 320),
    "examples_ybr_color": (240, 320), "liver_1frame": (512, 512), "liver_expb_1frame": (512, 512),
    "no_meta": "no picture of a known format", "waveform_ecg": "12-lead ECG",
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_read_or_named(shared_data, name):
    file, expected = shared_data / "dicom" / f"{name}.dcm", REAL[name]
    if isinstance(expected, str):
        with pytest.raises(UnreadableError, match=expected):
            read_image(file)
        return
    array = read_image(file)
    assert array.shape == (*expected, 3) and np.ptp(array) > 0


def test_both_byte_orders_of_one_picture_are_the_same(shared_data):
    little, big = (read_image(shared_data / "dicom" / f"liver{e}_1frame.dcm") for e in ("", "_expb"))
    np.testing.assert_array_equal(little, big)


# As a whole


@pytest.fixture
def scans(tmp_path):
    """Class folders of DICOM files."""
    root = class_folders(tmp_path / "scans", count=8, kinds=("rings", "stripes"))
    for file in root.rglob("*.png"):
        pixels = np.asarray(Image.open(file).convert("L")).astype(np.uint16) * 16
        file.with_suffix(".dcm").write_bytes(dicom(pixels, BitsStored=12))
        file.unlink()
    return root


def test_fit_predict_and_evaluate_take_dicom_without_a_word(scans, tmp_path, capsys):
    out = str(tmp_path / "run")
    assert call(["fit", str(scans), *QUICK_WORDS, "--in-chans", "1", "--out", out]) == 0
    assert call(["evaluate", out, str(scans)]) == 0
    assert call(["predict", out, str(scans / "rings")]) == 0
    assert capsys.readouterr().out.count(".dcm") == 8


def test_a_file_without_a_picture_is_named_once_or_skipped(scans, tmp_path, capsys):
    shutil.copy(scans / "rings" / "0.dcm", scans / "rings" / "9.dcm")
    content = (scans / "rings" / "9.dcm").read_bytes()
    (scans / "rings" / "9.dcm").write_bytes(content[:-500])
    words = ["fit", str(scans), *QUICK_WORDS, "--in-chans", "1", "--out", str(tmp_path / "run")]
    assert call(words) == 2
    message = capsys.readouterr().err
    assert "1 of 17 pictures cannot be read" in message and message.count("9.dcm") == 1
    assert call([*words, "--on-corrupt", "skip"]) == 0


def test_without_pydicom_there_is_one_message_with_the_line_that_helps(scans, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ConfigError, match=r"pip install 'finetune\[dicom\]'"):
        read_image(scans / "rings" / "0.dcm")
    assert call(["fit", str(scans), *QUICK_WORDS, "--out", str(tmp_path / "run")]) == 2
    message = capsys.readouterr().err
    assert message.count("pip install 'finetune[dicom]'") == 1 and message.count("\n") == 1
