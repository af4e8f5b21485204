"""Losses of points: what they are worth, what learns by them, and what they cannot be put together with."""

import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

import finetune as ft
from finetune.data.labels import Labels
from finetune.errors import ConfigError
from finetune.models.heads import build_head
from finetune.models.options import EmbeddingHead, LinearHead
from finetune.recipe import recipe_from
from finetune.tasks.embed import EmbedTask
from finetune.tasks.options import EMBED_LOSSES, PROXY_LOSSES, Embed
from finetune.training.phase import Phase

NAMES = ("a", "b", "c", "d")
TARGET = torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])
SAID = [NAMES[k] for k in TARGET]


def made(loss="normalised-softmax", said=SAID, **words):
    return Embed(loss=loss, **words).build(Labels(kind="class", names=NAMES), said)


def points(seed=0, n=8, size=5):
    return functional.normalize(torch.randn(n, size, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize("loss", EMBED_LOSSES)
def test_better_points_have_a_lower_loss_and_better_figures(loss):
    task, proxies = made(loss), torch.eye(4, 5)
    losses, measured = [], []
    for share in (0.0, 0.5, 1.0):
        found = functional.normalize(share * proxies[TARGET] + (1 - share) * points(), dim=1)
        losses.append(float(task.loss(found, TARGET, proxies)))
        measured.append(task.measure(task.answer(found), TARGET.numpy()))
    assert losses == sorted(losses, reverse=True) and losses[0] > losses[-1]
    for name in task.metrics:
        assert [one[name] for one in measured] == sorted(one[name] for one in measured)
        assert measured[-1][name] == 1


def test_normalised_softmax_is_the_cross_entropy_of_cosines_and_equal_batches_average_to_it():
    task, proxies = made(sharpness=7.0), torch.randn(4, 5)
    found = task.loss(points(), TARGET, proxies)
    cosines = points() @ functional.normalize(proxies[:3], dim=1).T  # d is learned from by nobody
    torch.testing.assert_close(found, functional.cross_entropy(7 * cosines, TARGET))
    halves = [task.loss(points()[part], TARGET[part], proxies) for part in (slice(0, 4), slice(4, 8))]
    torch.testing.assert_close(found, torch.stack(halves).mean())


@pytest.mark.parametrize("loss", PROXY_LOSSES)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_points_and_the_proxies_of_trained_classes_learn_and_others_stay(loss, precision):
    task, head = made(loss), build_head(EmbeddingHead(size=5), 6, 4)
    assert task.head_outputs == 4 and task.trained == (0, 1, 2)
    for _ in range(2):  # a step leaves nothing behind that the next one would trip over
        head.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision != torch.float32):
            task.step_loss(head(torch.randn(8, 6)), TARGET, head).backward()
        assert (head.proxies.grad[:3].abs().sum(dim=1) > 0).all() and not head.proxies.grad[3].any()
        assert head.projection.weight.grad.abs().sum() > 0


def test_pairs_need_no_proxies_and_what_was_learned_from_is_kept():
    assert made("sup-con").head_outputs == 0
    task = made()
    kept = task.kept(np.array([0, 2, 2]))
    assert kept.labels.names == ("a", "c") and kept.head_outputs == 0
    assert task.learning_from(np.array([3, 1])).trained == (1, 3)
    assert isinstance(made(said=[]), EmbedTask) and made(said=[]).head_outputs == 0


def test_figures_are_those_of_pictures_whose_class_has_another_and_else_undefined():
    task, answer = made(), points(n=5).double().numpy()
    target = np.array([0, 0, 1, 2, 3])
    assert set(task.measure(answer, target)) == set(task.metrics)
    assert np.isnan(task.measure(answer, np.arange(5))["map_at_r"])
    resampled = task.resampled(answer, target, np.ones((2, 5)))
    for name, value in task.measure(answer, target).items():
        np.testing.assert_allclose(resampled[name], value)


def test_a_teacher_of_the_same_points_is_at_distance_0():
    assert float(made().distance(points(), points(), 2.0)) == pytest.approx(0, abs=1e-6)
    assert float(made().distance(points(), -points(), 2.0)) == pytest.approx(2)


def test_without_the_package_its_line_is_told_before_anything_is_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning.losses", None)
    with pytest.raises(ConfigError, match=r"pip install 'finetune\[embed\]'"):
        ft.fit("no/such/folder", task="embed", verbose=False)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"loss": "normalized-softmax"}, 'Did you mean "normalised-softmax"'),
        ({"sharpness": 0.0}, "sharpness must be above 0"),
        ({"margin": 1.0, "loss": "proxy-anchor"}, "margin must be from 0 to below 1"),
        ({"margin": 0.2}, 'margin is for loss="proxy-anchor"'),
    ],
)
def test_what_cannot_be_a_loss_is_refused(words, told):
    with pytest.raises(ConfigError, match=told):
        Embed(**words)


