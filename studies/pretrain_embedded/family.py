"""What the image families share.

A family is a pair of functions: ``NAME_class(rng, kin) -> dict`` draws what is common to a class
(``kin`` is a generator shared by the ten neighbouring classes, so that they can be look-alikes) and
``NAME_image(spec, rng, size) -> (size, size, 3) uint8`` draws one instance of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Spec = dict[str, Any]
Rng = np.random.Generator


def class_hue(rng: Rng, chance: float) -> float | None:
    """A hue that belongs to the class with the given chance, else None (free colours)."""
    return float(rng.random()) if rng.random() < chance else None
