from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from finetune.data.placing import _nearest, place
from finetune.types import CROP_MODES, ImageSpec

side = st.integers(1, 5000)


@given(st.integers(0, 10**7), st.integers(1, 10**4))
def test_the_nearest_whole_number_is_what_round_says(a, b):
    assert _nearest(a, b) == round(Fraction(a, b))


@given(side, side, st.integers(8, 600), st.integers(8, 600), st.sampled_from([0.8, 0.875, 0.95, 1.0]),
       st.sampled_from(CROP_MODES))  # fmt: skip
def test_the_input_lies_in_the_middle_and_a_turned_picture_of_a_turned_input_is_placed_alike(
    height, width, high, wide, crop_pct, mode
):
    def asked(*size):
        return ImageSpec(size=size, mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=crop_pct, crop_mode=mode)

    spec = asked(high, wide)
    resized, start = place(spec, height, width)
    assert place(asked(wide, high), width, height) == (resized[::-1], start[::-1])
    for whole, first, size in zip(resized, start, spec.size, strict=True):
        assert whole >= 1
        # As much is left out before as after it, to one pixel; or, where it is surrounded, is added.
        assert abs(first - (whole - size - first)) <= 1
        if mode != "pad":
            assert first >= 0 and first + size <= whole
    if mode == "pad":
        assert all(new <= canvas for new, canvas in zip(resized, spec.resized, strict=True))
        assert resized[0] == spec.resized[0] or resized[1] == spec.resized[1]
