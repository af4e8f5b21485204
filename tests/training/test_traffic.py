"""What devices say to each other in a step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.errors import ConfigError
from finetune.training.traffic import efficiency, link_speed, ring_bytes


@given(world=st.integers(1, 12), chunks=st.integers(1, 50))
def test_a_ring_sends_what_a_ring_that_is_played_through_sends(world, chunks):
    """Reduce-scatter and all-gather: W - 1 rounds each, in which everybody hands a W-th on to the next one."""
    gradients = 4 * world * chunks
    held = [[float(rank)] * world for rank in range(world)]
    sent = [0] * world
    for round_ in range(2 * (world - 1)):
        before = [list(values) for values in held]
        for rank in range(world):
            part, after = (rank - round_) % world, (rank + 1) % world
            value = before[rank][part]
            held[after][part] = before[after][part] + value if round_ < world - 1 else value
            sent[rank] += gradients // world
    assert all(values == [world * (world - 1) / 2] * world for values in held)
    assert set(sent) == {round(ring_bytes(gradients, world))}


@given(step=st.floats(1e-4, 1e2), seconds=st.floats(0, 1e2))
def test_efficiency_lies_between_nothing_hidden_and_all_that_fits_hidden(step, seconds):
    found = efficiency(step, seconds)
    assert 0 < found.least <= found.most <= 1 + 1e-12
    assert found.least == pytest.approx(step / (step + seconds))
    if seconds <= step / 2:
        assert found.most == pytest.approx(1), "it fits behind the backward pass"


@pytest.mark.parametrize(
    "text, speed",
    [("10Gb", 1.25e9), ("10 Gbit/s", 1.25e9), ("100Mb/s", 1.25e7), ("12GB", 12e9), ("1.5TB/s", 1.5e12), ("800b", 100)],
)
def test_bits_and_bytes_a_second_are_told_apart(text, speed):
    assert link_speed(text) == pytest.approx(speed)


@pytest.mark.parametrize("text", ["", "fast", "10", "Gb", "-1Gb", "0Gb", "10Gq"])
def test_what_is_no_speed_is_refused(text):
    with pytest.raises(ConfigError, match="link must be a speed"):
        link_speed(text)
