import csv
import json
import signal
from dataclasses import replace

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

import finetune as ft
from finetune.data.loaders import make_loader
from finetune.errors import TrainingError
from finetune.training.phase import Phase
from finetune.training.phases import fit_phase
from finetune.training.settle import settle
from finetune.training.transfer import transfer, whole
from tests.training.tiny import around, lesson, state, tiny

PLAN = ft.Plan(accelerator="cpu", devices=1, workers=0, batch_size=8, epochs=2, lr=0.01, monitor="log_loss")


def run(folder, textures, phases, plan=PLAN, network=None, **words):
    network = network or tiny()
    what, task = lesson(textures, network)
    outcome = transfer(network, task, what, plan, phases, around(folder, plan, **words), say=lambda line: None)
    return network, outcome


def test_frozen_stages_are_bit_identical_after_training_weights_and_buffers(tmp_path, textures):
    network = tiny()
    before = state(network.body)
    phases = (Phase(name="head", learns="head", epochs=2, lr=0.1, norms="train"),)
    network, _ = run(tmp_path, textures, phases, network=network)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.body.state_dict().items())


def test_learning_stages_move_and_their_norms_with_them_when_asked(tmp_path, textures):
    for norms, moves in (("frozen", False), ("train", True)):
        network = tiny()
        before = state(network)
        phases = (Phase(name="all", epochs=1, lr=0.01, norms=norms),)
        network, _ = run(tmp_path / norms, textures, phases, network=network)
        after = network.state_dict()
        assert not torch.equal(before["body.conv1.weight"], after["body.conv1.weight"])
        assert torch.equal(before["body.bn1.running_mean"], after["body.bn1.running_mean"]) != moves


def test_only_named_stages_move(tmp_path, textures):
    network = tiny()
    before, name = state(network), network.stages[-2].name
    phases = (Phase(name="top", learns=(name, "head"), epochs=1, lr=0.01, norms="train"),)
    network, _ = run(tmp_path, textures, phases, network=network)
    moved = {n.split(".")[1] for n, t in network.state_dict().items() if not torch.equal(before[n], t)}
    assert "conv1" not in moved and "bn1" not in moved and "conv2" in moved


def test_what_the_plan_says_of_varying_pictures_reaches_them(tmp_path, textures, monkeypatch):
    asked = []

    def recorded(*values, **words):
        asked.append(words)
        return make_loader(*values, **words)

    monkeypatch.setattr("finetune.training.on_pictures.make_loader", recorded)
    plan = replace(PLAN, augment_engine="torchvision", mirror_target="negate")
    run(tmp_path, textures, (Phase(name="all", epochs=1, lr=0.01, augment="documents"),), plan=plan)
    assert {(one["policy"], one["engine"], one["negate"]) for one in asked} == {("documents", "torchvision", True)}


def test_a_phase_that_only_harms_changes_nothing(tmp_path, textures):
    phases = (Phase(name="probe", learns="head", on="features"), Phase(name="wild", epochs=1, lr=0.3))
    network, outcome = run(tmp_path, textures, phases)
    assert outcome.chosen.phase == "probe"
    probed, _ = run(tmp_path / "probe", textures, phases[:1])
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), probed.parameters(), strict=True))


def test_the_table_has_a_row_an_epoch_and_the_best_epoch_is_on_disk(tmp_path, textures):
    phases = (Phase(name="probe", learns="head", on="features"), Phase(name="all", epochs=3, lr=0.01))
    _, outcome = run(tmp_path, textures, phases, plan=replace(PLAN, settle="best"))
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["phase"], r["epoch"]) for r in rows] == [("probe", "0"), ("all", "1"), ("all", "2"), ("all", "3")]
    kept = json.loads((tmp_path / "checkpoints" / "1-all.json").read_text())
    best = min(rows[1:], key=lambda r: float(r["validation_log_loss"]))
    assert kept["epoch"] == int(best["epoch"])
    assert outcome.chosen.score == pytest.approx(min(float(r["validation_log_loss"]) for r in rows))


@pytest.mark.parametrize(
    "said, last",
    [
        ({}, True), ({"settle": "last"}, True), ({"settle": "best"}, False), ({"patience": 9}, False),
        ({"soup": 2}, False), ({"settle": "last", "patience": 9}, False),
    ],
)  # fmt: skip
def test_on_the_line_from_a_probe_a_phase_hands_on_its_end_and_else_its_best(tmp_path, textures, said, last):
    wild = Phase(name="wild", epochs=3, lr=0.1, schedule="constant")
    run(tmp_path, textures, (Phase(name="probe", learns="head", on="features"), wild), plan=replace(PLAN, **said))
    with (tmp_path / "metrics.csv").open() as file:
        losses = [float(row["validation_log_loss"]) for row in csv.DictReader(file)][1:]
    best = 1 + losses.index(min(losses))
    assert best < 3, "the case says nothing"
    assert json.loads((tmp_path / "checkpoints" / "1-wild.json").read_text())["epoch"] == (3 if last else best)


