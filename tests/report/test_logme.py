"""LogME, against the evidence itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from finetune.report.logme import logme


def evidence(f, y, alpha, beta):
    """The paper's equation 2, as it stands: n examples, d features, one column."""
    n, d = f.shape
    a = alpha * np.eye(d) + beta * f.T @ f
    m = beta * np.linalg.solve(a, f.T @ y)
    return (
        n / 2 * np.log(beta)
        + d / 2 * np.log(alpha)
        - n / 2 * np.log(2 * np.pi)
        - beta / 2 * np.square(f @ m - y).sum()
        - alpha / 2 * m @ m
        - np.linalg.slogdet(a)[1] / 2
    )


def climbed(f, y):
    """The largest evidence an example that a general optimizer finds from several starts."""
    found = [
        minimize(
            lambda p: -evidence(f, y, *np.exp(p)) / len(y),
            start,
            method="Nelder-Mead",
            bounds=[(-16, 16)] * 2,
            options={"xatol": 1e-7, "fatol": 1e-11, "maxiter": 4000},
        )
        for start in [(0, 0), (4, 0), (0, 4), (-4, 4)]
    ]
    return -min(one.fun for one in found)


def fixed_point(f, y, steps=2000):
    """Algorithm 1 of the paper, by its own formulas."""
    alpha = beta = 1.0
    squares = np.linalg.eigvalsh(f.T @ f).clip(0)
    for _ in range(steps):
        m = beta * np.linalg.solve(alpha * np.eye(f.shape[1]) + beta * f.T @ f, f.T @ y)
        gamma = (beta * squares / (alpha + beta * squares)).sum()
        alpha, beta = gamma / (m @ m), (len(y) - gamma) / np.square(f @ m - y).sum()
    return evidence(f, y, alpha, beta) / len(y)


def linear(n, d, noise, seed=0, classes=None):
    """Features and a target that they tell up to noise."""
    rng = np.random.default_rng(seed)
    f = rng.normal(size=(n, d)) * rng.uniform(0.2, 3, d) + rng.normal(size=d)
    score = f @ rng.normal(size=(d, classes or 1)) + noise * rng.normal(size=(n, classes or 1))
    return f, score.argmax(axis=1) if classes else score[:, 0]


@pytest.mark.parametrize(("n", "d"), [(60, 5), (30, 12), (12, 30)])
@pytest.mark.parametrize("noise", [0.5, 5.0])
def test_of_a_number_it_is_the_evidence_at_its_maximum(n, d, noise):
    f, y = linear(n, d, noise)
    standard = (y - y.mean()) / y.std()
    assert logme(f, y) == pytest.approx(climbed(f, standard), abs=1e-4)


def test_of_classes_it_is_the_mean_over_one_column_a_class():
    f, y = linear(50, 6, 1.0, classes=3)
    assert logme(f, y) == pytest.approx(np.mean([climbed(f, (y == k).astype(float)) for k in range(3)]), abs=1e-4)


def test_of_labels_it_is_the_mean_over_the_labels_that_vary():
    f, y = linear(50, 6, 1.0, classes=3)
    labels = np.stack([y == 0, y != 1, np.ones(50), np.zeros(50)], axis=1).astype(np.float32)
    wanted = np.mean([climbed(f, labels[:, k].astype(float)) for k in range(2)])
    assert logme(f, labels) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_the_fixed_point_of_the_paper_arrives_at_the_same_value(seed):
    f, y = linear(80, 10, 2.0, seed)
    assert logme(f, y) == pytest.approx(fixed_point(f, (y - y.mean()) / y.std()), abs=1e-6)


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.sampled_from([(20, 3), (20, 20), (8, 40)]), st.floats(-4, 4))
def test_no_precisions_give_more_evidence(seed, shape, power):
    f, y = linear(*shape, 1.0, seed)
    standard = (y - y.mean()) / y.std()
    rng = np.random.default_rng(seed)
    alpha, beta = 10.0**power, 10 ** rng.uniform(-4, 4)
    assert logme(f, y) >= evidence(f, standard, alpha, beta) / len(y) - 1e-6


@settings(max_examples=50)
@given(st.floats(1e-3, 1e3), st.integers(0, 100))
def test_neither_the_scale_of_features_nor_the_unit_of_a_number_nor_the_order_matters(scale, seed):
    f, y = linear(30, 8, 1.0, seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(30)
    turned = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    assert logme((scale * f @ turned)[order], (7 * y - 3)[order]) == pytest.approx(logme(f, y), abs=1e-6)


def test_features_that_tell_more_get_more():
    f, y = linear(200, 10, 0.3, classes=4)
    rng = np.random.default_rng(1)
    noisy, unrelated = f + 2 * rng.normal(size=f.shape), rng.normal(size=f.shape)
    assert logme(f, y) > logme(noisy, y) > logme(unrelated, y)


def test_more_features_without_meaning_are_worth_nothing():
    f, y = linear(60, 5, 1.0, classes=2)
    wide = np.concatenate([f, 3 * np.random.default_rng(2).normal(size=(60, 200))], axis=1)
    assert logme(wide, y) < logme(f, y)


def test_silent_features_are_as_good_as_none():
    y = np.arange(20) % 2
    expected = -0.5 * math.log(2 * math.pi * 0.5) - 0.5
    assert logme(np.zeros((20, 4)), y) == pytest.approx(expected)


def test_features_that_repeat_each_other_or_tell_everything_stay_finite():
    y = np.arange(20) % 2
    exact = np.repeat(np.stack([y, 1 - y], axis=1).astype(float), 3, axis=1)
    assert np.isfinite(logme(exact, y)) and logme(exact, y) > 1


@pytest.mark.parametrize("target", [np.zeros(6, np.int64), np.ones((6, 2)), np.full(6, 0.1), np.zeros((0, 2))])
def test_of_targets_that_are_all_the_same_nothing_can_be_said(target):
    assert math.isnan(logme(np.ones((len(target), 3)), target))
