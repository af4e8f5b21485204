import shutil

import pytest

import finetune as ft


@pytest.fixture(scope="session")
def probed(probed, tmp_path_factory):
    """The same in a folder of its own: whoever asks for neighbours leaves an index in the run."""
    return ft.load(shutil.copytree(probed.folder, tmp_path_factory.mktemp("runs") / "asked"))
