import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn

import finetune as ft
from finetune.data.labels import Labels
from finetune.errors import TrainingError
from finetune.training.probe import _minimise, fit_head


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
