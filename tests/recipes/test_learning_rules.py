from __future__ import annotations

import numpy as np
import pytest
import torch
from finetune._recipes.learning_rules.rules import ACTIVATIONS, INPUTS, LOGIC, TwoLayers, delta, hebb, steepest, step
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("name", ["AND", "OR"])
def test_hebbs_rule_of_the_lecture_learns_what_a_line_divides(name):
    weights, wrong = hebb(INPUTS, LOGIC[name], passes=50)
    assert wrong[-1] == 0 and np.array_equal(step(INPUTS @ weights), LOGIC[name])


def test_hebbs_rule_never_learns_xor():
    _, wrong = hebb(INPUTS, LOGIC["XOR"], passes=500)
    assert len(wrong) == 500 and min(wrong) > 0


def test_weights_of_silent_inputs_and_of_right_answers_stay():
    weights, _ = hebb(np.array([[1.0, 0.0]]), np.array([1.0]), passes=1)
    assert weights.tolist() == [1, 0]
    weights, wrong = hebb(np.array([[1.0, 1.0]]), np.array([0.0]), passes=3)
    assert weights.tolist() == [0, 0] and wrong == [0]


def test_the_step_is_silent_at_0():
    assert step(np.array([-1e-9, 0, 1e-9])).tolist() == [0, 0, 1]


def numbers(seed, examples=30):
    chance = np.random.default_rng(seed)
    return np.hstack([chance.normal(size=(examples, 3)), np.ones((examples, 1))]), chance.normal(size=examples)


@settings(max_examples=15)
@given(st.integers(0, 500))
def test_the_delta_rule_comes_to_least_squares(seed):
    inputs, target = numbers(seed)
    learned, apart = delta(inputs, target, rate=1 / steepest(inputs), steps=1000)
    assert np.allclose(learned, np.linalg.lstsq(inputs, target, rcond=None)[0], atol=1e-10)
    assert (np.diff(apart) <= 1e-12).all(), "each step comes nearer"


@settings(max_examples=15)
@given(st.integers(0, 500))
def test_the_delta_rule_diverges_above_2_over_the_largest_curvature_and_not_below(seed):
    inputs, target = numbers(seed)
    most = 2 / steepest(inputs)
    below = delta(inputs, target, rate=0.99 * most, steps=1500)[1]
    above = delta(inputs, target, rate=1.01 * most, steps=1500)[1]
    assert below[-1] < below[0] and above[-1] > 1e3 * above[0]


def test_the_sum_over_examples_is_meant_and_not_the_mean():
    inputs, target = numbers(3)
    twice = delta(np.vstack([inputs] * 2), np.hstack([target] * 2), rate=0.005, steps=7)[0]
    assert np.allclose(twice, delta(inputs, target, rate=0.01, steps=7)[0])


@settings(max_examples=15)
@given(st.integers(0, 500))
def test_backpropagation_is_the_slope_by_finite_differences_and_by_autograd(seed):
    chance = np.random.default_rng(seed)
    net = TwoLayers(first=chance.normal(size=(3, 4)), second=chance.normal(size=(4, 2)))
    inputs, target = chance.normal(size=(6, 3)), chance.normal(size=(6, 2))
    exact = net.backpropagation(inputs, target)
    for own, tried in zip(exact, net.differences(inputs, target, by=1e-5), strict=True):
        assert np.allclose(own, tried, rtol=1e-6, atol=1e-6)
    first, second = (torch.tensor(w, requires_grad=True) for w in (net.first, net.second))
    (0.5 * (torch.tanh(torch.tensor(inputs) @ first) @ second - torch.tensor(target)).square().sum()).backward()
    assert np.allclose(exact[0], first.grad) and np.allclose(exact[1], second.grad)


def test_activations_are_those_of_torch():
    total = np.linspace(-4, 4, 81)
    for name, theirs in (("logistic", torch.sigmoid), ("tanh", torch.tanh), ("ReLU", torch.relu)):
        assert np.allclose(ACTIVATIONS[name](total), theirs(torch.tensor(total)))
