import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.made import QUICK, class_folders

# Slow and busy machines are no bugs.
settings.register_profile("finetune", deadline=None)
settings.load_profile("finetune")

SHARED = Path(os.environ.get("FINETUNE_SHARED") or Path(__file__).parents[2] / "shared")


WANTING = "needs the real data"


def pytest_terminal_summary(terminalreporter) -> None:
    """Tests on real data are worth most: nobody should think that they passed when they did not run."""
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if WANTING in str(report.longrepr)]
    terminalreporter.write_line(f"{len(skipped)} tests were skipped for want of real data.")


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{WANTING} in {folder} (or $FINETUNE_SHARED)")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    return _shared("data")


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    return _shared("weights")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory) -> Path:
    """Features are kept beside the other things of this test run, and not among those of the person who runs it."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINETUNE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def textures(tmp_path_factory) -> Path:
    """Three class folders of twelve pictures each; nobody writes to them."""
    return class_folders(tmp_path_factory.mktemp("textures"))


@pytest.fixture(scope="session")
def probed(textures, tmp_path_factory):
    """A model fitted on `textures`, with its run folder; nobody writes to it."""
    import finetune as ft

    return ft.fit(textures, **QUICK, out=tmp_path_factory.mktemp("runs") / "probed")


@pytest.fixture(scope="session")
def tuned(textures, tmp_path_factory):
    """The same with the default method, LP-FT, for one epoch."""
    import finetune as ft

    words = {**QUICK, "method": "lp-ft", "epochs": 1, "batch_size": 8}
    return ft.fit(textures, **words, out=tmp_path_factory.mktemp("runs") / "tuned")
