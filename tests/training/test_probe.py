import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn

import finetune as ft
from finetune.data.labels import Labels
from finetune.errors import TrainingError
from finetune.models.heads import build_head
from finetune.models.options import MLPHead
from finetune.training import probe
from finetune.training.probe import Views, _minimise, fit_head


def blobs(n: int = 90, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    return (rng.normal(size=(classes, 5))[y] * 2 + rng.normal(size=(n, 5)) + 7).astype(np.float32), y


def classify(k: int = 3):
    return ft.Classify().build(Labels(kind="class", names=tuple("abc"[:k])), [])


def test_the_minimum_is_scikit_learns():
    x, y = blobs()
    x -= x.mean(axis=0)
    head = nn.Linear(5, 3)
    _minimise(head, torch.from_numpy(x), torch.from_numpy(y), classify(), 0.1)
    theirs = LogisticRegression(C=1 / (0.1 * len(x)), tol=1e-8, max_iter=1000).fit(x, y)
    with torch.no_grad():
        ours = torch.softmax(head(torch.from_numpy(x)), 1).numpy()
    np.testing.assert_allclose(ours, theirs.predict_proba(x), atol=1e-3)


def test_a_numbers_minimum_is_ridge_regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4)).astype(np.float32)
    x -= x.mean(axis=0)
    y = (x @ [1.0, -2.0, 0.5, 0.0] + 3).astype(np.float32)
    head = nn.Linear(4, 1)
    _minimise(
        head, torch.from_numpy(x), torch.from_numpy(y), ft.Regress().build(Labels(kind="number", names=()), []), 0.2
    )
    theirs = Ridge(alpha=0.2 * len(x) / 2).fit(x, y)
    np.testing.assert_allclose(head.weight.detach().numpy()[0], theirs.coef_, atol=1e-3)


@pytest.mark.parametrize("shape", [(5,), (5, 3, 3)])
def test_the_fitted_head_takes_features_as_they_come(shape):
    rng = np.random.default_rng(1)
    y = np.arange(60) % 2
    x = rng.normal(4, 3, size=(60, *shape)).astype(np.float32)
    x[y == 1, 0] += 12
    head: nn.Module = nn.Linear(5, 2)
    if len(shape) == 3:
        head = nn.Sequential(nn.Conv2d(5, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    fit_head(head, x, y, classify(2))
    with torch.no_grad():
        right = head(torch.from_numpy(x)).argmax(1).numpy() == y
    assert right.mean() > 0.9


def test_held_out_logits_come_from_heads_that_never_saw_the_example():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(80, 40)).astype(np.float32), rng.integers(0, 2, 80)  # nothing to learn, room to memorise
    head = nn.Linear(40, 2)
    fitted = fit_head(head, x, y, classify(2))
    assert fitted.folds == 5 and fitted.held_out.shape == (80, 2)
    assert (fitted.held_out.argmax(1) == y).mean() < 0.65


def test_groups_stay_on_one_side_of_a_fold():
    x, y = blobs(30, 2)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 50)).astype(np.float32)
    x, y, groups = np.repeat(x, 4, axis=0), np.repeat(y, 4), list(np.repeat(np.arange(30), 4))
    with_groups = fit_head(nn.Linear(50, 2), x, y, classify(2), groups=groups)
    without = fit_head(nn.Linear(50, 2), x, y, classify(2))
    assert (without.held_out.argmax(1) == y).mean() > 0.9  # copies give the answer away
    assert (with_groups.held_out.argmax(1) == y).mean() < 0.8


def test_versions_of_an_example_are_held_out_with_it():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(80, 40)).astype(np.float32), rng.integers(0, 2, 80)
    views = Views(np.concatenate([x, x, x]), np.tile(np.arange(80), 3))  # would give every answer away
    fitted = fit_head(nn.Linear(40, 2), x, y, classify(2), views=views)
    assert fitted.held_out.shape == (80, 2) and (fitted.held_out.argmax(1) == y).mean() < 0.65


def test_versions_that_are_the_picture_itself_change_nothing():
    x, y = blobs()
    heads = [nn.Linear(5, 3), nn.Linear(5, 3)]
    heads[1].load_state_dict(heads[0].state_dict())
    fit_head(heads[0], x, y, classify())
    fit_head(heads[1], x, y, classify(), views=Views(np.concatenate([x, x]), np.tile(np.arange(len(x)), 2)))
    torch.testing.assert_close(heads[0].weight, heads[1].weight, atol=1e-3, rtol=1e-3)


def test_too_few_for_folds_is_fitted_all_the_same():
    x, _ = blobs(3, 3)
    fitted = fit_head(nn.Linear(5, 3), x, np.arange(3), classify())
    assert fitted.folds == 0 and fitted.held_out is None


def test_features_that_are_not_finite_are_refused():
    x, y = blobs()
    x[3, 2] = np.nan
    with pytest.raises(TrainingError, match="not finite"):
        fit_head(nn.Linear(5, 3), x, y, classify())


