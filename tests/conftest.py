import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("FINETUNE_SHARED") or Path(__file__).parents[2] / "shared")


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"needs the real data in {folder} (or $FINETUNE_SHARED)")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    return _shared("data")


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    return _shared("weights")
