"""A run becomes a file that other runtimes read, and that says what the run says."""

import contextlib
import io
import json
import shutil

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from PIL import Image

import finetune as ft
from finetune.cli import call
from finetune.errors import ConfigError, DataError, FinetuneError, RunFolderError
from finetune.export import exported, graph
from finetune.files import sha256
from tests.made import QUICK


@pytest.fixture(scope="module")
def onnx(probed, tmp_path_factory):
    """The folder that the command writes of `probed`, and what it prints."""
    folder, said = tmp_path_factory.mktemp("export") / "onnx", io.StringIO()
    with contextlib.redirect_stdout(said):
        assert call(["export", str(probed.folder), "--out", str(folder)]) == 0
    return folder, said.getvalue()


def test_the_record_says_what_goes_in_and_what_comes_out(onnx, probed):
    folder, said = onnx
    facts = json.loads((folder / "export.json").read_text())
    assert sorted(path.name for path in folder.iterdir()) == ["export.json", "model.onnx"]
    assert facts["classes"] == list(probed.classes)
    assert facts["input"]["shape"] == ["N", "H", "W", probed.network.spec.in_chans]
    assert list(facts["outputs"]) == ["probabilities", "label"]
    assert facts["decisions"] == probed.decisions.to_dict()
    assert facts["files"]["model.onnx"]["sha256"] == sha256(folder / "model.onnx")
    assert facts["compared"]["pictures"] > 0 and not facts["compared"]["differing"]
    assert facts["compared"]["largest_difference"] < 1e-5
    for word in ("model.onnx", "pictures", "probabilities", "label", "export.json", "the same answers"):
        assert word in said


def test_another_runtime_answers_as_predict_does_from_the_picture_as_it_is_decoded(onnx, probed, textures):
    folder, _ = onnx
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    files = sorted(textures.rglob("*.png"))[::5]
    # Of another size, which the network never saw.
    arrays = [np.array(Image.open(file).convert("L").resize((71, 45)))[..., None] for file in files]
    table = probed.predict(arrays)
    known = table[list(probed.classes)].to_numpy()
    together = session.run(None, {"pictures": np.stack(arrays)})
    np.testing.assert_allclose(together[0], known, atol=1e-5)
    assert [probed.classes[k] for k in together[1]] == list(table["label"])
    alone = np.concatenate([session.run(["probabilities"], {"pictures": one[None]})[0] for one in arrays])
    np.testing.assert_allclose(alone, known, atol=1e-5)


def test_a_graph_that_says_something_else_is_not_left_behind(probed, textures, tmp_path, monkeypatch):
    def otherwise(file, outputs):
        run = real(file, outputs)
        # Another resize somewhere would do this.
        return lambda pictures: run(255 - pictures)

    real = exported.runner
    monkeypatch.setattr(exported, "runner", otherwise)
    with pytest.raises(FinetuneError, match="does not say what the model says: over 3 pictures numbers differ"):
        probed.export(tmp_path / "x", format="torch", inputs=sorted(textures.rglob("*.png"))[:3])
    assert not list(tmp_path.iterdir())


def test_pictures_that_a_graph_does_not_take_are_left_out_and_named(probed, textures, tmp_path):
    deep = tmp_path / "deep.png"
    Image.fromarray(np.full((40, 40), 40_000, np.uint16)).save(deep)
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    whole = next(textures.rglob("*.png"))
    found = probed.export(tmp_path / "x", format="torch", inputs=[deep, tmp_path / "torn.png", whole])
    assert found.facts["compared"]["pictures"] == 1
    assert {str(deep), str(tmp_path / "torn.png")} == set(found.facts["compared"]["left_out"])
    assert "8" in found.facts["compared"]["left_out"][str(deep)]
    with pytest.raises(DataError, match=r"None of 1 pictures can be compared: .*8 bits"):
        probed.export(tmp_path / "y", format="torch", inputs=deep)
    assert not (tmp_path / "y").exists()


def test_what_cannot_be_is_refused_before_anything_is_read(probed, tmp_path, monkeypatch, capsys):
    nowhere = str(tmp_path / "no run")
    assert call(["export", nowhere, "--format", "onx", "--out", str(tmp_path / "x")]) == 2
    assert 'Did you mean "onnx"?' in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="exists already"):
        probed.export(tmp_path / "full")
    with pytest.raises(ConfigError, match="no class"):
        probed.export(tmp_path / "x", prior={"nothing": 0.5})
    monkeypatch.setattr(graph, "find_spec", lambda name: None if name == "onnxscript" else object())
    assert call(["export", nowhere, "--out", str(tmp_path / "x")]) == 2
    assert "need onnxscript: pip install 'finetune[onnx]'" in capsys.readouterr().err


def test_a_run_whose_pictures_are_gone_asks_for_others(probed, textures, tmp_path):
    run = tmp_path / "model"
    shutil.copytree(probed.folder / "model", run)
    with pytest.raises(RunFolderError, match="finetune export RUN FILES"):
        ft.load(run).export(tmp_path / "x", format="torch")


@pytest.mark.thorough
def test_a_real_model_with_all_its_decisions_is_the_same_in_both_formats(shared_data, shared_weights, tmp_path):
    model = ft.fit(
        shared_data / "hymenoptera", backbone="torchvision/mobilenet_v2", method="probe", mean=0.5, std=0.5,
        weights=shared_weights / "mobilenet_v2.torchvision.pth", coverage=0.9, operate="sensitivity>=0.95",
        out=tmp_path / "run", verbose=False,
    )  # fmt: skip
    for format in ("onnx", "torch"):
        for number, prior in enumerate((None, {"bees": 0.05})):
            found = model.export(tmp_path / f"{format}-{number}", format=format, prior=prior)
            assert found.facts["compared"]["pictures"] == 32
            assert found.facts["compared"]["largest_difference"] < 1e-4
            assert ("set" in found.facts["outputs"]) == (prior is None)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["number", "labels", "tree", "folds"])
def test_a_model_of_any_kind_is_exported_with_all_that_it_tells(textures, tmp_path, kind):
    files = sorted(textures.rglob("*.png"))
    names = [file.parent.name for file in files]
    number = [10 * len(name) + k / 7 for k, name in enumerate(names)]
    targets = {"number": number, "labels": [f"{name};{'odd' if k % 2 else 'even'}" for k, name in enumerate(names)]}
    table = pd.DataFrame({"picture": files, "what": targets.get(kind, names)})
    words = {
        "number": {"coverage": 0.9}, "labels": {"delimiter": ";", "operate": "rings:sensitivity>=0.9"},
        "tree": {"taxonomy": {"lines": {"stripes": None, "checks": None}, "rings": None}}, "folds": {"folds": 3},
    }[kind]  # fmt: skip
    model = ft.fit(table, image="picture", target="what", **QUICK, **words, out=tmp_path / "run")
    found = model.export(tmp_path / "x", format="onnx", inputs=files[::3])
    expected = {"number": ["value", "low", "high"], "labels": ["probabilities", "labels"],
                "tree": ["probabilities", "label", "nodes"], "folds": ["probabilities", "label"]}[kind]  # fmt: skip
    assert list(found.facts["outputs"]) == expected
    assert found.facts["compared"]["pictures"] == 12
