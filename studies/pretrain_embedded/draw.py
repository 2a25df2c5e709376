"""The image families and their registry: every image is drawn from (seed, family, class, instance).

The same four numbers give the same pixels, whatever else has been drawn before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from studies.pretrain_embedded import (
    bands,
    fractals,
    glyphs,
    landscapes,
    materials,
    scenes,
    textures,
)
from studies.pretrain_embedded.family import Spec

VERSION = 2
"""Raise it with every change of the pictures: rendered files of other versions are not used."""

KIN = 10
"""Classes per kinship: neighbouring classes that share a generator and may be look-alikes."""


@dataclass(frozen=True)
class Family:
    """A family of procedural classes.

    Attributes:
        name: Its name, a key of `FAMILIES`.
        number: Its place in the seeds; never reused.
        draw_class: ``(rng, kin_rng) -> spec``: what a class's images have in common.
        draw_image: ``(spec, rng, size) -> (size, size, 3) uint8``: one instance.
        mirror: Whether a mirrored instance is still of its class (for the augmentation).
    """

    name: str
    number: int
    draw_class: Callable[[np.random.Generator, np.random.Generator], Spec]
    draw_image: Callable[[Spec, np.random.Generator, int], np.ndarray]
    mirror: bool


FAMILIES = {
    family.name: family
    for family in (
        Family("fractals", 1, fractals.fractals_class, fractals.fractals_image, True),
        Family("glyphs", 2, glyphs.glyphs_class, glyphs.glyphs_image, False),
        Family("textures", 3, textures.textures_class, textures.textures_image, True),
        Family("bands", 4, bands.bands_class, bands.bands_image, False),
        Family("shapes", 5, scenes.shapes_class, scenes.shapes_image, True),
        Family("objects", 6, scenes.objects_class, scenes.objects_image, True),
        Family("materials", 7, materials.materials_class, materials.materials_image, True),
        Family("landscapes", 8, landscapes.landscapes_class, landscapes.landscapes_image, True),
    )
}


def draw_class(
    family: str,
    class_index: int,
    n_images: int,
    *,
    first: int = 0,
    seed: int = 0,
    size: int = 64,
) -> np.ndarray:
    """Draws instances of one class.

    Args:
        family: A key of `FAMILIES`.
        class_index: Number of the class within its family, from 0.
        n_images: How many instances to draw.
        first: Number of the first instance; instances ``first`` ... ``first + n_images - 1``.
        seed: Seed of the whole collection.
        size: Height and width in pixels.

    Returns:
        ``(n_images, size, size, 3) uint8``.

    Raises:
        ValueError: ``family`` is unknown.
    """
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {sorted(FAMILIES)}, but got {family!r}")
    chosen = FAMILIES[family]
    spec = chosen.draw_class(
        np.random.default_rng([seed, chosen.number, class_index]),
        np.random.default_rng([seed, chosen.number, class_index // KIN, 77]),
    )
    images = np.empty((n_images, size, size, 3), np.uint8)
    for i in range(n_images):
        rng = np.random.default_rng([seed, chosen.number, class_index, 1, first + i])
        images[i] = chosen.draw_image(spec, rng, size)
    return images
