"""A picture as a bag of its corners: what is left of it when it is turned, cut and lit otherwise.

The corners of all pictures are told apart into a few words, and a picture is the sum of what its corners differ by
from their words (VLAD, Jégou et al. 2010). Networks are trained to see what kind a thing is; among X-rays or lesions,
all of one kind, they miss copies that a bag of corners finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WORDS = 32
AXES = 32
ROUNDS = 10
LEARNT_FROM = 50_000
"""Descriptors that the words are learnt from, drawn at random."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """A vocabulary of corners.

    Args:
        middle: (128,) the mean of all descriptors.
        axes: (128, A) their main directions.
        centres: (W, A) the words.
    """

    middle: np.ndarray
    axes: np.ndarray
    centres: np.ndarray

    @classmethod
    def learn(cls, descriptors: Sequence[np.ndarray]) -> Words | None:
        """Learns the words of some pictures, (n, 128) uint8 each; None where they have too few corners for it."""
        every = _rooted(np.concatenate([np.zeros((0, 128), np.uint8), *descriptors]))
        if len(every) < 4 * WORDS:
            return None
        rng = np.random.default_rng(0)
        some = every[rng.permutation(len(every))[:LEARNT_FROM]]
        middle = some.mean(axis=0)
        axes = np.linalg.eigh(np.cov((some - middle).T))[1][:, ::-1][:, :AXES].astype(np.float32)
        reduced = (some - middle) @ axes
        centres = reduced[rng.permutation(len(reduced))[:WORDS]]
        for _ in range(ROUNDS):  # k-means
            word = _nearest(reduced, centres)
            known = np.unique(word)
            centres[known] = np.stack([reduced[word == number].mean(axis=0) for number in known])
        return cls(middle=middle, axes=axes, centres=centres)

    def bag(self, descriptors: np.ndarray) -> np.ndarray:
        """A picture's corners, (n, 128) uint8, as one vector (W * A,) float32 of length 1, or 0 without corners."""
        reduced = (_rooted(descriptors) - self.middle) @ self.axes
        word = _nearest(reduced, self.centres)
        sums = np.zeros_like(self.centres)
        np.add.at(sums, word, reduced - self.centres[word])
        sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-6)
        whole: np.ndarray = (sums / max(float(np.linalg.norm(sums)), 1e-6)).ravel().astype(np.float32)
        return whole


def _rooted(descriptors: np.ndarray) -> np.ndarray:
    """Square roots of shares, which compare better than the numbers (Arandjelović and Zisserman 2012)."""
    numbers = descriptors.astype(np.float32)
    found: np.ndarray = np.sqrt(numbers / np.maximum(numbers.sum(axis=1, keepdims=True), 1e-6))
    return found


def _nearest(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    found: np.ndarray = (vectors @ centres.T - (centres**2).sum(axis=1) / 2).argmax(axis=1)
    return found
