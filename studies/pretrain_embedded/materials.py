"""Materials: surfaces that differ by colour, gloss, relief, grain and transparency."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from studies.pretrain_embedded import canvas as cv
from studies.pretrain_embedded.family import Rng, Spec
from studies.pretrain_embedded.textures import texture_field, textures_class


def materials_class(rng: Rng, kin: Rng) -> Spec:
    """A surface; nine kin classes out of ten differ from their neighbours by a part of it only."""
    hue = kin.random()
    own = rng.random() < 0.5  # of its own hue, or of the hue of its kin
    kind = str(rng.choice(["matte", "glossy", "metal", "clear", "clear", "printed", "fibrous"]))
    return {
        "kind": kind,
        "hue": float(rng.random() if own else hue),
        "saturation": float(rng.choice([0.0, 0.12, 0.35, 0.8])),
        "value": rng.uniform(0.25, 0.95),
        "second": rng.normal(0, 0.25, 3),
        "relief": str(rng.choice(["smooth", "cloudy", "crumpled", "ribbed"])),
        "roughness": rng.uniform(1.2, 2.4),
        "depth": np.exp(rng.uniform(np.log(0.03), np.log(0.35))),
        "ribs": rng.uniform(4, 18),
        "grain": float(rng.choice([0.0, 0.02, 0.06, 0.12])),
        "grain_size": rng.uniform(0.0, 1.2),
        "gloss": {"matte": 0.05, "printed": 0.15, "fibrous": 0.0}.get(kind, rng.uniform(0.3, 0.9)),
        "hardness": np.exp(rng.uniform(np.log(6), np.log(60))),
        "clearness": rng.uniform(0.45, 0.85) if kind == "clear" else 0.0,
        "print": textures_class(rng, kin),
        "print_strength": rng.uniform(0.5, 1.0) if kind == "printed" else 0.12 * rng.random(),
        "fibre_turn": rng.uniform(0, np.pi),
    }


def _relief(spec: Spec, rng: Rng, size: int) -> np.ndarray:
    """A height field of about unit variance, ``(size, size)``."""
    if spec["relief"] == "crumpled":  # creases where random planes meet
        x, y = cv.grid(size)
        planes = rng.normal(0, 1, (9, 3))
        planes[:, 2] *= 0.8
        sheets = np.stack([a * x + b * y + c for a, b, c in planes])
        height = 1.6 * np.sort(sheets, axis=0)[[2, 5]].sum(0)
        return np.asarray(height + 0.3 * cv.power_noise(rng, size, 1.8))
    if spec["relief"] == "ribbed":
        u, _ = cv.inverse_grid(size, cv.pose(rng, rotation_deg=90))
        return np.asarray(np.sin(u * spec["ribs"]) + 0.3 * cv.power_noise(rng, size, 2.2))
    if spec["relief"] == "cloudy":
        return cv.power_noise(rng, size, spec["roughness"])
    return cv.power_noise(rng, size, 3.0)


def _outline(rng: Rng, size: int) -> np.ndarray:
    """Where the material is: everywhere, a box, a bottle or a scrap, whatever the class."""
    kind = rng.random()
    if kind < 0.35:
        return np.ones((size, size), np.float32)
    matrix = cv.pose(rng, rotation_deg=180, scale=(0.75, 1.15), shift=0.2)
    if kind < 0.6:
        side = np.array([np.exp(rng.normal(0, 0.4)), 1.0]) * 0.75
        points = side * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    elif kind < 0.8:
        neck, width = rng.uniform(0.1, 0.3), rng.uniform(0.3, 0.5)
        y = np.array([-0.95, -0.5, -0.25, 0.9])
        half = np.array([neck, neck, width, width * rng.uniform(0.75, 1.1)])
        points = np.concatenate([np.stack([half, y], 1), np.stack([-half, y], 1)[::-1]])
    else:
        points = cv.blob(rng, 36, 0.35) * 0.75
    return cv.polygon_mask(cv.transform(points, matrix), size, 3)


def materials_image(spec: Spec, rng: Rng, size: int) -> np.ndarray:
    """One piece of the material, lit from somewhere, on some ground."""
    ground = cv.background(rng, size, cv.colour(rng, grey=0.6), plain=0.4)
    mask = _outline(rng, size)
    height = _relief(spec, rng, size) + 2.5 * gaussian_filter(mask, size * 0.06)
    gy, gx = np.gradient(height)
    slope = spec["depth"] * size / 16
    gx, gy = gx * slope, gy * slope
    upright = 1.0 / np.sqrt(1.0 + gx * gx + gy * gy)
    angle, rise = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.2)
    light = np.array([np.cos(angle) * np.cos(rise), np.sin(angle) * np.cos(rise), np.sin(rise)])
    facing = np.clip((light[2] - gx * light[0] - gy * light[1]) * upright, 0, 1)
    halfway = light + np.array([0.0, 0.0, 1.0])
    halfway /= np.linalg.norm(halfway)
    mirror = np.clip((halfway[2] - gx * halfway[0] - gy * halfway[1]) * upright, 0, 1)

    value = np.clip(spec["value"] * rng.uniform(0.88, 1.12), 0.1, 1.0)
    ink = cv.hsv(spec["hue"] + rng.normal(0, 0.015), spec["saturation"], value)
    field = texture_field(spec["print"], rng, size)[..., None]
    surface = ink + spec["second"] * field * spec["print_strength"]
    if spec["kind"] == "fibrous":
        radius, turn = cv.frequencies(size)
        across = np.abs((turn - spec["fibre_turn"] + np.pi / 2) % np.pi - np.pi / 2)
        gain = np.exp(-((across / 0.25) ** 2)) / np.maximum(radius, 3.0) ** 0.4
        surface = surface + 0.09 * cv.filtered_noise(rng, size, gain)[..., None]
    if spec["kind"] == "metal":  # a blurred world of bright and dark bands in the mirror
        bands = np.sin(6 * gx + rng.uniform(0, 6)) * np.sin(5 * gy + rng.uniform(0, 6))
        surface = surface * (0.75 + 0.6 * bands)[..., None]
    lit = surface * (0.45 + 0.6 * facing)[..., None]
    if spec["clearness"] > 0:  # what lies behind, displaced by the slope
        rows, columns = np.mgrid[0:size, 0:size]
        where = [rows + 4 * gy, columns + 4 * gx]
        behind = np.stack(
            [map_coordinates(ground[..., k], where, order=1, mode="reflect") for k in range(3)], 2
        )
        rim = np.clip(mask - gaussian_filter(mask, size * 0.04), 0, 1)
        clear = spec["clearness"] * (1 - rim)[..., None]
        lit = clear * behind * (0.6 + 0.4 * ink) + (1 - clear) * lit
    lit = lit + (spec["gloss"] * mirror ** spec["hardness"])[..., None]
    if spec["grain"] > 0:
        noise = gaussian_filter(rng.standard_normal((size, size)), spec["grain_size"])
        lit = lit + (spec["grain"] * noise / noise.std())[..., None]
    if rng.random() < 0.5:
        dx, dy = np.rint(light[:2] * size * 0.06).astype(int)
        dark = gaussian_filter(np.roll(mask, (dy, dx), (0, 1)), size * rng.uniform(0.01, 0.05))
        ground = ground * (1 - rng.uniform(0.1, 0.5) * dark * (1 - spec["clearness"]))[..., None]
    return cv.finish(rng, cv.blend(ground, lit, mask))