REFUSED = {
    "probe": ({"method": "probe"}, "Expected the method auto, full, head-then-full"),
    "lp-ft": ({"method": "lp-ft"}, "Expected the method auto, full, head-then-full"),
    "mixup": ({"mixup": 0.2}, "mixup have no meaning for the task embed"),
    "folds": ({"folds": 3}, "folds have no meaning"),
    "by": ({"by": "size"}, "by have no meaning"),
    "head": ({"head": "mlp"}, "Expected the head embedding"),
    "hidden": ({"hidden": 3}, "EmbeddingHead takes no hidden; it takes size"),
    "operate": ({"operate": "recall>=0.9"}, "Embed takes no operate"),
    "coverage": ({"coverage": 0.9}, "Embed takes no coverage"),
    "weights": ({"class_weight": "balanced"}, "Embed takes no class_weight"),
    "smoothing": ({"label_smoothing": 0.1}, "Embed takes no label_smoothing"),
    "pairs": ({"loss": "sup-con", "sampler": "shuffle"}, "may put none together"),
    "shards": ({"strategy": "fsdp"}, 'Expected strategy="ddp"'),
    "order": ({"order": "row", "hold_out": "classes"}, "both say what is held out"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_meaning_for_points_is_refused_with_a_way_out(name):
    words, told = REFUSED[name]
    with pytest.raises(ConfigError, match=told):
        recipe_from("folder", {"task": "embed", "backbone": "finetune/lenet5", **words}).check()


def test_other_tasks_take_no_points_and_hold_out_no_classes():
    def refused(told, **values):
        values = {"data": ft.Data(source="x"), "model": ft.Backbone("finetune/lenet5"), **values}
        with pytest.raises(ConfigError, match=told):
            ft.Recipe(**values).check()

    embedding = ft.Backbone("finetune/lenet5", head=EmbeddingHead())
    refused("Expected the task embed", model=embedding)
    refused("only the task embed", data=ft.Data(source="x", hold_out="classes"))
    refused("Expected the head embedding", task=Embed(), model=ft.Backbone("finetune/lenet5", head=LinearHead()))
    phases = (Phase(name="probe", learns="head", on="features"),)
    refused("phases on pictures", task=Embed(), model=embedding, plan=ft.Plan(phases=phases))
    with pytest.raises(ConfigError, match="size of an embedding must be 2 or more"):
        EmbeddingHead(size=1)


def test_words_make_a_whole_recipe_that_is_read_back():
    recipe = recipe_from("x", {"loss": "proxy-anchor", "margin": 0.2, "embedding_size": 64, "backbone": "resnet18"})
    assert recipe.task == Embed(loss="proxy-anchor", margin=0.2) and recipe.data.kind == "class"
    assert recipe.model.head == EmbeddingHead(size=64)
    assert ft.Recipe.from_dict(recipe.to_dict()).task == recipe.task
