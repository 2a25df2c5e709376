"""Landscapes: a sky with its light, clouds and fall, over a horizon and a ground."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from studies.pretrain_embedded import canvas as cv
from studies.pretrain_embedded.family import Rng, Spec


def landscapes_class(rng: Rng, kin: Rng) -> Spec:
    """A kind of day over a kind of land; neighbouring classes share the land or the day."""
    day = kin if rng.random() < 0.4 else rng
    land = kin if rng.random() < 0.4 else rng
    top = cv.hsv(day.random(), float(day.choice([0.08, 0.3, 0.7])), day.uniform(0.25, 0.9))
    low = cv.hsv(day.random(), float(day.choice([0.05, 0.3, 0.75])), day.uniform(0.5, 1.0))
    return {
        "top": top,
        "low": low,
        "cover": day.uniform(-1.6, 1.6),
        "softness": day.uniform(0.15, 1.0),
        "roughness": day.uniform(1.1, 2.2),
        "flatness": day.uniform(1.0, 4.0),
        "cloud": float(day.choice([0.35, 0.6, 0.95])),
        "sun": float(day.choice([0.0, 0.0, 0.05, 0.1, 0.2])),
        "sun_height": day.uniform(-0.1, 0.9),
        "glow": day.uniform(0.1, 0.6),
        "haze": float(day.choice([0.0, 0.0, 0.3, 0.7])),
        "fall": str(day.choice(["none", "none", "none", "streaks", "dots", "drops"])),
        "land": str(land.choice(["plain", "hills", "towers", "water", "trees"])),
        "ground": cv.hsv(
            land.random(), float(land.choice([0.1, 0.4, 0.7])), land.uniform(0.1, 0.7)
        ),
        "horizon": land.uniform(-0.2, 0.7),
        "jags": land.uniform(0.05, 0.35),
        "grain": land.uniform(0.6, 1.8),
    }


def _skyline(spec: Spec, rng: Rng, size: int) -> np.ndarray:
    """Height of the horizon above its mean in every column, ``(size,)``, upwards."""
    x = np.linspace(-1, 1, size)
    if spec["land"] == "hills":
        waves = [rng.normal() / k * np.sin(k * 2.2 * x + rng.uniform(0, 6)) for k in range(1, 5)]
        return np.asarray(spec["jags"] * np.sum(waves, axis=0))
    if spec["land"] == "towers":
        n = int(rng.integers(5, 14))
        return np.asarray(np.repeat(rng.random(n), size // n + 1)[:size] * spec["jags"] * 2)
    if spec["land"] == "trees":
        rough = gaussian_filter(rng.standard_normal(size), 0.8)
        slow = gaussian_filter(rng.standard_normal(size), 5.0)
        return np.asarray(spec["jags"] * (0.5 * rough + 3.0 * slow))
    return np.zeros(size)


def _fall(kind: str, rng: Rng, size: int) -> np.ndarray:
    """Rain, snow or drops on the pane as a mask ``(size, size)``."""
    n = int(rng.integers(15, 60))
    places = rng.uniform(-1, 1, (n, 2))
    if kind == "streaks":
        step = np.array([rng.normal(0, 0.05), rng.uniform(0.08, 0.25)])
        return 0.5 * cv.stroke_mask([np.stack([p, p + step]) for p in places], 0.6, size)
    width = rng.uniform(1.0, 2.2) if kind == "dots" else rng.uniform(2.5, 5.0)
    short = np.array([0.0, 0.002 if kind == "dots" else 0.06])
    mask = cv.stroke_mask([np.stack([p, p + short]) for p in places], width, size)
    return mask if kind == "dots" else np.clip(mask - 0.8 * gaussian_filter(mask, 1.0), 0, 1)


def landscapes_image(spec: Spec, rng: Rng, size: int) -> np.ndarray:
    """One view: the same day and land elsewhere, a little later."""
    x, y = cv.grid(size)
    horizon = spec["horizon"] + rng.normal(0, 0.1)
    height = np.clip((horizon - y) / (1 + horizon), 0, 1)
    tint = rng.normal(0, 0.03, (2, 3))
    low, top = np.clip(spec["low"] + tint[0], 0, 1), np.clip(spec["top"] + tint[1], 0, 1)
    image = low + (top - low) * (height ** rng.uniform(0.6, 1.1))[..., None]
    sun_x, sun_y = rng.uniform(-0.8, 0.8), horizon - spec["sun_height"] + rng.normal(0, 0.08)
    away = np.hypot(x - sun_x, y - sun_y)
    if spec["sun"] > 0:
        image = image + spec["glow"] * np.exp(-2.5 * away)[..., None] * (0.4 + 0.6 * low)
        disc = np.clip((spec["sun"] - away) * size / 4 + 0.5, 0, 1)
        image = cv.blend(image, np.clip(low + 0.5, 0, 1), disc)
    radius, angle = cv.frequencies(size)
    stretched = radius * np.sqrt(np.cos(angle) ** 2 * spec["flatness"] + np.sin(angle) ** 2)
    field = cv.filtered_noise(rng, size, 1 / np.maximum(stretched, 1.0) ** spec["roughness"])
    field = (field + spec["cover"] + rng.normal(0, 0.25)) / spec["softness"]
    cloud = 1 / (1 + np.exp(-3 * np.clip(field, -6, 6)))
    image = cv.blend(
        image, spec["cloud"] * (0.7 + 0.3 * low) * (0.8 + 0.2 * cloud)[..., None], cloud
    )

    edge = horizon - _skyline(spec, rng, size)[None, :]
    land = np.clip((y - edge) * size / 2 + 0.5, 0, 1)
    if spec["land"] == "water":
        mirrored = np.clip(np.rint((2 * horizon - y + 1) * size / 2 - 0.5), 0, size - 1).astype(int)
        waves = np.rint(rng.normal(0, 1.2, (size, 1))).astype(int)
        columns = np.clip(np.arange(size)[None, :] + waves, 0, size - 1)
        ground = 0.75 * image[mirrored, columns] + 0.15 * spec["ground"]
    else:
        grain = 0.5 + 0.3 * cv.power_noise(rng, size, spec["grain"])
        ground = (spec["ground"] + rng.normal(0, 0.03, 3)) * (0.5 + grain)[..., None]
    if spec["land"] == "towers":
        lights = rng.random((size // 4, size // 4)) < rng.uniform(0.0, 0.4)
        windows = np.kron(lights, [[1, 1, 0, 0], [1, 1, 0, 0], [0] * 4, [0] * 4])
        ground = ground + rng.uniform(-0.1, 0.4) * windows[..., None] * low
    image = cv.blend(image, ground, land)
    if spec["haze"] > 0:
        haze = spec["haze"] * np.exp(-4 * np.abs(y - horizon)) + 0.3 * spec["haze"]
        image = cv.blend(image, 0.5 * low + 0.5 * low.mean(), np.clip(haze, 0, 1))
    if spec["fall"] != "none":
        image = cv.blend(image, np.clip(low + 0.25, 0, 1), _fall(spec["fall"], rng, size))
    return cv.finish(rng, image)