def test_the_same_seed_fits_the_same_head():
    x, y = blobs()
    heads = []
    for _ in range(2):
        torch.manual_seed(0)
        heads.append(nn.Linear(5, 3))
        fit_head(heads[-1], x, y, classify())
    assert torch.equal(heads[0].weight, heads[1].weight)


@pytest.mark.parametrize(
    "words",
    [{}, {"class_weight": "sqrt"}, {"loss": "focal"}, {"loss": "logit-adjusted"}, {"loss": "balanced-softmax"}],
)
def test_under_every_loss_the_rare_class_is_found_and_the_way_to_say_so_finds_it_more_often(words):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [180, 20])
    x = (rng.normal(size=(200, 4)) + y[:, None]).astype(np.float32)
    labels = Labels(kind="class", names=("many", "few"))
    task = ft.Classify(**words).build(labels, [labels.names[k] for k in y])
    plain = ft.Classify().build(labels, [labels.names[k] for k in y])
    recall = {}
    for name, what in (("this", task), ("plain", plain)):
        torch.manual_seed(0)
        fitted = fit_head(nn.Linear(4, 2), x, y, what)
        assert fitted.folds == 5 and np.isfinite(fitted.held_out).all() and np.isfinite(fitted.loss)
        recall[name] = (fitted.held_out.argmax(1) == y)[y == 1].mean()
    assert recall["plain"] > 0.2
    balances = "class_weight" in words or words.get("loss") in ("logit-adjusted", "balanced-softmax")
    assert recall["this"] > recall["plain"] if balances else recall["this"] >= recall["plain"] - 0.15


def test_labels_are_fitted_under_every_loss_of_theirs():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 5)).astype(np.float32)
    y = (x[:, :2] + 0.3 * rng.normal(size=(120, 2)) > 0.8).astype(np.float32)
    labels = Labels(kind="labels", names=("a", "b"))
    for loss in ("cross-entropy", "focal", "asymmetric"):
        task = ft.Tag(loss=loss).build(labels, [tuple(n for n, m in zip("ab", row, strict=True) if m) for row in y])
        fitted = fit_head(nn.Linear(5, 2), x, y, task)
        assert task.measure(task.answer(torch.from_numpy(fitted.held_out)), y)["auroc"] > 0.9, loss


@pytest.mark.thorough
def test_two_layers_survive_the_search_for_a_penalty():
    # From the strongest penalty down, both layers went to 0 and stayed there: every penalty gave the same dead head.
    rng = np.random.default_rng(0)
    x = np.abs(rng.normal(size=(120, 40))).astype(np.float32)
    y = (x[:, 0] + 0.3 * rng.normal(size=120) > 0.67).astype(np.int64)
    torch.manual_seed(0)
    head = build_head(MLPHead(hidden=16), 40, 2)
    fitted = fit_head(head, x, y, classify(2))
    assert fitted.loss < 0.6
    assert (fitted.held_out.argmax(1) == y).mean() > 0.7


def test_a_head_on_computed_features_is_that_of_features_computed_anew(tmp_path):
    from finetune.data.examples import read_examples
    from finetune.data.loaders import stream
    from finetune.data.options import Data
    from finetune.features import features
    from tests.training.tiny import tiny

    rng = np.random.default_rng(0)
    y = np.arange(160) % 3
    # Enough pictures for the fast way, with norms folded; a colour for each class, and noise.
    pictures = (rng.integers(0, 120, (160, 40, 40, 3)) + 60 * np.eye(3)[y][:, None, None]).astype(np.uint8)
    network = tiny()
    examples = read_examples(Data(source=(pictures, [str(k) for k in y])))
    known = features(network, examples, cache=tmp_path).values
    with torch.inference_mode():
        batches = [network.eval().features(inputs) for _, inputs, _ in stream(examples, network.spec, batch_size=32)]
    heads = []
    for values in (known, torch.cat(batches).numpy()):
        head = build_head(ft.LinearHead(), 8, 3)
        head.load_state_dict(network.head.state_dict())
        fit_head(head, values, y, classify())
        heads.append(head)
    for name, weight in heads[0].state_dict().items():
        torch.testing.assert_close(weight, heads[1].state_dict()[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.thorough) for seed in range(1, 4))])
@pytest.mark.parametrize("kind", ["linear", pytest.param("mlp", marks=pytest.mark.thorough)])
def test_penalties_that_are_not_looked_at_would_not_have_been_chosen(kind, seed, monkeypatch):
    x, y = blobs(60, seed=seed)
    x[:, 2:] += np.random.default_rng(seed).normal(0, 3, (60, 3))
    heads, fits = [], []
    for rises in (probe.RISES, len(probe.PENALTIES)):
        monkeypatch.setattr(probe, "RISES", rises)
        torch.manual_seed(seed)
        heads.append(nn.Linear(5, 3) if kind == "linear" else build_head(MLPHead(hidden=4), 5, 3))
        fits.append(fit_head(heads[-1], x, y, classify(), seed=seed))
    assert fits[0].penalty == fits[1].penalty and fits[0].loss == fits[1].loss
    np.testing.assert_array_equal(fits[0].held_out, fits[1].held_out)
