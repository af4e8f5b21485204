"""What bad input gets: one clear message, exit code 2, no traceback, nothing half-written."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil

import pytest
import torch
from safetensors.torch import save_file

from finetune.cli import call
from finetune.manifest import seal
from finetune.training.callbacks import KeepBest
from tests.made import QUICK_WORDS, class_folders, contents, table

resource = pytest.importorskip("resource") if os.name == "posix" else None


@pytest.fixture
def out(tmp_path):
    return tmp_path / "runs" / "x"


@pytest.fixture
def fit(out, capsys):
    """Runs `finetune fit` and gives its exit code and its standard error."""

    def run(*words, quick=True):
        capsys.readouterr()
        code = call(["fit", *map(str, words), *(QUICK_WORDS if quick else ()), "--out", str(out)])
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def refused(fit, out):
    """Runs `finetune fit`, which must refuse in one message and leave nothing; gives the message."""

    def run(*words, quick=True):
        code, message = fit(*words, quick=quick)
        assert code == 2, message
        assert message.startswith("finetune: ")
        assert "Traceback" not in message
        assert not out.exists()
        assert not out.parent.exists(), "the folders made on the way go too"
        return message

    return run


@pytest.fixture
def folder(textures, tmp_path):
    """A copy of the textures, to be spoilt."""
    return shutil.copytree(textures, tmp_path / "textures")


def listed(textures, number=lambda i: i):
    return [(f"{kind}/{i}.png", kind, number(i)) for kind in ("rings", "stripes") for i in range(12)]


# Sources


def test_a_missing_folder_is_named_with_what_is_there_instead(refused, folder):
    message = refused(folder.with_name("texture"))
    assert f"There is no folder or table {folder.with_name('texture')}" in message
    assert 'Did you mean "textures"?' in message


def test_a_folder_without_pictures_is_refused(refused, tmp_path):
    (tmp_path / "empty" / "cats").mkdir(parents=True)
    (tmp_path / "empty" / "cats" / "notes.txt").write_text("no picture")
    assert "holds no pictures" in refused(tmp_path / "empty")


def test_one_class_only_is_refused(refused, tmp_path):
    message = refused(class_folders(tmp_path / "one", kinds=("rings",)))
    assert 'have one class, "rings"' in message
    assert "two classes or more" in message


def test_a_class_with_one_picture_is_refused_and_named(refused, folder):
    (folder / "solo").mkdir()
    shutil.copy(folder / "rings" / "0.png", folder / "solo")
    assert "1 class has a single picture: solo" in refused(folder)


def test_columns_that_are_not_there_are_all_named_with_the_nearest(refused, textures, tmp_path):
    file = table(tmp_path / "t.csv", ("image", "kind", "size"), listed(textures))
    message = refused(file, "--image", "imag", "--target", "kinds", "--root", textures)
    assert 'no column "imag"' in message
    assert 'Did you mean "image"?' in message
    assert 'no column "kinds"' in message
    assert 'Did you mean "kind"?' in message


def test_rows_whose_file_is_missing_are_counted_and_the_first_three_named(refused, textures, tmp_path):
    gone = [(f"gone/{letter}.png", "rings", 0) for letter in "abcde"]
    file = table(tmp_path / "t.csv", ("image", "kind", "size"), [*listed(textures), *gone])
    message = refused(file, "--image", "image", "--target", "kind", "--root", textures)
    assert "5 of 29 pictures" in message
    assert all(f"gone/{letter}.png" in message for letter in "abc")
    assert "gone/d.png" not in message
    assert "and 2 more" in message


def test_corrupt_and_truncated_pictures_are_listed_with_their_reasons(refused, folder):
    (folder / "rings" / "0.png").write_bytes(b"no picture at all")
    whole = (folder / "checks" / "1.png").read_bytes()
    (folder / "checks" / "1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "stripes" / "2.png").write_bytes(b"")
    for method in ("probe", "full"):
        message = refused(folder, "--method", method, "--epochs", "1")
        assert "3 of 36 pictures cannot be read" in message
        assert all(f"{folder / name}: " in message for name in ("rings/0.png", "checks/1.png", "stripes/2.png"))
        assert "--on-corrupt skip" in message


def test_skipping_what_cannot_be_read_does_not_help_where_nothing_can(refused, tmp_path):
    for kind in ("a", "b"):
        (tmp_path / "bad" / kind).mkdir(parents=True)
        for number in range(4):
            (tmp_path / "bad" / kind / f"{number}.png").write_bytes(b"no picture")
    assert "8 of 8 pictures cannot be read" in refused(tmp_path / "bad", "--on-corrupt", "skip")


def test_a_number_where_a_class_was_asked_is_refused(refused, textures, tmp_path):
    file = table(tmp_path / "t.csv", ("image", "kind", "size"), listed(textures, lambda i: 1.37 * i + 0.1))
    rows = [(image, kind, f"{0.613 * n + 0.01:.3f}") for n, (image, kind, _) in enumerate(listed(textures))]
    file = table(tmp_path / "t.csv", ("image", "kind", "size"), rows)
    words = (file, "--image", "image", "--target", "size", "--root", textures, "--task", "classify")
    assert "A class was asked for, but the target is a number: 24 distinct values" in refused(*words)


def test_a_name_where_a_number_was_asked_is_refused(refused, textures, tmp_path):
    file = table(tmp_path / "t.csv", ("image", "kind", "size"), listed(textures))
    words = (file, "--image", "image", "--target", "kind", "--root", textures, "--task", "regress")
    assert "24 of 24 targets are no numbers: 'rings'" in refused(*words)


def test_a_folder_given_with_columns_is_refused(refused, textures):
    assert "image and target name columns of a table" in refused(textures, "--image", "a", "--target", "b")


def test_fit_without_a_source_says_what_it_needs(refused):
    assert "expected a folder, a table, or --recipe" in refused()


# Options


def test_all_wrong_options_are_named_at_once_before_anything_is_read(fit, out):
    code, message = fit(
        "/nowhere", "--backbone", "resnet51", "--method", "prob", "--augment", "documnts", "--monitor", "acuracy",
        "--head", "linea", "--task", "clasify", "--epochs", "0", "--validation", "2", "--on-corrupt", "maybe",
        "--norms", "thawed", "--devices", "two", "--weights", "none", quick=False,
    )  # fmt: skip
    assert code == 2
    assert not out.parent.exists()
    for text in (
        'There is no backbone "resnet51". Did you mean "resnet', 'Unknown method "prob"', 'Did you mean "probe"?',
        'Unknown augment "documnts"', 'Did you mean "documents"?', 'no metric "acuracy"', 'Did you mean "accuracy"',
        'Unknown head "linea"', 'Did you mean "linear"?', 'Unknown task "clasify"', 'Did you mean "classify"?',
        "epochs must be 1 or more", "validation must be a share", "on_corrupt must be", 'Unknown norms "thawed"',
        "devices must be",
    ):  # fmt: skip
        assert text in message, text
    assert "/nowhere" not in message


def test_an_unknown_option_is_refused_with_the_nearest(fit, out):
    code, message = fit("/nowhere", "--metod", "probe")
    assert code == 2
    assert "--metod" in message
    assert "--method" in message
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--backbone", "finetune/lenett5"), 'Did you mean "lenet5"'),
        (("--backbone", "time/resnet50"), 'Unknown library "time"'),
        (("--backbone", "timm/resnet50.a9_in1k"), "a1_in1k"),
        (("--backbone-arg", "pad_type"), "Expected NAME=VALUE"),
        (("--backbone-arg", "num_classes=3"), "num_classes is set by the labels"),
        (("--backbone-arg", "pad_type=same"), "pad_type"),
        (("--mean", "grey"), "--mean takes one number, or one a channel"),
        (("--mean", "0.5,0.5"), "mean takes one number, or one for each of the 3 channels"),
        (("--std", "0"), "std must be above 0"),
        (("--monitor", "rmse"), 'no metric "rmse" to monitor here'),
        (("--class-weight", "ring=2"), 'Did you mean "rings"'),
        (("--class-weight", "heavy"), "class_weight must be"),
        (("--group", "a", "--group-from", "b"), "group and group_from were both given"),
        (("--label-from", "("), "label_from is no regular expression"),
        (("--label-from", "^(cat|dog)"), "finds no label in 36 of 36 file names"),
        (("--lr", "0"), "lr must be above 0"),
        (("--input-size", "16"), "cannot look at pictures of 16 x 16"),
        (("--recipe", "/nowhere/recipe.json"), "There is no recipe at /nowhere/recipe.json"),
        (("--in-chans", "5"), "36 of 36 pictures cannot be read"),
    ],
)
def test_options_that_cannot_be_right_are_refused(refused, textures, words, text):
    # Given last, a backbone of the test's own would win over the one in question.
    plain = ["--weights", "none", "--method", "probe"] if "--backbone" in words else QUICK_WORDS
    assert text in refused(textures, *plain, *words, quick=False)


def test_a_recipe_of_examples_that_were_in_memory_asks_for_them(refused, tmp_path):
    import finetune as ft

    recipe = ft.Recipe(data=ft.Data(source=[("a.png", "a")]), model=ft.Backbone("finetune/lenet5", weights="none"))
    (tmp_path / "recipe.json").write_text(json.dumps({"format": 1, "recipe": recipe.to_dict()}))
    message = refused("--recipe", tmp_path / "recipe.json")
    assert "were in memory (a list)" in message


# Weights


def test_weights_of_another_architecture_are_refused_with_both_lists(refused, textures, tmp_path):
    save_file({"layer1.weight": torch.zeros(3), "layer2.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    message = refused(
        textures, "--weights", tmp_path / "other.safetensors", "--backbone", "finetune/lenet5", quick=False
    )
    assert "do not fit finetune/lenet5" in message
    assert "the network needs and the file has not: conv1.weight" in message
    assert "2 the file has and the network has not: layer1.weight, layer2.weight" in message


class Nasty:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_pickle_with_code_is_refused_and_not_run(refused, textures, tmp_path, writer):
    file, mark = tmp_path / "nasty.pth", tmp_path / "it-ran"
    if writer == "torch":
        torch.save({"conv1.weight": torch.zeros(3), "extra": Nasty(mark)}, file)
    else:
        file.write_bytes(pickle.dumps({"extra": Nasty(mark)}))
    message = refused(textures, "--weights", file, "--backbone", "finetune/lenet5", quick=False)
    assert "was refused, and nothing in it was run" in message or "no weights file" in message
    assert not mark.exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_weights_that_are_damaged_or_missing_are_refused(refused, textures, tmp_path, name):
    words = ("--weights", tmp_path / name, "--backbone", "finetune/lenet5")
    assert "There is no weights file" in refused(textures, *words, quick=False)
    (tmp_path / name).write_bytes(b"\x80rubbish" * 20)
    assert "damaged" in refused(textures, *words, quick=False)


def test_random_weights_are_said_to_be_random(fit, textures, out):
    code, _ = fit(textures)
    assert code == 0
    assert "starts from random numbers, as weights=none asks" in (out / "report.md").read_text()


def test_a_bare_file_of_weights_is_said_not_to_know_mean_and_std(fit, textures, tmp_path, out, probed):
    words = ("--backbone", "finetune/lenet5", "--method", "probe", "--overwrite", "--weights")
    told = "does not say how its pictures were prepared"
    file = shutil.copy(probed.folder / "model" / "model.safetensors", tmp_path / "w.safetensors")
    for weights, more, said in (
        (file, (), True),
        (file, ("--mean", "0.4", "--std", "0.2"), False),
        (probed.folder / "model", (), False),
    ):
        code, message = fit(textures, *words, weights, *more, quick=False)
        assert code == 0, message
        assert (told in (out / "report.md").read_text()) == said


def test_no_weights_where_none_are_published_are_not_silently_random(refused, textures):
    message = refused(textures, "--backbone", "finetune/lenet5", quick=False)
    assert "--weights none" in message or 'weights="none"' in message


# The run folder


def test_an_existing_run_is_untouched_without_overwrite_and_replaced_with_it(fit, out, textures, probed, capsys):
    shutil.copytree(probed.folder, out)
    before = contents(out)
    code, message = fit(textures)
    assert code == 2
    assert "--overwrite" in message
    assert contents(out) == before
    code, message = fit(textures, "--overwrite", "--seed", "3")
    assert code == 0, message
    assert contents(out)["splits.csv"] != before["splits.csv"]
    assert [entry.name for entry in out.parent.iterdir()] == ["x"]


@pytest.mark.parametrize("name", ["thesis.tex", "model", "metrics.csv"])
def test_a_folder_that_is_no_run_is_never_replaced(fit, out, textures, name):
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("mine")
    for words in ((), ("--overwrite",)):
        code, _ = fit(textures, *words)
        assert code == 2
        assert contents(out) == {name: b"mine"}


def test_a_run_folder_that_also_holds_something_else_is_not_replaced(fit, out, textures, probed):
    shutil.copytree(probed.folder, out)
    (out / "thesis.tex").write_text("mine")
    before = contents(out)
    code, message = fit(textures, "--overwrite")
    assert code == 2
    assert "thesis.tex" in message
    assert contents(out) == before


def test_when_the_new_run_fails_the_old_one_is_back(fit, out, folder, probed):
    shutil.copytree(probed.folder, out)
    before = contents(out)
    (folder / "rings" / "0.png").write_bytes(b"no picture")
    code, _ = fit(folder, "--overwrite")
    assert code == 2
    assert contents(out) == before
    assert [entry.name for entry in out.parent.iterdir()] == ["x"]


def test_an_empty_folder_may_be_used_and_is_empty_again_when_the_run_fails(fit, out, tmp_path):
    out.mkdir(parents=True)
    assert fit(tmp_path / "nowhere")[0] == 2
    assert list(out.iterdir()) == []


def test_a_file_in_the_way_is_refused(fit, out, textures):
    out.parent.mkdir()
    out.write_text("mine")
    for words in ((), ("--overwrite",)):
        code, message = fit(textures, *words)
        assert code == 2
        assert "is a file" in message
    assert out.read_text() == "mine"


@contextlib.contextmanager
def small_disk(size):
    """Files of more than `size` bytes cannot be written meanwhile; the test's own report is one, so not for longer."""
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.skipif(resource is None, reason="limits on the size of files are Unix's")
@pytest.mark.parametrize("size", [200, 4000, 100_000])
@pytest.mark.parametrize("earlier", [False, True], ids=["new", "overwrite"])
def test_a_full_disk_ends_the_run_with_one_message_and_nothing_half_written(fit, out, textures, probed, size, earlier):
    if earlier:
        shutil.copytree(probed.folder, out)
    before = contents(out)
    with small_disk(size):
        code, message = fit(textures, "--method", "lp-ft", "--epochs", "1", "--overwrite")
    assert code == 2, message
    assert "could not be written" in message
    assert "Make room" in message
    assert contents(out) == before
    assert out.exists() == earlier
    if earlier:
        assert [entry.name for entry in out.parent.iterdir()] == ["x"]


