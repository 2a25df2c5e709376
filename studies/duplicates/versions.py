"""Versions of a picture that near-duplicates come in."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Version = Callable[[Image.Image, np.random.Generator], Image.Image]


def saved(quality: int) -> Version:
    """Saved again as JPEG."""

    def change(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        content = io.BytesIO()
        image.save(content, "JPEG", quality=quality)
        return Image.open(content).convert(image.mode)

    return change


def resized(factor: float) -> Version:
    """Of another size."""

    def change(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        size = tuple(max(1, round(side * factor)) for side in image.size)
        return image.resize((size[0], size[1]), Image.Resampling.BICUBIC)

    return change


def cropped(share: float) -> Version:
    """That share of the width and of the height cut off, anywhere."""

    def change(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        width, height = (max(1, round(side * (1 - share))) for side in image.size)
        left = int(rng.integers(0, image.width - width + 1))
        top = int(rng.integers(0, image.height - height + 1))
        return image.crop((left, top, left + width, top + height))

    return change


def brightened(factor: float) -> Version:
    """Brighter or darker; what exceeds white is cut."""
    return lambda image, rng: ImageEnhance.Brightness(image).enhance(factor)


VERSIONS: dict[str, Version] = {
    "jpeg_30": saved(30),
    "jpeg_60": saved(60),
    "jpeg_90": saved(90),
    "half": resized(0.5),
    "double": resized(2.0),
    "mirrored": lambda image, rng: ImageOps.mirror(image),
    "crop_5": cropped(0.05),
    "crop_10": cropped(0.10),
    "crop_15": cropped(0.15),
    "mirrored_crop_10": lambda image, rng: ImageOps.mirror(cropped(0.10)(image, rng)),
    "darker": brightened(0.7),
    "brighter": brightened(1.3),
}
"""By name, with a generator for what is drawn."""
