import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.data.readers import read_image
from finetune.data.transforms import eval_transform
from finetune.export.pictures import Seen
from finetune.types import CROP_MODES, ImageSpec

KERNELS = ("bilinear", "bicubic")


def spec(size, kernel, mode, chans=3, crop_pct=0.875):
    mean = (0.2, 0.5, 0.7, 0.4)[:chans]
    return ImageSpec(size=size, mean=mean, std=(1.0,) * chans, interpolation=kernel, crop_mode=mode, crop_pct=crop_pct)


def seen(asked, picture):
    return Seen(asked)(torch.from_numpy(picture)[None])[0].permute(1, 2, 0).numpy()


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 150), st.integers(1, 150), st.sampled_from([(32, 32), (48, 20), (7, 64)]),
       st.sampled_from(KERNELS), st.sampled_from(CROP_MODES), st.sampled_from([1, 3, 4]),
       st.sampled_from([0.8, 0.875, 1.0]), st.integers(0, 10**6))  # fmt: skip
def test_a_graph_sees_the_pixels_of_prediction_to_the_bit(height, width, size, kernel, mode, chans, crop_pct, seed):
    # Noise is the hardest: neighbours differ by all that they can, and a cubic overshoots at every edge.
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, chans), np.uint8)
    asked = spec(size, kernel, mode, chans, crop_pct)
    np.testing.assert_array_equal(seen(asked, picture), eval_transform(asked)(picture))


@pytest.mark.parametrize(("kernel", "mode"), list(itertools.product(KERNELS, CROP_MODES)))
def test_so_of_real_photographs(shared_data, kernel, mode):
    files = [*sorted((shared_data / "hymenoptera/val/ants").glob("*.jpg"))[:4],
             *sorted((shared_data / "photos_exif").glob("*.jpg"))[:1]]  # fmt: skip
    assert len(files) == 5
    for file in files:
        picture, asked = np.array(read_image(file)), spec((224, 224), kernel, mode)
        np.testing.assert_array_equal(seen(asked, picture), eval_transform(asked)(picture))


def test_pictures_of_a_batch_do_not_touch_each_other():
    pictures = torch.randint(0, 256, (3, 50, 70, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    graph = Seen(spec((32, 32), "bicubic", "crop"))
    torch.testing.assert_close(graph(pictures), torch.cat([graph(one[None]) for one in pictures]), rtol=0, atol=0)
