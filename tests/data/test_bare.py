"""Pictures without answers."""

import pytest

from finetune.data.bare import bare_pictures
from finetune.errors import DataError


def test_all_pictures_under_a_folder_are_listed_without_answers(textures, tmp_path):
    found = bare_pictures(textures)
    assert len(found) == 36 and found.table["id"][0] == "checks/0.png"
    assert found.table["target"].isna().all() and found.table["split"].isna().all()
    with pytest.raises(DataError, match="holds no pictures"):
        bare_pictures(tmp_path)