def test_a_phase_without_a_probe_hands_on_its_best(tmp_path, textures):
    _, outcome = run(tmp_path, textures, (Phase(name="wild", epochs=3, lr=1.0, schedule="constant"),))
    with (tmp_path / "metrics.csv").open() as file:
        losses = [float(row["validation_log_loss"]) for row in csv.DictReader(file)]
    assert losses.index(min(losses)) < 2, "the case says nothing"
    assert outcome.chosen.epoch == 1 + losses.index(min(losses))


def test_a_run_that_leans_forward_does_so_only_where_its_phases_ended(tmp_path, textures, monkeypatch):
    asked = []

    def noted(*values, lean, **words):
        asked.append(lean)
        return settle(*values, lean=lean, **words)

    monkeypatch.setattr("finetune.training.transfer.settle", noted)
    phases = (Phase(name="probe", learns="head", on="features"), Phase(name="all", epochs=2, lr=0.01))
    for number, callbacks in enumerate(([], [StopAt("all")])):
        network = tiny()
        what, task = lesson(textures, network)
        place = around(tmp_path / str(number), PLAN, callbacks=callbacks)
        outcome = transfer(network, task, replace(what, lean=0.5), PLAN, phases, place, say=lambda line: None)
        assert outcome.stopped == bool(callbacks)
    assert asked == [0.5, 0.0]


def test_the_same_seed_gives_the_same_weights(tmp_path, textures):
    phases = (Phase(name="all", epochs=2, lr=0.01),)
    first, _ = run(tmp_path / "1", textures, phases)
    second, _ = run(tmp_path / "2", textures, phases)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_final_run_is_as_long_as_the_one_that_chose_and_keeps_the_last(tmp_path, textures):
    network = tiny()
    what, task = lesson(textures, network)
    phases = (
        Phase(name="probe", learns="head", on="features"),
        Phase(name="head", learns="head", epochs=3, lr=0.01),
        Phase(name="all", epochs=4, lr=0.01),
        Phase(name="never", epochs=1),
    )
    first = transfer(network, task, what, PLAN, phases[:3], around(tmp_path / "a", PLAN), say=lambda line: None)
    like = replace(first, chosen=replace(first.chosen, phase="all"), lengths={"probe": 0, "head": 1, "all": 2})
    final = transfer(
        tiny(), task, whole(what), PLAN, phases, around(tmp_path / "b", PLAN), say=lambda line: None, like=like
    )
    assert (final.chosen.phase, final.chosen.epoch, final.chosen.score) == ("all", 2, None)
    assert final.lengths == {"probe": 0, "head": 1, "all": 2}


class StopAt(L.Callback):
    """Asks for a stop as Ctrl-C does, or as a second one does."""

    def __init__(self, phase, twice=False):
        self.phase, self.twice = phase, twice

    def on_train_batch_start(self, trainer, pl_module, batch, index):
        if getattr(pl_module, "phase", None) and pl_module.phase.name == self.phase:
            if self.twice:
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGINT)


@pytest.mark.thorough
def test_a_stop_keeps_the_best_until_then(tmp_path, textures):
    phases = (Phase(name="probe", learns="head", on="features"), Phase(name="all", epochs=3, lr=0.01))
    for twice in (False, True):
        folder = tmp_path / str(twice)
        network, outcome = run(folder, textures, phases, callbacks=[StopAt("all", twice)])
        assert outcome.stopped and outcome.chosen.phase in ("probe", "all")
        probed, _ = run(folder / "probe", textures, phases[:1])
        if twice:
            assert outcome.chosen.phase == "probe"
            assert all(torch.equal(a, b) for a, b in zip(network.parameters(), probed.parameters(), strict=True))


def test_a_stop_before_there_are_weights_stops(tmp_path, textures):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, textures, (Phase(name="all", epochs=3, lr=0.01),), callbacks=[StopAt("all", twice=True)])


def test_callbacks_that_count_start_anew_in_each_phase(tmp_path, textures):
    phases = (Phase(name="one", epochs=3, lr=1e-9), Phase(name="two", epochs=3, lr=1e-9))
    stop = EarlyStopping("validation_log_loss", patience=2, min_delta=0.5)
    run(tmp_path, textures, phases, callbacks=[stop])
    with (tmp_path / "metrics.csv").open() as file:
        rows = [r["phase"] for r in csv.DictReader(file)]
    assert rows.count("one") == rows.count("two") == 3


