import numpy as np
import pytest
from PIL import Image

from finetune.data.examples import read_examples
from finetune.data.options import Data
from finetune.data.sheet import MOST_BYTES, augmentation_sheet
from finetune.errors import ConfigError, DataError
from finetune.types import ImageSpec

from .pictures import tree

SPEC = ImageSpec(size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture
def examples(tmp_path):
    tree(tmp_path / "in", [f"{name}/{n}-größe-кот.jpg" for name in ("cat", "dog") for n in range(4)])
    return read_examples(Data(source=str(tmp_path / "in")))


def read(path):
    with Image.open(path) as page:
        return page.format, np.asarray(page)


def cell(path, place):
    """The picture at a place of the first row."""
    return read(path)[1][21 : 21 + 160, 6 + place * 166 : 166 + place * 166]


def test_a_sheet_shows_rows_of_variations_beside_the_picture_as_evaluated(examples, tmp_path):
    path = augmentation_sheet(examples, SPEC, "strong", rows=3, count=4, path=tmp_path / "new" / "sheet.png")
    kind, page = read(path)
    assert kind == "PNG" and page.shape[1] > 5 * 160 and page.shape[0] > 3 * 160
    assert len({cell(path, place).tobytes() for place in range(5)}) == 5


def test_without_augmentation_all_columns_are_the_first(examples, tmp_path):
    path = augmentation_sheet(examples, SPEC, "none", count=2, path=tmp_path / "sheet.png")
    np.testing.assert_array_equal(cell(path, 0), cell(path, 1))
    assert np.ptp(cell(path, 0)) > 50


@pytest.mark.parametrize("engine", ["albumentations", "torchvision"])
def test_one_seed_gives_one_page(examples, tmp_path, engine):
    pages = [
        augmentation_sheet(
            examples, SPEC, "light", rows=2, count=2, seed=seed, engine=engine, path=tmp_path / f"{n}.png"
        ).read_bytes()
        for n, seed in enumerate((1, 1, 2))
    ]
    assert pages[0] == pages[1] != pages[2]


def test_unreadable_pictures_are_passed_over_and_nothing_but_them_is_an_error(examples, tmp_path):
    for source in examples.table["source"][1:]:
        (tmp_path / source).write_text("no picture")
    one = augmentation_sheet(examples, SPEC, "light", rows=4, path=tmp_path / "one.png")
    assert read(one)[1].shape[0] < 2 * 160
    (tmp_path / examples.table["source"].iloc[0]).write_text("no picture")
    with pytest.raises(DataError, match="None of the 8 pictures could be read"):
        augmentation_sheet(examples, SPEC, "light", path=tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize("words", [{"policy": "lihgt"}, {"engine": "opencv"}])
def test_names_that_are_none_are_refused(examples, tmp_path, words):
    with pytest.raises(ConfigError):
        augmentation_sheet(examples, SPEC, **{"policy": "light", "path": tmp_path / "sheet.png"} | words)


@pytest.mark.parametrize("chans", [1, 2, 5])
def test_pictures_of_any_channels_and_numbers_are_shown(tmp_path, chans):
    arrays = np.random.default_rng(0).integers(0, 256, (4, 40, 40, chans), np.uint8)
    spec = ImageSpec(size=(32, 32), mean=(0.5,) * chans, std=(0.5,) * chans, crop_mode="pad")
    examples = read_examples(Data(source=(arrays, [0.5, -1.0, 2.0, 3.25])))
    assert augmentation_sheet(examples, spec, "light", negate=True, path=tmp_path / "sheet.png").exists()


def test_a_sheet_of_noise_still_fits_in_two_megabytes(tmp_path):
    arrays = np.random.default_rng(0).integers(0, 256, (8, 170, 170, 3), np.uint8)
    spec = ImageSpec(size=(160, 160), mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=1.0)
    examples = read_examples(Data(source=(arrays, list("abababab"))))
    path = augmentation_sheet(examples, spec, "none", rows=8, count=5, path=tmp_path / "sheet.png")
    assert path.stat().st_size <= MOST_BYTES
