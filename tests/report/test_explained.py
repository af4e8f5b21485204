from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from finetune.report.explained import signal_square


@given(st.integers(8, 60), st.integers(8, 60), st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_the_square_holds_the_signal_and_lies_in_the_picture(height, width, seed, least):
    rng = np.random.default_rng(seed)
    signal = np.zeros((3, height, width))
    reach = min(height, width)
    side = rng.integers(1, reach + 1)
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    signal[1, top : top + side, left : left + side] = 1
    rows, columns = signal_square(signal, least=least)
    assert rows.stop - rows.start == columns.stop - columns.start == min(max(side, least), reach)
    assert rows.start >= 0 and rows.stop <= height and columns.start >= 0 and columns.stop <= width
    assert signal[:, rows, columns].sum() == signal.sum()


def test_of_no_signal_the_square_is_the_largest_in_the_middle():
    assert signal_square(np.zeros((1, 40, 60))) == (slice(0, 40), slice(10, 50))
