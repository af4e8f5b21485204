import numpy as np
import pytest
import torch

import finetune.views as room
from finetune.data.loaders import PictureDataset, stack
from finetune.views import view_features
from tests.test_features import examples as examples
from tests.test_features import tiny


def test_features_of_versions_come_version_by_version_and_are_kept(examples, tmp_path, monkeypatch):
    network = tiny()
    words = {"policy": "light", "views": 2, "seed": 3, "cache": tmp_path}
    first = view_features(network, examples, **words)
    varied = PictureDataset(examples, np.zeros(len(examples)), network.spec, policy="light", seed=3)
    for view, row in ((0, 4), (1, 4), (1, 9)):
        with torch.no_grad():
            expected = network.features(stack([varied[row, view][0]]))[0]
        np.testing.assert_allclose(first[view * len(examples) + row], expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(first[4], first[len(examples) + 4])
    monkeypatch.setattr(room, "view_loader", None)  # whoever reads a picture now fails
    assert np.array_equal(view_features(network, examples, **words), first)
    with pytest.raises(TypeError):
        view_features(network, examples, **words | {"seed": 4})