def test_a_disk_that_is_full_at_the_last_file_leaves_nothing_either(refused, textures, monkeypatch):
    import finetune.saved as saved

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saved, "write_json", full)
    assert "No space left on device" in refused(textures)


def test_the_answers_of_predict_are_whole_or_absent(probed, textures, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    code = call(["predict", str(probed.folder), str(textures / "rings"), "--out", str(tmp_path / "file" / "a.csv")])
    assert code == 2
    assert "cannot be written" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("words", [
    ("predict", "nothing", "a.jpg", "--out", "{}/a.csv"), ("neighbours", "nothing", "a.jpg", "--out", "{}/a"),
    ("rank", "nothing", "--backbones", "finetune/lenet5", "--out", "{}/a.csv"), ("check", "nothing", "--out", "{}/a"),
    ("check", "nothing", "--write-clean", "{}/a.csv"), ("explain", "nothing", "a.jpg", "--out", "{}/a"),
])  # fmt: skip
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_read(words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    assert call([word.format(tmp_path / "file") for word in words]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_source_that_may_not_be_read_is_named_and_not_told_as_one_that_could_not_be_written(
    refused, textures, monkeypatch
):
    import finetune.running.gather as run

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied", str(textures / "rings"))

    monkeypatch.setattr(run, "read_examples", denied)  # the tests may run as root, who may read anything
    assert refused(textures) == f"finetune: Permission denied: {textures / 'rings'}\n"


# Training


@pytest.mark.parametrize("method", ["full", "lp-ft"])
def test_a_loss_that_is_not_finite_stops_the_run_and_says_when(refused, textures, method):
    message = refused(textures, *QUICK_WORDS, "--method", method, "--epochs", "2", "--lr", "1e30", quick=False)
    assert "finite" in message or "nan" in message
    assert " at step " in message
    assert ' of phase "' in message
    assert "--lr 1e+29" in message


def test_a_loss_that_is_not_finite_brings_an_earlier_run_back(fit, out, textures, probed):
    shutil.copytree(probed.folder, out)
    before = contents(out)
    code, _ = fit(textures, *QUICK_WORDS, "--method", "full", "--lr", "1e30", "--overwrite", quick=False)
    assert code == 2
    assert contents(out) == before


def test_epochs_that_ended_well_are_kept_when_a_later_one_fails_and_the_message_says_where(
    fit, out, textures, monkeypatch
):
    kept = KeepBest.on_validation_end

    def then_fail(self, trainer, module):
        kept(self, trainer, module)
        if trainer.current_epoch == 1:
            from finetune import TrainingError

            raise TrainingError("The loss became nan.")

    monkeypatch.setattr(KeepBest, "on_validation_end", then_fail)
    code, message = fit(textures, *QUICK_WORDS, "--method", "full", "--epochs", "3", quick=False)
    assert code == 2
    assert str(out / "checkpoints") in message
    assert list((out / "checkpoints").glob("*.safetensors"))


# A model in use


def test_a_file_that_is_no_picture_gets_its_error_and_the_rest_its_answer(probed, textures, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no picture")
    asked = [textures / "rings/0.png", tmp_path / "notes.txt", tmp_path / "nothing.png", textures / "checks/0.png"]
    assert call(["predict", str(probed.folder), *map(str, asked), "--json"]) == 1
    printed = capsys.readouterr()
    rows = json.loads(printed.out)
    assert [row["path"] for row in rows] == [str(path) for path in asked]
    assert "no picture" in rows[1]["error"]
    assert "no such file" in rows[2]["error"]
    assert rows[1]["label"] is None
    assert rows[1]["rings"] is None
    assert rows[0]["error"] == rows[3]["error"] == ""
    assert rows[0]["label"] and rows[3]["label"]
    assert "2 of 4 pictures" in printed.err


def test_predict_answers_an_empty_folder_with_a_message(probed, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert call(["predict", str(probed.folder), str(tmp_path / "empty")]) == 2
    assert "holds no pictures" in capsys.readouterr().err


def test_classes_that_the_model_does_not_know_are_refused(probed, folder, capsys):
    (folder / "rings").rename(folder / "ring")
    assert call(["evaluate", str(probed.folder), str(folder)]) == 2
    message = capsys.readouterr().err
    assert "1 class is not known to this model: ring." in message
    assert 'Did you mean "rings"?' in message


def test_targets_of_another_kind_are_refused(probed, textures, tmp_path, capsys):
    rows = [(image, f"{kind}|x", n) for image, kind, n in listed(textures)]
    file = table(tmp_path / "t.csv", ("image", "tags", "n"), rows)
    words = ["evaluate", str(probed.folder), str(file), "--image", "image", "--target", "tags", "--root", str(textures)]
    assert call(words) == 2
    assert capsys.readouterr().err.startswith("finetune: ")


def test_evaluate_stops_at_unreadable_pictures_or_leaves_them_out(probed, folder, capsys):
    (folder / "rings" / "0.png").write_bytes(b"no picture")
    assert call(["evaluate", str(probed.folder), str(folder)]) == 2
    assert "1 of 36 pictures cannot be read" in capsys.readouterr().err
    assert call(["evaluate", str(probed.folder), str(folder), "--on-corrupt", "skip", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test"]["accuracy"]["n"] == 35


@pytest.fixture
def run(probed, tmp_path):
    """A copy of a run, to be spoilt."""
    return shutil.copytree(probed.folder, tmp_path / "run")


def test_one_flipped_byte_in_the_weights_is_refused(run, textures, capsys):
    file = run / "model" / "model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-5] ^= 1
    file.write_bytes(raw)
    assert call(["predict", str(run), str(textures / "rings")]) == 2
    assert "damaged or was replaced" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.safetensors", "finetune.json", "config.json"])
def test_a_missing_file_of_a_model_is_named(run, textures, capsys, name):
    (run / "model" / name).unlink()
    assert call(["predict", str(run), str(textures / "rings")]) == 2
    assert f"{run / 'model' / name} is missing" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["finetune.json", "config.json"])
@pytest.mark.parametrize("text", ["{", "{}", "[]", "null"])
def test_a_description_that_was_spoilt_is_refused(run, textures, capsys, name, text):
    (run / "model" / name).write_text(text)
    assert call(["predict", str(run), str(textures / "rings")]) == 2
    assert f"{name} is damaged or was replaced" in capsys.readouterr().err
    seal(run / "model")  # by whoever spoilt it, so that the reader itself has to refuse it
    assert call(["predict", str(run), str(textures / "rings")]) == 2
    assert name in capsys.readouterr().err


def test_a_model_of_a_later_format_is_refused(run, textures, capsys):
    file = run / "model" / "finetune.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99}))
    seal(run / "model")
    assert call(["predict", str(run), str(textures / "rings")]) == 2
    assert "format 99" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_folder_that_is_no_run_or_not_there_is_refused(textures, tmp_path, capsys, command):
    assert call([command, str(textures), str(textures)]) == 2
    assert "Expected the folder of a finished run" in capsys.readouterr().err
    assert call([command, str(tmp_path / "nowhere"), str(textures)]) == 2
    assert "There is no run folder" in capsys.readouterr().err


@pytest.fixture
def moved(run, tmp_path):
    """A run whose pictures are not there any more."""
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["recipe"]["data"]["source"] = str(tmp_path / "gone")
    (run / "recipe.json").write_text(json.dumps(recipe))
    shutil.rmtree(run / "neighbours", ignore_errors=True)
    return run


@pytest.mark.parametrize("words, instead", [
    (("fit", "--recipe", "{}", "--out", "again"), "finetune fit SOURCE --recipe"),
    (("neighbours", "{}", "a.png"), "--among FOLDER"),
    (("export", "{}", "--format", "torch", "--out", "exported"), "finetune export RUN FILES"),
])  # fmt: skip
def test_pictures_that_moved_after_the_run_are_asked_for_in_words(moved, tmp_path, capsys, monkeypatch, words, instead):
    monkeypatch.chdir(tmp_path)
    assert call([word.format(moved) for word in words]) == 2
    message = capsys.readouterr().err
    assert instead in message and str(tmp_path / "gone") in message


def test_evaluate_says_that_it_cannot_know_what_was_learned_from_where_the_pictures_moved(moved, textures, capsys):
    assert call(["evaluate", str(moved), str(textures)]) == 0
    shown = capsys.readouterr()
    assert "is not known" in shown.err and "learned from" not in shown.out


@pytest.mark.parametrize("words", [("predict", "{}", "a.png"), ("evaluate", "{}", "."), ("compare", "{}", "{}"),
                                   ("report", "{}")])  # fmt: skip
def test_a_run_that_was_killed_is_told_as_one_to_go_on_with(words, tmp_path, capsys):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "recipe.json").write_text("{}")
    assert call([word.format(tmp_path / "run") for word in words]) == 2
    assert f"finetune fit --resume {tmp_path / 'run'}" in capsys.readouterr().err
