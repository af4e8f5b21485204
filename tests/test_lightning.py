"""A recipe in a person's own Trainer, and in a loop without any."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from torch.utils.data import DistributedSampler

import finetune as ft
from finetune.data.loaders import PictureLoader
from finetune.errors import ConfigError
from finetune.training.trainer import quiet_lightning
from tests.training.tiny import TinyNet, state


def recipe(source, **words) -> ft.Recipe:
    """One short phase of a tiny network with normalisation whose statistics are not those of a fresh one."""
    torch.manual_seed(0)
    module = TinyNet()
    module.train()(torch.rand(64, 3, 32, 32))
    plan = {"method": "lp-ft", "epochs": 1, "batch_size": 8, "views": 0, "workers": 0, "accelerator": "cpu", **words}
    return ft.Recipe(
        data=ft.Data(source=str(source), copies="exact", group_from=r"(\d+)\.png"),
        model=ft.Backbone.from_module(module.eval(), head="fc", input_size=32),
        plan=ft.Plan(**{"settle": "last", **plan}),
    )


def trainer(folder, **words) -> L.Trainer:
    """As a person would write it, and silent."""
    words = {"max_epochs": 1, "accelerator": "cpu", "devices": 1, "logger": False, **words}
    return L.Trainer(default_root_dir=folder, enable_checkpointing=False, enable_progress_bar=False,
                     enable_model_summary=False, **words)  # fmt: skip


def fitted(module, data, folder, **words) -> L.Trainer:
    made = trainer(folder, **words)
    with quiet_lightning():
        made.fit(module, datamodule=data)
    return made


@pytest.mark.parametrize("words", [
    {"method": "lp-ft"}, {"method": "full", "ema": 0.5, "norms": "frozen"}, {"method": "l2-sp", "gradient_clip": 0.0},
], ids=lambda words: words["method"])  # fmt: skip
def test_a_trainer_of_ones_own_gives_the_weights_and_the_figures_that_fit_gives(textures, tmp_path, words):
    of = recipe(textures, **words)
    expected = ft.fit(of, out=tmp_path / "run", verbose=False)
    data = ft.datamodule(of)
    module = ft.lightning_module(of, data)
    before = {name: buffer.clone() for name, buffer in module.network.named_buffers()}
    made = fitted(module, data, tmp_path)
    for name, tensor in expected.network.state_dict().items():
        torch.testing.assert_close(module.network.state_dict()[name], tensor, rtol=0, atol=1e-6)
    for name, buffer in module.network.named_buffers():
        assert torch.equal(buffer, before[name]), f"{name} moved"
    with quiet_lightning():
        (measured,) = made.test(module, datamodule=data, verbose=False)
    assert measured["test_accuracy"] == pytest.approx(expected.metrics["test"]["accuracy"]["value"])


def test_loaders_keep_groups_on_one_side_and_leave_nobody_out(textures):
    data = ft.datamodule(recipe(textures))
    groups = {part: set() for part in ("train", "validation", "test")}
    seen = 0
    loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    for part, loader in zip(groups, loaders, strict=True):
        rows = np.concatenate([batch.row.numpy() for batch in loader])
        assert sorted(rows) == data.rows(part).tolist()
        groups[part] = set(data.prepared.lesson.examples.table["group"].iloc[rows])
        seen += len(rows)
    assert seen == 36 and data.classes == ("checks", "rings", "stripes")
    assert sum(map(len, groups.values())) == len(set.union(*groups.values()))


def test_rates_run_over_the_length_of_the_trainer_whatever_the_plan_says(textures, tmp_path):
    of = recipe(textures, method="full", epochs=50)
    module = ft.lightning_module(of)
    made = fitted(module, ft.datamodule(of), tmp_path, max_epochs=-1, max_steps=5)
    assert made.global_step == 5
    assert [group["lr"] for group in made.optimizers[0].param_groups] == [0.0] * len(made.optimizers[0].param_groups)
    made = fitted(module, ft.datamodule(of), tmp_path, max_epochs=2)
    assert made.optimizers[0].param_groups[0]["lr"] == 0.0


def test_what_does_not_learn_does_not_move(textures, tmp_path):
    upper = ft.datamodule(recipe(textures)).prepared.material.network.stages[1].name
    of = recipe(textures, method="surgical", stage=upper)
    module = ft.lightning_module(of)
    before = state(module.network)
    fitted(module, ft.datamodule(of), tmp_path)
    moved = {name for name, tensor in state(module.network).items() if not torch.equal(tensor, before[name])}
    learns = {name for name, parameter in module.network.named_parameters() if parameter.requires_grad}
    assert moved and moved <= learns and len(learns) < len(before)


@pytest.mark.parametrize("words, said", [
    ({"method": "probe"}, "leaves a Trainer nothing to do"),
    ({"method": "gradual"}, r"takes steps on pictures in 2 phases .*a Trainer fits once"),
    ({"method": "head-then-full"}, '"head", "fine-tune"'),
    ({"method": "lp-ft", "sizes": (16,)}, '"fine-tune at 16", "fine-tune"'),
    ({"method": "lora"}, "Adapters are merged"),
    ({"lr": "auto"}, "before the phase begins"),
    ({"epochs": None, "time": "1m"}, "a Trainer has max_time"),
], ids=str)  # fmt: skip
def test_what_is_more_than_one_fit_is_refused_before_any_file_is_read(words, said):
    for door in (ft.lightning_module, ft.datamodule):
        with pytest.raises(ConfigError, match=said) as told:
            door(recipe("nowhere", **words))
        assert "ft.fit" in str(told.value) and "ft.run_phases" in str(told.value)


def test_folds_are_several_fits(textures):
    of = recipe("nowhere")
    with pytest.raises(ConfigError, match="folds are several runs"):
        ft.datamodule(replace(of, data=replace(of.data, folds=3)))


def test_data_of_another_recipe_are_refused(textures):
    data = ft.datamodule(recipe(textures))
    with pytest.raises(ConfigError, match="of another recipe"):
        ft.lightning_module(recipe(textures, seed=1), data)


def test_a_trainer_that_does_not_fit_the_recipe_is_told_so(textures, tmp_path):
    of = recipe(textures, accumulate=2)
    data = ft.datamodule(of)
    with pytest.raises(ConfigError) as told:
        fitted(ft.lightning_module(of, data), data, tmp_path, max_epochs=-1)
    assert "The Trainer has no end" in str(told.value)
    assert re.search(r"Expected Trainer\(accumulate_grad_batches=2\)", str(told.value))


def test_a_sampler_around_ours_is_refused_where_there_are_several_ranks(textures):
    of = recipe(textures, method="full")
    data, module = ft.datamodule(of), ft.lightning_module(of)
    ours = data.train_dataloader()
    around = PictureLoader(ours.dataset, sampler=DistributedSampler(ours.dataset, num_replicas=2, rank=0))
    module.trainer = SimpleNamespace(world_size=2, train_dataloader=around)
    with pytest.raises(ConfigError, match=r"Trainer\(use_distributed_sampler=False\)"):
        module.on_train_start()


def test_loaders_groups_and_freezing_serve_a_plain_loop(textures):
    of = recipe(textures, augment="none")
    data = ft.datamodule(of)
    network = data.prepared.material.network
    optimizer = torch.optim.SGD(ft.param_groups(network, lr=0.1, layer_decay=0.5, stages=network.stages), lr=0.1)
    before, losses = state(network), []
    network.train()
    with ft.frozen(network.body):
        for epoch in range(6):
            loader = data.train_dataloader()
            loader.sampler.set_epoch(epoch)
            for batch in loader:
                loss = torch.nn.functional.cross_entropy(network(batch.inputs), batch.target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            losses.append(loss.item())
    after = state(network)
    assert {name.partition(".")[0] for name in after if not torch.equal(after[name], before[name])} == {"head"}
    assert network.body.training and min(losses) < losses[0]


def test_points_are_learned_by_a_trainer_of_ones_own_too(textures, tmp_path):
    of = recipe(textures, method="auto")
    of = replace(of, task=ft.Embed(), model=replace(of.model, head=ft.EmbeddingHead(size=8)))
    data = ft.datamodule(of)
    module = ft.lightning_module(of, data)
    before = module.network.head.proxies.detach().clone()
    made = fitted(module, data, tmp_path)
    assert (module.network.head.proxies != before).all()
    with quiet_lightning():
        (measured,) = made.test(module, datamodule=data, verbose=False)
    assert set(measured) == {"test_map_at_r", "test_recall_at_1", "test_recall_at_10"}
