"""Spoilt bytes of real and made files, read in a process with bounds: each is read or refused, and nothing else."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .dicoms import dicom

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits on memory are Unix's")
GIGABYTE = 1 << 30
SECONDS = 10

# Reads what it is sent, one file after another, and answers each with a line; an alarm or the kernel ends it.
READER = f"""
import json, resource, signal, struct, sys, time, warnings
warnings.simplefilter("ignore")
import numpy, PIL.Image, cv2, pydicom, pydicom.pixels, pydicom.encaps
from finetune.data.readers import read_image
from finetune.errors import UnreadableError
PIL.Image.init()
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() if sys.platform == "linux" else 0
if held:
    resource.setrlimit(resource.RLIMIT_AS, (held + {2 * GIGABYTE},) * 2)
print("ready", flush=True)
while True:
    head = sys.stdin.buffer.read(8)
    if not head:
        break
    content = sys.stdin.buffer.read(struct.unpack("<Q", head)[0])
    start = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, int(sys.argv[1]))  # of processor time: others may use the machine too
    signal.alarm(30 * int(sys.argv[1]))
    try:
        array = read_image(content)
        said = ["read", str(array.shape), str(array.dtype)]
    except UnreadableError as error:
        said = ["refused", str(error)]
    except BaseException as error:
        said = ["other", repr(error)]
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.alarm(0)
    print(json.dumps([*said, time.process_time() - start]), flush=True)
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if held:  # there it may be that of the process that started this one
    most = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps(most), flush=True)
