"""Explanations: what is asked, of what, and what is refused before any picture is read."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import finetune as ft
from finetune import cli
from finetune.data.labels import Labels
from finetune.explaining.explain import explain_on, unfit
from finetune.explaining.explanation import METHODS, Asking, write_explanations
from finetune.models.backbones import build
from finetune.models.options import Backbone
from finetune.predict import as_examples
from finetune.report import gradcam
from finetune.tasks.decisions import Decisions
from tests.made import QUICK, class_folders, table, texture

SIDE = 32
RELU = Backbone("timm/resnet10t", weights="none", input_size=SIDE)
TRANSFORMER = Backbone("timm/vit_tiny_patch16_224", weights="none", input_size=SIDE, args={"depth": 2, "patch_size": 8})
IN_MAPS = ("grad-cam", "grad-cam++", "occlusion", "integrated-gradients")

pytest.importorskip("captum")


def network(choice=RELU, outputs=3, seed=0):
    torch.manual_seed(seed)
    made = build(choice, outputs).eval()
    with torch.no_grad():
        torch.nn.init.normal_(made.head.weight)
    return made


def pictures(count=3):
    rng = np.random.default_rng(0)
    return [texture("rings", rng) for _ in range(count)]


def task_of(kind, names=("a", "b", "c")):
    options = {"class": ft.Classify(), "labels": ft.Tag(), "number": ft.Regress()}[kind]
    targets = {"class": names, "labels": [(name,) for name in names], "number": [3.0, 7.0]}[kind]
    return options.build(Labels.from_targets(kind, targets), targets)


def explained(choice=RELU, kind="class", *, count=3, seed=0, decisions=None, **asking):
    task = task_of(kind)
    return explain_on(
        network(choice, task.labels.num_outputs, seed), task, as_examples(pictures(count)), Asking.of(asking),
        decisions=decisions, target="age", accelerator="cpu",
    )  # fmt: skip


@pytest.fixture
def unread(monkeypatch):
    """Nobody may read a picture."""

    def read(*args, **kwargs):
        pytest.fail("a picture was read")

    monkeypatch.setattr(sys.modules["finetune.explaining.explain"], "stream", read)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_map_on_the_picture_that_other_weights_change(method):
    choice = TRANSFORMER if method == "roll-out" else RELU
    more = {"window": 16, "stride": 8} if method == "occlusion" else {"steps": 8} if "integ" in method else {}
    one, other = (explained(choice, method=method, answer=None, seed=seed, **more) for seed in (0, 1))
    for mine, theirs in zip(one, other, strict=True):
        assert mine.picture.shape == (SIDE, SIDE, 3) and mine.picture.dtype == np.uint8
        assert mine.map.dtype == np.float32 and np.isfinite(mine.map).all() and np.abs(mine.map).max() > 0
        assert mine.map.shape == theirs.map.shape and not np.allclose(mine.map, theirs.map)
        assert 0 <= mine.value <= 1 and mine.label in ("a", "b", "c")
        assert (mine.layer is not None) == method.startswith("grad-cam") and (mine.answer is None) == (method[0] == "r")


@pytest.mark.parametrize("kind", ["class", "labels", "number"])
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_any_task_is_explained_alike_in_any_batches(kind, batch_size):
    for method in ("grad-cam", "deconvnet"):
        one = explained(kind=kind, method=method, batch_size=3)
        many = explained(kind=kind, method=method, batch_size=batch_size)
        for a, b in zip(one, many, strict=True):
            assert a.told == b.told and np.allclose(a.map, b.map, atol=1e-4 * np.abs(a.map).max())


def test_a_class_that_is_asked_about_is_the_one_explained():
    found = {name: explained(answer=name, method="deconvnet", count=1)[0] for name in "abc"}
    assert [one.answer for one in found.values()] == list("abc") and len({one.label for one in found.values()}) == 1
    assert sum(one.value for one in found.values()) == pytest.approx(1)
    assert not np.allclose(found["a"].map, found["b"].map)
    by_itself = explained(method="deconvnet", count=1)[0]
    assert np.array_equal(by_itself.map, found[str(by_itself.label)].map)
    other = next(name for name in "abc" if name != by_itself.label)
    assert f"(answered: {by_itself.label})" in found[other].told and "answered" not in by_itself.told


def test_the_values_are_those_that_predict_tells_calibrated_and_by_its_thresholds():
    even = explained(answer="b", count=1)[0].value
    mild = explained(answer="b", count=1, decisions=Decisions(temperature=4.0))[0].value
    assert mild != pytest.approx(even, abs=1e-3)
    sure = explained(count=1, decisions=Decisions(thresholds={"b": 0.0}))[0]
    assert sure.label == "b" == sure.answer


def test_integrated_gradients_add_up_to_the_number_less_that_of_the_mean_colour():
    (one,) = explained(kind="number", method="integrated-gradients", steps=200, count=1)
    made, task = network(outputs=1), task_of("number")
    with torch.no_grad():
        grey = made.mean.expand(1, 3, SIDE, SIDE)
        start = float(task.answer(made(grey))[0, 0])
    assert one.answer == "age" and one.told.startswith("age: ")
    assert float(one.map.sum()) == pytest.approx(one.value - start + one.gap, abs=1e-3 * max(1, abs(one.value)))
    assert abs(one.gap) < 0.2 * abs(one.value - start)


def test_occlusion_of_everything_is_the_fall_to_the_answer_of_the_mean_colour():
    (one,) = explained(method="occlusion", window=SIDE, stride=1, count=1)
    made, task = network(), task_of("class")
    with torch.no_grad():
        grey = task.answer(made(made.mean.expand(1, 3, SIDE, SIDE)))[0][task.labels.names.index(one.answer)]
    assert one.map == pytest.approx(one.value - grey, abs=1e-5)


@pytest.mark.parametrize(
    ("asking", "told"),
    [
        ({"method": "gradcam"}, 'Unknown method "gradcam".*Did you mean "grad-cam'),
        ({"answer": "d"}, 'There is no answer "d". Expected one of a, b, c'),
        ({"layer": "layer9"}, 'There is no layer "layer9"'),
        ({"layer": "layer4.0.bn9"}, "Did you mean"),
        ({"layer": "global_pool"}, 'no output with places.*as "layer3"'),
        ({"method": "occlusion", "layer": "layer4"}, "occlusion looks at no layer"),
        ({"window": 4}, "window is of occlusion's square"),
        ({"method": "occlusion", "window": 64}, "Expected 0 < stride <= window <= 32"),
        ({"method": "roll-out", "answer": "a"}, "roll-out is the same for every answer"),
        ({"method": "roll-out"}, "roll-out does not suit .*no attention. For this network there are grad-cam, .*decon"),
        ({"steps": 0, "batch_size": 0}, "steps must be 1 or more.*\n.*batch_size must be 1 or more"),
        ({"methods": "grad-cam"}, 'Unknown option "methods". Did you mean "method"'),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_picture_is_read(asking, told, unread):
    with pytest.raises(ft.ConfigError, match=f"(?s){told}"):
        explained(**asking)


def test_what_suits_a_transformer_is_said(unread):
    with pytest.raises(ft.ConfigError, match=r"deconvnet does not suit timm/vit_tiny.*GELU\. For .*, roll-out\."):
        explained(TRANSFORMER, method="deconvnet")


def test_what_was_asked_leaves_the_network_as_it_was():
    made, task = network(), task_of("class")
    made.train()
    before = {name: (value.clone(), value.requires_grad) for name, value in made.named_parameters()}
    for method in ("grad-cam", "deconvnet", "occlusion", "integrated-gradients"):
        explain_on(made, task, as_examples(pictures(1)), Asking(method=method, steps=2), accelerator="cpu")
    assert made.training and not made._forward_hooks
    for name, value in made.named_parameters():
        assert torch.equal(value, before[name][0]) and value.requires_grad == before[name][1] and value.grad is None


def test_a_run_in_folds_is_explained_by_its_pixels_or_a_fold_at_a_time(textures, tmp_path):
    model = ft.fit(textures, **QUICK, folds=2, out=tmp_path / "run")
    with pytest.raises(ft.ConfigError, match=r"averages several networks.*RUN/fold-1.*there are occlusion"):
        model.explain(textures / "rings" / "0.png")
    assert unfit(model.network, "occlusion") == ""
    one = ft.load(tmp_path / "run" / "fold-1").explain(textures / "rings" / "0.png")
    assert one[0].layer is not None


def test_the_command_draws_records_and_tells_what_predict_tells(probed, textures, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    files = [str(textures / "rings" / "0.png"), str(tmp_path / "broken.png"), str(textures / "checks" / "1.png")]
    out = tmp_path / "out"
    assert cli.call(["explain", str(probed.folder), *files, "--out", str(out), "--json"]) == 1
    told = capsys.readouterr()
    record = json.loads(told.out)
    assert record == json.loads((out / "explain.json").read_text()) and "1 of 3 pictures could not be read" in told.err
    answers = probed.predict(files)
    for entry, (_, row) in zip(record, answers.iterrows(), strict=True):
        assert entry["path"] == row["path"] and bool(entry["error"]) == bool(row["error"])
        if entry["error"]:
            assert entry["file"] is None and entry["value"] is None
        else:
            assert entry["label"] == row["label"] and entry["value"] == pytest.approx(row[row["label"]], abs=1e-6)
            with Image.open(out / entry["file"]) as drawn:
                assert drawn.width == 1200
    with np.load(out / "maps.npz") as maps:
        assert sorted(maps) == ["0", "2"] and list(maps["0"].shape) == record[0]["shape"]
    assert sorted(path.name for path in out.iterdir()) == ["0000-0.png", "0002-1.png", "explain.json", "maps.npz"]
    assert not list(tmp_path.glob(".*"))


def test_the_command_prints_a_table_and_refuses_a_folder_that_holds_something(probed, textures, tmp_path, capsys):
    words = ["explain", str(probed.folder), str(textures / "rings" / "0.png"), "--out", str(tmp_path / "out")]
    assert cli.call([*words, "--answer", "checks", "--method", "grad-cam++"]) == 0
    shown = capsys.readouterr().out
    assert "grad-cam++, layer" in shown and "0.png" in shown and "checks" in shown and str(tmp_path / "out") in shown
    assert cli.call(words) == 2
    assert "exists and is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--filters", "--channel", "conv1:2"], "Expected one of them"),
        (["--filters", "--method", "deconvnet", "--answer", "a"], "--method, --answer: of maps over pictures"),
        (["--top", "3", "{picture}"], "--top is the number of pictures of a channel"),
        (["--filters", "{picture}"], "Expected no FILES with --filters"),
        ([], "There is no picture to look at"),
        (["{picture}", "--channel", "conv1:x"], "names no channel"),
        (["{picture}", "--channel", "conv9:1"], 'There is no layer "conv9"'),
        (["{picture}", "--method", "roll-out"], "roll-out does not suit"),
    ],
)
def test_words_that_do_not_go_together_end_with_two_and_write_nothing(probed, textures, tmp_path, capsys, words, told):
    filled = [word.format(picture=textures / "rings" / "0.png") for word in words]
    assert cli.call(["explain", str(probed.folder), *filled, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error and not list(tmp_path.iterdir())


def test_filters_and_channels_are_drawn(probed, textures, tmp_path, capsys):
    run = str(probed.folder)
    assert cli.call(["explain", run, "--filters", "--out", str(tmp_path / "f"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["filters"] == 6 and (tmp_path / "f" / "filters.png").is_file()
    first = next(name for name, one in probed.network.body.named_modules() if isinstance(one, torch.nn.Conv2d))
    words = ["explain", run, str(textures), "--channel", f"{first}:2", "--out", str(tmp_path / "c"), "--json"]
    assert cli.call(words) == 0
    told = json.loads(capsys.readouterr().out)
    peaks = [one["peak"] for one in told["strongest"]]
    assert told["channel"] == 2 and told["of"] == 6 and told["pictures"] == 36 and len(peaks) == 9
    assert peaks == sorted(peaks, reverse=True) and (tmp_path / "c" / "strongest.png").is_file()
    assert told == json.loads((tmp_path / "c" / "strongest.json").read_text())
    assert cli.call(["explain", run, str(textures), "--channel", f"{first}:6", "--out", str(tmp_path / "d")]) == 2
    assert "has the channels 0 to 5" in capsys.readouterr().err


def test_a_map_that_shows_nothing_is_said_to_be_empty(probed, textures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gradcam, "grad_cam", lambda network, inputs, *rest, **more: np.zeros((len(inputs), 2, 2)))
    words = ["explain", str(probed.folder), str(textures / "rings"), "--out", str(tmp_path / "out")]
    assert cli.call(words) == 0
    assert "12 of 12 maps are empty" in capsys.readouterr().out
    (one,) = probed.explain(textures / "rings" / "0.png")
    assert one.empty and one.draw(tmp_path / "empty.png").is_file()


def test_a_number_is_asked_about_by_the_name_of_its_column(tmp_path):
    class_folders(tmp_path, count=8, kinds=("rings", "checks"))
    rows = [(f"{kind}/{n}.png", n + 4 * (kind == "rings")) for kind in ("rings", "checks") for n in range(8)]
    source = table(tmp_path / "t.csv", ["image", "age"], rows)
    model = ft.fit(source, **QUICK, target="age", task="regress", out=tmp_path / "run")
    picture = tmp_path / "rings" / "0.png"
    (one,) = ft.explain(tmp_path / "run", picture, answer="age")
    assert one.answer == "age" and one.value == pytest.approx(model.predict(picture)["label"][0], rel=1e-5)
    with pytest.raises(ft.ConfigError, match="Expected one of age"):
        model.explain(picture, answer="weight")


def test_what_cannot_be_read_cannot_be_drawn_and_a_failure_leaves_nothing(tmp_path, monkeypatch):
    found = explained(count=2)
    with pytest.raises(ft.ConfigError, match="nothing to draw"):
        ft.Explanation(path="x.png", method="grad-cam", error="no picture").draw(tmp_path / "x.png")
    monkeypatch.setattr(np, "savez_compressed", lambda *args, **kwargs: (_ for _ in ()).throw(OSError(28, "No space")))
    with pytest.raises(ft.RunFolderError, match="No space"):
        write_explanations(tmp_path / "out", found)
    assert not list(tmp_path.iterdir())
