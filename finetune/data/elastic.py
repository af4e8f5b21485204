"""Fields that bend a picture as handwriting differs (Simard et al. 2003)."""

from __future__ import annotations

import math

import numpy as np


def field(seed: int, size: tuple[int, int], alpha: float, sigma: float) -> np.ndarray:
    """Where each pixel is taken from: noise, uniform in (-1, 1), smoothed by a Gaussian and multiplied.

    The noise goes on beyond the picture, so that the field is as strong at the rim as in the middle.

    Args:
        seed: One seed gives one field.
        size: Height and width of the picture.
        alpha: What the smoothed noise is multiplied by. The numbers are those of the paper; torchvision's and
            albumentations' own transforms scale them otherwise.
        sigma: Width of the Gaussian in pixels.

    Returns:
        (2, H, W) float32, pixels downwards and to the right.
    """
    from scipy.ndimage import gaussian_filter1d

    margin = math.ceil(4 * sigma)
    noise = np.random.default_rng(seed).uniform(-1, 1, (2, *(side + 2 * margin for side in size)))
    smooth = gaussian_filter1d(gaussian_filter1d(noise, sigma, axis=1), sigma, axis=2)
    inner = smooth[:, margin : margin + size[0], margin : margin + size[1]]
    return np.asarray(alpha * inner, np.float32)


def expected_shift(alpha: float, sigma: float) -> float:
    """Root mean square of either component of `field`: alpha / (sqrt(3) * 2 sqrt(pi) sigma).

    Uniform noise has a variance of 1/3, of which a Gaussian of this width leaves 1 / (4 pi sigma^2).
    """
    return alpha / (math.sqrt(3) * 2 * math.sqrt(math.pi) * sigma)
