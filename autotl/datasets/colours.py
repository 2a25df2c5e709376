"""Random palettes whose colours go together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Hue offsets in degrees, picked at random for one palette.
_HARMONIES = (
    (0, 25, -25, 180),
    (0, 180, 20, 200),
    (0, 120, 240, 30),
    (0, 150, 210, 0),
    (0, 40, 80, 220),
    (0, 90, 180, 270),
)


def oklch_to_rgb(lightness: float, chroma: float, hue_degrees: float) -> NDArray[np.float64]:
    """An OKLCH colour as sRGB, ``(3,) float64`` in 0..1; chroma is reduced until it fits sRGB.

    B. Ottosson, "A perceptual color space for image processing" (2020).
    """
    hue = np.deg2rad(hue_degrees)
    for _ in range(40):
        a, b = chroma * np.cos(hue), chroma * np.sin(hue)
        long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
        medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
        short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
        linear = np.array(
            [
                4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
                -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
                -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
            ]
        )
        if linear.min() >= 0 and linear.max() <= 1:
            break
        chroma *= 0.9
    linear = np.clip(linear, 0.0, 1.0)
    low = linear <= 0.0031308
    curve = 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    rgb: NDArray[np.float64] = np.where(low, 12.92 * linear, curve)
    return rgb


def random_palette(rng: np.random.Generator, n_colours: int = 7) -> NDArray[np.float64]:
    """A ground colour, an outline colour and accents that stand out from the ground.

    Args:
        rng: source of randomness.
        n_colours: at least 3.

    Returns:
        ``(n_colours, 3) float64`` sRGB in 0..1. Row 0 is the ground, row 1 contrasts most with it.
    """
    hue = rng.uniform(0, 360)
    harmony = _HARMONIES[rng.integers(len(_HARMONIES))]
    vivid = rng.uniform(0.7, 1.15)
    style = rng.choice(3, p=(0.4, 0.4, 0.2))
    if style == 0:  # a dark ground
        ground = oklch_to_rgb(rng.uniform(0.22, 0.36), rng.uniform(0.02, 0.09), hue)
        line = oklch_to_rgb(rng.uniform(0.92, 0.97), rng.uniform(0.01, 0.05), hue + 60)
        lightnesses = np.linspace(0.52, 0.88, n_colours - 2)
    elif style == 1:  # a light ground
        ground = oklch_to_rgb(rng.uniform(0.91, 0.97), rng.uniform(0.01, 0.05), hue)
        line = oklch_to_rgb(rng.uniform(0.22, 0.34), rng.uniform(0.03, 0.09), hue + 180)
        lightnesses = np.linspace(0.42, 0.80, n_colours - 2)
    else:  # a ground of full colour
        ground = oklch_to_rgb(rng.uniform(0.5, 0.68), rng.uniform(0.09, 0.15), hue)
        line = oklch_to_rgb(0.96 if rng.random() < 0.6 else 0.24, 0.03, hue + 60)
        n_dark = (n_colours - 2) // 2
        dark, bright = (
            np.linspace(0.3, 0.42, n_dark),
            np.linspace(0.78, 0.9, n_colours - 2 - n_dark),
        )
        lightnesses = np.concatenate([dark, bright])
    accents = []
    for lightness in rng.permutation(lightnesses):
        turn = hue + harmony[int(rng.integers(len(harmony)))] + rng.normal(0, 8)
        yellowness = max(0.0, float(np.cos(np.deg2rad(turn - 100)))) ** 2
        lifted = lightness + 0.55 * yellowness * (0.88 - lightness)  # a dark yellow is mud
        accents.append(oklch_to_rgb(lifted, vivid * rng.uniform(0.09, 0.17), turn))
    return np.array([ground, line, *accents])