def test_a_metric_that_validation_cannot_give_is_refused_before_any_training(tmp_path, textures):
    network = tiny()
    what, task = lesson(textures, network)
    one_class = replace(what, validation=what.validation[what.target[what.validation] == 0])
    with pytest.raises(TrainingError, match="auroc is undefined"):
        transfer(
            network, task, one_class, replace(PLAN, monitor="auroc"), (Phase(name="all", epochs=1),),
            around(tmp_path, PLAN), say=lambda line: None,
        )  # fmt: skip
    assert not (tmp_path / "metrics.csv").exists()


def test_a_loss_that_is_not_a_number_stops_with_step_and_phase(tmp_path, textures):
    phases = (Phase(name="wild", epochs=3, lr=1e30),)
    plan = ft.Plan(accelerator="cpu", workers=0, batch_size=8, gradient_clip=0, monitor="log_loss")
    with pytest.raises(TrainingError, match=r'at step \d+ .*phase "wild"'):
        run(tmp_path, textures, phases, plan)


def test_a_users_callbacks_and_trainer_words_reach_lightning(tmp_path, textures):
    class Count(L.Callback):
        steps = 0

        def on_train_batch_end(self, *args):
            Count.steps += 1

    phases = (Phase(name="all", epochs=50, lr=1e-9),)
    stop = EarlyStopping("validation_log_loss", patience=1, min_delta=0.1)
    run(tmp_path, textures, phases, callbacks=[Count(), stop], trainer={"limit_train_batches": 2})
    assert Count.steps == 4  # two epochs of two batches: the loss does not fall by a tenth


