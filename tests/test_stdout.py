"""What commands print, where whoever reads has seen enough."""

from __future__ import annotations

import os
import sys

import pytest

from finetune.stdout import print_text, talking, tell


@pytest.fixture
def closed(monkeypatch):
    """Standard output and error are a pipe whose reader is gone, as after `| head -1`."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        yield


@pytest.mark.skipif(os.name != "posix", reason="pipes break otherwise elsewhere")
@pytest.mark.parametrize("stderr", [False, True])
def test_work_goes_on_where_its_reader_stops(closed, stderr):
    console = talking(stderr=stderr)
    for line in range(3):
        console.print(line)
    console.rule("still here")


@pytest.mark.skipif(os.name != "posix", reason="pipes break otherwise elsewhere")
@pytest.mark.parametrize("say", [tell, print_text])
def test_a_message_to_nobody_is_no_error(closed, say):
    say("one")
    say("two")