"""


class Reader:
    """A process that reads pictures; a new one where it died."""

    def __init__(self, seconds: int = SECONDS) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.seconds = seconds
        self.spent = 0.0  # processor time of the last answer

    def ask(self, content: bytes) -> list[str]:
        if self.process is None:
            command = [sys.executable, "-c", READER, str(self.seconds)]
            self.log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip
            assert self.process.stdout.readline() == b"ready\n"
        try:
            self.process.stdin.write(len(content).to_bytes(8, "little") + content)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        if not line:
            process, self.process = self.process, None
            process.communicate()
            self.log.seek(0)
            said = self.log.read()[-300:]
            self.log.close()
            return ["died", f"exit code {process.returncode}: {said!r}"]
        *said, self.spent = json.loads(line)
        return said

    def close(self) -> int:
        """Ends it; returns the most memory it held, in KiB."""
        if self.process is None:
            return 0
        out, _ = self.process.communicate()
        self.log.close()
        return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def reader():
    reader = Reader()
    assert reader.ask(b"")[0] == "refused"  # it is up
    yield reader
    reader.close()


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def made() -> dict[str, list[bytes]]:
    """Small files of each format, in several of its kinds."""
    import cv2

    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).resize((48, 40), Image.Resampling.BICUBIC)
    deep = np.asarray(colour).astype(np.uint16) * 257
    grey = np.asarray(colour.convert("L")).astype(np.uint16) * 16
    frames = [colour.rotate(angle) for angle in (0, 90)]
    again = {"save_all": True, "append_images": frames[1:]}
    buffer = io.BytesIO()
    np.save(buffer, deep)
    j2k = encoded(colour.convert("L"), "JPEG2000", no_jp2=True)
    rgb, words = np.asarray(colour), {"WindowCenter": 2000, "WindowWidth": 3000, "RescaleIntercept": -1000}
    return {
        "JPEG": [encoded(colour, "JPEG"), encoded(colour, "JPEG", progressive=True),
                 encoded(colour.convert("CMYK"), "JPEG")],
        "PNG": [encoded(colour, "PNG"), cv2.imencode(".png", deep)[1].tobytes(), encoded(colour.convert("P"), "PNG"),
                encoded(frames[0], "PNG", **again)],
        "TIFF": [encoded(colour, "TIFF"), encoded(colour, "TIFF", compression="tiff_lzw"),
                 encoded(frames[0], "TIFF", **again), cv2.imencode(".tiff", deep)[1].tobytes(),
                 cv2.imencode(".tiff", (deep / 65535).astype(np.float32))[1].tobytes(),
                 encoded(Image.fromarray(deep[..., 0]), "TIFF", compression="tiff_adobe_deflate")],
        "DICOM": [dicom(grey, BitsStored=12, RescaleSlope=1, **words), dicom(rgb),
                  dicom(grey[None], NumberOfFrames=1, meta=False),
                  dicom(rgb[..., 0], syntax="1.2.840.10008.1.2.4.90", encoded=j2k),
                  dicom(grey, syntax="1.2.840.10008.1.2.1.99")],
        "GIF": [encoded(frames[0], "GIF", **again)],
        "WEBP": [encoded(colour, "WEBP"), encoded(colour, "WEBP", lossless=True)],
        "NPY": [buffer.getvalue()],
    }  # fmt: skip


def real(shared: Path) -> dict[str, list[bytes]]:
    """Real files, the small ones of each format."""
    found = {
        "JPEG": (shared / "photos_exif").rglob("*.jpg"),
        "DICOM": (shared / "dicom").glob("*.dcm"),
    }
    return {name: [file.read_bytes() for file in sorted(some) if file.stat().st_size < 60_000]
            for name, some in found.items()}  # fmt: skip


def with_checksums(content: bytes) -> bytes:
    """A PNG whose checksums are right again, so that what is wrong gets past them."""
    raw, at = bytearray(content), 8
    while at + 12 <= len(raw):
        length = int.from_bytes(raw[at : at + 4], "big")
        if at + 12 + length > len(raw):
            break
        raw[at + 8 + length : at + 12 + length] = zlib.crc32(raw[at + 4 : at + 8 + length]).to_bytes(4, "big")
        at += 12 + length
    return bytes(raw)


def spoilt(content: bytes, rng: np.random.Generator) -> bytes:
    """The same with some bytes changed, mostly near its beginning, where headers are; at times cut off."""
    raw = bytearray(content)
    reach = len(raw) if rng.random() < 0.25 else min(len(raw), int(rng.choice([64, 256, 1024])))
    for _ in range(int(rng.integers(1, 9))):
        at = int(rng.integers(0, reach))
        how = rng.integers(0, 5)
        if how == 0:
            raw[at] = int(rng.integers(0, 256))
        elif how == 1:
            raw[at] ^= 1 << int(rng.integers(0, 8))
        elif how == 2:
            raw[at : at + 4] = bytes([int(rng.choice([0, 255, 127]))]) * len(raw[at : at + 4])
        elif how == 3:
            raw[at : at + 1] = bytes(rng.integers(0, 256, int(rng.integers(0, 5)), np.uint8))
        else:
            start = int(rng.integers(0, len(raw)))
            raw[at : at + 8] = raw[start : start + len(raw[at : at + 8])]
        reach = min(reach, len(raw))
        if reach == 0:
            return b""
    if rng.random() < 0.1:
        raw = raw[: int(rng.integers(0, len(raw) + 1))]
    return bytes(raw)


def series(
    reader: Reader, files: dict[str, list[bytes]], count: int, seed: int
) -> tuple[dict[str, dict[str, int]], list[str]]:
    rng = np.random.default_rng(seed)
    counts: dict[str, dict[str, int]] = {}
    wrong = []
    names = list(files)
    for number in range(count):
        name = names[number % len(names)]
        content = spoilt(files[name][int(rng.integers(0, len(files[name])))], rng)
        if name == "PNG" and number % 2:
            content = with_checksums(content)
        kind, *said = reader.ask(content)
        counts.setdefault(name, {}).setdefault(kind, 0)
        counts[name][kind] += 1
        if kind not in ("read", "refused"):
            wrong.append(f"{name} number {number}: {kind} {said}")
            if os.environ.get("FINETUNE_KEEP"):
                (Path(os.environ["FINETUNE_KEEP"]) / f"{name}-{number}.bin").write_bytes(content)
    return counts, wrong


def test_spoilt_files_are_read_or_refused(reader):
    counts, wrong = series(reader, made(), 300, seed=1)
    assert not wrong
    assert sum(kinds.get("read", 0) for kinds in counts.values()) > 20
    assert sum(kinds.get("refused", 0) for kinds in counts.values()) > 20


@pytest.mark.thorough
def test_ten_thousand_spoilt_files_are_read_or_refused(shared_data, capsys):
    files = made()
    for name, some in real(shared_data).items():
        files[name] += some
    reader = Reader()
    counts, wrong = series(reader, files, 10_000, seed=2)
    most = reader.close()
    with capsys.disabled():
        sys.stdout.write(f"\n{counts}\nmost memory held: {most / 1024:.0f} MiB\n")
    assert not wrong and most < 2 * GIGABYTE / 1024


def claims() -> dict[str, bytes]:
    """Small files whose headers claim enormous pictures."""
    import cv2

    png = bytearray(encoded(Image.new("RGB", (8, 8)), "PNG"))
    png[16:24] = (60_000).to_bytes(4, "big") * 2
    deep = bytearray(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint16))[1].tobytes())
    deep[16:24] = (12_000).to_bytes(4, "big") * 2  # few enough for 8 bits a channel, and too many for 16
    gif = bytearray(encoded(Image.new("P", (8, 8)), "GIF"))
    gif[6:10] = b"\xff" * 4
    tiff = encoded(Image.new("L", (8, 8)), "TIFF")
    size = b"\x00\x01\x04\x00\x01\x00\x00\x00\x08\x00"
    assert size in tiff and size.replace(b"\0\x01\x04", b"\x01\x01\x04", 1) in tiff
    for tag in (b"\x00\x01\x04\x00", b"\x01\x01\x04\x00"):
        at = tiff.index(tag + b"\x01\x00\x00\x00\x08\x00") + 8
        tiff = tiff[:at] + (60_000).to_bytes(4, "little") + tiff[at + 4 :]
    npy = io.BytesIO()
    np.lib.format.write_array_header_1_0(npy, {"descr": "|u1", "fortran_order": False, "shape": (60_000, 60_000)})
    return {
        "PNG": with_checksums(bytes(png)), "PNG of 16 bits": with_checksums(bytes(deep)), "GIF": bytes(gif),
        "TIFF": tiff, "NPY": npy.getvalue(), "DICOM": dicom(np.zeros((8, 8), np.uint8), Rows=60_000, Columns=60_000),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["PNG", "PNG of 16 bits", "GIF", "TIFF", "NPY", "DICOM"])
def test_a_header_that_claims_an_enormous_picture_is_refused_at_once(reader, name):
    kind, why = reader.ask(claims()[name])
    assert kind == "refused" and "too many pixels" in why
    assert reader.spent < 2


def test_a_part_of_a_deep_png_that_claims_a_gigabyte_gets_no_room():
    import cv2

    content = bytearray(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint16))[1].tobytes())
    at = content.index(b"IDAT") - 4
    content[at : at + 4] = (1 << 30).to_bytes(4, "big")
    reader = Reader()
    kind, why = reader.ask(bytes(content))
    assert kind == "refused" and "IDAT" in why and "claims 1073741824 bytes" in why
    assert reader.close() < GIGABYTE / 1024


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
def test_of_many_frames_the_first_alone_is_decoded(reader, kind):
    frames = [Image.new("RGB", (64, 64), (n % 256, n // 256, 0)) for n in range(1500)]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert reader.ask(content)[0] == "read"
    assert reader.spent < 2


def largest() -> dict[str, list[bytes]]:
    """Files of a few megabytes at most that hold as many pixels as are taken."""
    import cv2

    side, deep, half = 10_900, 8_180, 7_700
    upright = Image.Exif()
    upright[0x0112] = 6
    return {
        "RGBA": [encoded(Image.new("RGBA", (side, side)), "PNG", compress_level=1, exif=upright)],
        "grey and alpha": [encoded(Image.new("LA", (side, side)), "PNG", compress_level=1)],
        "progressive JPEG": [encoded(Image.new("RGB", (side, side)), "JPEG", progressive=True, subsampling=0)],
        "WEBP": [encoded(Image.new("RGBA", (half, half)), "WEBP", lossless=True, method=0)],
        "JPEG2000": [encoded(Image.new("RGB", (half, half)), "JPEG2000")],
        "grey of 16 bits": [cv2.imencode(".png", np.zeros((deep, deep), np.uint16))[1].tobytes()],
        "RGBA of 16 bits": [cv2.imencode(".png", np.zeros((deep, deep, 4), np.uint16))[1].tobytes()],
        "DICOM": [dicom(np.zeros((deep, deep), np.uint16))],
    }  # fmt: skip


@pytest.mark.thorough
def test_the_largest_pictures_that_are_taken_need_less_than_two_gigabytes(capsys):
    for name, (content,) in largest().items():
        reader = Reader(seconds=60)  # one each: what is measured is the most that a process ever held
        kind, *said = reader.ask(content)
        most = reader.close() / 1024
        with capsys.disabled():
            sys.stdout.write(f"\n{name}: {len(content)} bytes, {said}, {most:.0f} MiB")
        assert kind == "read" and most < 2048, (name, kind, said, most)