@pytest.mark.parametrize("words", [{"mixup": 1.0}, {"cutmix": 1.0}, {"sampler": "sqrt"}])
def test_training_pictures_are_mixed_and_sampled_and_validation_pictures_are_not(tmp_path, textures, words):
    seen = {"train": [], "validation": []}

    class Look(L.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            step = pl_module._step
            pl_module._step = lambda batch, stage: (seen[stage].append(batch), step(batch, stage))[1]

    run(tmp_path, textures, (Phase(name="all", epochs=1, lr=1e-9),), replace(PLAN, **words), callbacks=[Look()])
    assert all(batch.target.dtype == torch.int64 for batch in seen["validation"])
    rows = torch.cat([batch.row for batch in seen["validation"]])
    assert len(set(rows.tolist())) == len(rows) == 12
    for batch in seen["train"]:
        mixed = "sampler" not in words
        assert batch.target.is_floating_point() == mixed
        if mixed:
            torch.testing.assert_close(batch.target.sum(dim=1), torch.ones(len(batch.row)))


class Own(L.LightningModule):
    """Somebody's module: no Network, no Task."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU())
        self.head = torch.nn.Linear(8, 2)

    def training_step(self, batch, index):
        return torch.nn.functional.cross_entropy(self.head(self.stem(batch[0])), batch[1])

    def validation_step(self, batch, index):
        self.log("val_loss", self.training_step(batch, index))

    def configure_optimizers(self):
        return torch.optim.SGD(ft.param_groups(self, lr=0.1, layer_decay=0.5))


def loaders():
    torch.manual_seed(1)
    data = torch.utils.data.TensorDataset(torch.randn(32, 4), torch.randint(0, 2, (32,)))
    return torch.utils.data.DataLoader(data, 8), torch.utils.data.DataLoader(data, 8)


def test_a_module_of_ones_own_runs_through_the_phases(tmp_path):
    module = Own()
    before = state(module)
    plan = ft.Plan(
        accelerator="cpu", monitor="val_loss",
        phases=(Phase(name="head", learns="head", epochs=1), Phase(name="all", epochs=1, norms="train")),
    )  # fmt: skip

    class Frozen(L.Callback):
        def on_train_end(self, trainer, pl_module):
            same.append(all(torch.equal(before[n], t) for n, t in pl_module.state_dict().items() if "stem" in n))

    same: list[bool] = []
    out = ft.run_phases(module, loaders(), plan, out=tmp_path, callbacks=[Frozen()])
    assert out is module and same == [True, False]
    assert {f.name for f in (tmp_path / "checkpoints").glob("*.safetensors")} == {
        "0-head.safetensors",
        "1-all.safetensors",
    }


def test_a_metric_that_was_never_logged_is_named(tmp_path):
    plan = ft.Plan(accelerator="cpu", monitor="val_acc", phases=(Phase(name="all", epochs=1),))
    with pytest.raises(TrainingError, match=r'"val_acc".*val_loss'):
        ft.run_phases(Own(), loaders(), plan, out=tmp_path)


def test_a_plan_is_a_plan_and_no_name_of_a_method(tmp_path):
    with pytest.raises(ft.ConfigError, match=r"plan takes a Plan, ft\.Plan\(method='full'"):
        ft.run_phases(Own(), loaders(), "full", out=tmp_path)


def test_fit_phase_hands_the_best_weights_on(tmp_path, textures):
    network = tiny()
    what, task = lesson(textures, network)
    from finetune.data.loaders import make_loader
    from finetune.training.learner import Learner
    from finetune.types import Stage

    phase = Phase(name="all", epochs=2, lr=0.01)
    learner = Learner(network, task, phase, PLAN, seed=0)
    stages = tuple(Stage(s.name, tuple(f"network.{n}" for n in s.parameters)) for s in network.stages)
    words = dict(batch_size=8, seed=0, workers=0)
    data = {
        "train_dataloaders": make_loader(
            what.examples, what.target, network.spec, indices=what.train, train=True, **words
        ),
        "val_dataloaders": make_loader(
            what.examples, what.target, network.spec, indices=what.validation, train=False, **words
        ),
    }
    (offer,), asked = fit_phase(
        learner,
        stages,
        phase,
        PLAN,
        around(tmp_path, PLAN),
        index=0,
        monitor="validation_accuracy",
        higher=True,
        data=data,
    )
    from safetensors.torch import load_file

    assert not asked
    assert all(torch.equal(learner.state_dict()[n], t) for n, t in load_file(offer.state).items())


def test_views_that_do_not_help_held_out_pictures_are_left_out(tmp_path, textures, monkeypatch):
    """Versions that say nothing of their pictures; then versions that are the pictures themselves."""
    import numpy as np

    phases = (Phase(name="probe", learns="head", on="features", views=2),)
    plain, _ = run(tmp_path / "plain", textures, (replace(phases[0], views=0),))
    lines = []
    for name, made in (("noise", lambda known: np.random.default_rng(0).normal(size=known.shape)),
                       ("same", lambda known: known)):  # fmt: skip
        network = tiny()
        what, task = lesson(textures, network)
        known = what.features.at(what.train)
        versions = np.concatenate([made(known)] * 2).astype(np.float32) * (20 if name == "noise" else 1)
        monkeypatch.setattr("finetune.training.on_features.view_features", lambda *a, v=versions, **k: v)
        transfer(network, task, what, PLAN, phases, around(tmp_path / name, PLAN), say=lines.append)
        if name == "noise":
            assert any("left out" in line for line in lines)
            assert all(torch.equal(a, b) for a, b in zip(network.parameters(), plain.parameters(), strict=True))
            lines.clear()


@pytest.mark.parametrize("serve", [True, False])
def test_a_final_run_looks_at_versions_only_where_they_served_the_one_that_chose(
    tmp_path, textures, monkeypatch, serve
):
    import numpy as np

    import finetune.training.on_features as on_features

    phases = (Phase(name="probe", learns="head", on="features", views=2),)
    fits = []

    def fitted(*args, **words):
        fits.append(words.get("views") is not None)
        return fit_head(*args, **words)

    fit_head = on_features.fit_head
    monkeypatch.setattr(on_features, "fit_head", fitted)
    # Versions say something of their pictures where they are those of a probe that errs without, or else noise.
    monkeypatch.setattr(
        on_features, "_held_out_loss", lambda task, found, target: (-1.0 if serve else 1.0) * found.views
    )

    def versions(network, examples, **words):
        known = network_features[: len(examples)]
        return np.concatenate([known] * words["views"])

    monkeypatch.setattr(on_features, "view_features", versions)
    network = tiny()
    what, task = lesson(textures, network)
    network_features = what.features.at(np.arange(len(what.examples)))
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first = transfer(network, task, what, PLAN, phases, around(tmp_path / "first", PLAN), say=lambda line: None)
    assert first.views == (2 if serve else 0) and sorted(fits) == [False, True]
    fits.clear()
    network.load_state_dict(start)
    lines = []
    final = transfer(network, task, whole(what), PLAN, phases, around(tmp_path / "final", PLAN), say=lines.append,
                     like=first, prefix="final-")  # fmt: skip
    assert fits == [serve] and final.views == first.views
    assert any("looking at 2" in line for line in lines) == serve
