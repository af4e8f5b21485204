"""How weights change: the lecture's Hebb rule, the delta rule, and backpropagation written out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LOGIC = {
    "AND": np.array([0.0, 0, 0, 1]),
    "OR": np.array([0.0, 1, 1, 1]),
    "XOR": np.array([0.0, 1, 1, 0]),
}
"""What a unit with two inputs should answer to (0, 0), (0, 1), (1, 0) and (1, 1)."""

INPUTS = np.array([[0.0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
"""The two inputs, and one that is always 1, whose weight is the threshold."""


def step(total: np.ndarray | float) -> np.ndarray:
    """Heaviside's step. At 0, where the lecture leaves it open, the unit is silent."""
    return np.asarray(np.asarray(total) > 0, float)


def logistic(total: np.ndarray) -> np.ndarray:
    """From 0 to 1, 1/2 at 0."""
    return np.asarray(1 / (1 + np.exp(-total)))


ACTIVATIONS = {
    "step": step,
    "logistic": logistic,
    "tanh": np.tanh,
    "ReLU": lambda total: np.maximum(total, 0.0),
}


def hebb(inputs: np.ndarray, target: np.ndarray, *, passes: int) -> tuple[np.ndarray, list[int]]:
    """Hebb's rule as the lecture gives it: only where the answer is wrong, weights of inputs that were 1 change by 1.

    That is Rosenblatt's correction for the perceptron (1958). Hebb himself has weights grow where both sides are
    active. It ends if one line separates the answers, and never for XOR.

    Args:
        inputs: (N, D) of 0 and 1, one column of which is always 1.
        target: (N,) of 0 and 1.
        passes: Through the examples at most.

    Returns:
        The weights (D,), and how many answers were wrong in each pass, up to the first without any.
    """
    weights, wrong = np.zeros(inputs.shape[1]), []
    for _ in range(passes):
        errors = 0
        for example, wanted in zip(inputs, target, strict=True):
            miss = float(wanted - step(example @ weights))
            weights += miss * example
            errors += miss != 0
        wrong.append(errors)
        if not errors:
            break
    return weights, wrong


def delta(inputs: np.ndarray, target: np.ndarray, *, rate: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The delta rule of Widrow and Hoff (1960): a linear unit goes down its squared error.

    The error is half the SUM over examples, as in the lecture; with a mean the rate would be N times as large.

    Args:
        inputs: (N, D).
        target: (N,).
        rate: Of a step; above 2 / `steepest(inputs)` it diverges.
        steps: How many.

    Returns:
        The weights (D,), and the distance from the least squares solution before each step and at the end (steps + 1,).
    """
    best = np.linalg.lstsq(inputs, target, rcond=None)[0]
    weights = np.zeros(inputs.shape[1])
    apart = [np.linalg.norm(weights - best)]
    for _ in range(steps):
        weights = weights + rate * inputs.T @ (target - inputs @ weights)
        apart.append(np.linalg.norm(weights - best))
    return weights, np.array(apart)


def steepest(inputs: np.ndarray) -> float:
    """The largest curvature of half the summed squared error of (N, D) inputs: the largest eigenvalue of X'X."""
    return float(np.linalg.eigvalsh(inputs.T @ inputs)[-1])


@dataclass(frozen=True, kw_only=True)
class TwoLayers:
    """Two layers of weights: tanh(x A) B, whose error is half the summed square.

    Args:
        first: (D, H).
        second: (H, K).
    """

    first: np.ndarray
    second: np.ndarray

    def error(self, inputs: np.ndarray, target: np.ndarray) -> float:
        """Half the summed squared distance of the answers to (N, D) inputs from (N, K) targets."""
        return float(0.5 * np.square(np.tanh(inputs @ self.first) @ self.second - target).sum())

    def backpropagation(self, inputs: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The error's gradient by the chain rule, from the last layer back: (D, H) and (H, K)."""
        hidden = np.tanh(inputs @ self.first)
        miss = hidden @ self.second - target
        blame = miss @ self.second.T * (1 - hidden**2)
        return inputs.T @ blame, hidden.T @ miss

    def differences(self, inputs: np.ndarray, target: np.ndarray, *, by: float) -> tuple[np.ndarray, np.ndarray]:
        """The same by moving each weight a little to both sides.

        Args:
            inputs: (N, D).
            target: (N, K).
            by: How far. The error falls with its square, until rounding takes over.
        """
        gradients = []
        for name in ("first", "second"):
            weights = getattr(self, name)
            slopes = np.zeros_like(weights)
            for place in np.ndindex(weights.shape):
                moved = [weights.copy(), weights.copy()]
                moved[0][place] += by
                moved[1][place] -= by
                up, down = (
                    TwoLayers(**{"first": self.first, "second": self.second, name: one}).error(inputs, target)
                    for one in moved
                )
                slopes[place] = (up - down) / (2 * by)
            gradients.append(slopes)
        return gradients[0], gradients[1]
