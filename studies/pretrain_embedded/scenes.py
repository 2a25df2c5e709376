"""Families of pictured things: scattered shapes, and objects on a ground.

The same pair of functions per family as in `patterns`.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from studies.pretrain_embedded import canvas as cv
from studies.pretrain_embedded.family import Rng, Spec, class_hue
from studies.pretrain_embedded.textures import texture_field, textures_class

# --- shapes: arrangements of simple figures ---------------------------------------------------

KINDS = ("ellipse", "polygon", "star", "ring", "cross", "crescent", "bar", "petal", "arrow", "blob")
ARRANGEMENTS = ("free", "grid", "circle", "line", "cluster", "pile", "nested", "spiral")


def figure(kind: str, n_corners: int, aspect: float, roughness: np.ndarray) -> np.ndarray:
    """The outline of a simple figure of radius about 1; ``(n, 2)``.

    Args:
        kind: One of `KINDS`.
        n_corners: Corners or arms, at least 3.
        aspect: Width over height.
        roughness: Six numbers that shape the free forms; their meaning depends on the kind.
    """
    t = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    if kind == "polygon":
        t = np.linspace(0, 2 * np.pi, n_corners, endpoint=False) - np.pi / 2
        points = np.stack([np.cos(t), np.sin(t)], 1)
    elif kind == "star":
        t = np.linspace(0, 2 * np.pi, 2 * n_corners, endpoint=False) - np.pi / 2
        radius = np.where(np.arange(2 * n_corners) % 2, 0.3 + 0.3 * abs(roughness[0]) % 0.4, 1.0)
        points = np.stack([radius * np.cos(t), radius * np.sin(t)], 1)
    elif kind == "cross":
        w = 0.2 + 0.2 * (abs(roughness[0]) % 1)
        quarter = np.array([[w, -1], [w, -w], [1, -w]])
        turn = np.array([[0.0, -1.0], [1.0, 0.0]])
        points = np.concatenate([quarter @ np.linalg.matrix_power(turn.T, k) for k in range(4)])
    elif kind == "crescent":
        half = np.linspace(-2.2, 2.2, 18)
        outer = np.stack([np.cos(half), np.sin(half)], 1)
        inner = np.stack([0.65 * np.cos(half) + 0.35, 0.8 * np.sin(half)], 1)
        points = np.concatenate([outer, inner[::-1]])
    elif kind == "bar":
        points = np.array([[-1, -0.22], [1, -0.22], [1, 0.22], [-1, 0.22]])
    elif kind == "petal":
        radius = 0.55 + 0.45 * np.cos(n_corners * t)
        points = np.stack([radius * np.cos(t), radius * np.sin(t)], 1)
    elif kind == "arrow":
        w = 0.15 + 0.2 * (abs(roughness[1]) % 1)
        points = np.array([[-1, -w], [0.1, -w], [0.1, -0.7], [1, 0], [0.1, 0.7], [0.1, w], [-1, w]])
    elif kind == "blob":
        radius = np.ones(36)
        for k, r in enumerate(roughness[:5], start=2):
            radius += 0.35 * r / k * 2 * np.cos(k * t + 7 * r)
        points = np.clip(radius, 0.3, 1.8)[:, None] * np.stack([np.cos(t), np.sin(t)], 1)
    else:  # ellipse and ring
        points = np.stack([np.cos(t), np.sin(t)], 1)
    return points * np.array([np.sqrt(aspect), 1 / np.sqrt(aspect)])


def shapes_class(rng: Rng, kin: Rng) -> Spec:
    """One or two kinds of figures, their number, sizes, arrangement, dress and turning."""
    members = []
    for _ in range(1 + int(rng.random() < 0.5)):
        members.append(
            {
                "kind": str(rng.choice(KINDS)),
                "n_corners": int(rng.integers(3, 8)),
                "aspect": float(np.exp(rng.normal(0, 0.45))),
                "roughness": rng.normal(0, 1, 6),
                "dress": str(rng.choice(["solid", "solid", "outline", "shaded", "two-tone"])),
                "hue": class_hue(rng, 0.35),
                "angle": rng.uniform(0, 2 * np.pi),
            }
        )
    count = int(np.exp(rng.uniform(np.log(2), np.log(28))))
    return {
        "members": members,
        "count": count,
        "radius": float(np.clip(rng.uniform(0.35, 0.75) / np.sqrt(count) * 1.3, 0.07, 0.5)),
        "spread": float(rng.choice([0.05, 0.35])),
        "arrangement": str(rng.choice(ARRANGEMENTS)),
        "columns": int(rng.integers(2, 6)),
        "turning": str(rng.choice(["fixed", "fixed", "radial", "free"])),
    }


def _places(spec: Spec, rng: Rng, count: int) -> np.ndarray:
    """Centres ``(count, 2)`` of the figures."""
    i = np.arange(count)
    kind = spec["arrangement"]
    if kind == "grid":
        columns = min(spec["columns"], count)
        rows = int(np.ceil(count / columns))
        places = (
            np.stack([(i % columns + 0.5) / columns, (i // columns + 0.5) / rows], 1) * 1.8 - 0.9
        )
    elif kind == "circle":
        angle = 2 * np.pi * i / count
        places = 0.7 * np.stack([np.cos(angle), np.sin(angle)], 1)
    elif kind == "line":
        places = np.stack([np.linspace(-0.85, 0.85, count), np.zeros(count)], 1)
    elif kind == "spiral":
        angle = 2.4 * i
        places = (
            0.85 * np.sqrt((i + 0.5) / count)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        )
    elif kind == "cluster":
        heart = rng.uniform(-0.5, 0.5, (2, 2))
        places = heart[i % 2] + rng.normal(0, 0.22, (count, 2))
    elif kind == "pile":
        places = np.stack([rng.normal(0, 0.4, count), 0.85 - 0.9 * rng.random(count) ** 1.5], 1)
    elif kind == "nested":
        places = np.zeros((count, 2))
    else:
        places = rng.uniform(-0.9, 0.9, (count, 2))
    return places + rng.normal(0, 0.03, (count, 2))


def shapes_image(spec: Spec, rng: Rng, size: int) -> np.ndarray:
    """One throw of the figures on a ground, later ones over earlier ones."""
    image = cv.background(rng, size)
    ground = image.mean((0, 1))
    count = max(2, round(spec["count"] * rng.uniform(0.8, 1.25)))
    nested = spec["arrangement"] == "nested"
    count = min(count, 7) if nested else count
    places = _places(spec, rng, count)
    matrix = cv.pose(rng, rotation_deg=20, scale=(0.8, 1.1), shift=0.1)
    inks = [
        [cv.contrasting(rng, ground, 0.22, m["hue"]) for _ in range(2)] for m in spec["members"]
    ]
    light = rng.uniform(0, 2 * np.pi)
    shadow = rng.random() < 0.35
    big = spec["radius"] * rng.uniform(0.85, 1.2)
    for i in range(count):
        j = i % len(spec["members"])
        member = spec["members"][j]
        radius = big * np.exp(rng.normal(0, spec["spread"]))
        if nested:
            radius = 0.85 * (1 - i / count)
        angle = member["angle"] + rng.normal(0, 0.08)
        if spec["turning"] == "free":
            angle = rng.uniform(0, 2 * np.pi)
        elif spec["turning"] == "radial":
            angle += np.arctan2(places[i, 1], places[i, 0])
        c, s = np.cos(angle), np.sin(angle)
        outline = figure(member["kind"], member["n_corners"], member["aspect"], member["roughness"])
        points = cv.transform(radius * outline @ np.array([[c, s], [-s, c]]) + places[i], matrix)
        mask = cv.polygon_mask(points, size, 2)
        inner = cv.transform(
            0.6 * radius * outline @ np.array([[c, s], [-s, c]]) + places[i], matrix
        )
        ink = inks[j][(i + 1) % 2 if nested else int(rng.random() < 0.3)]
        if member["kind"] == "ring" or member["dress"] == "outline":
            mask = np.clip(mask - cv.polygon_mask(inner, size, 2), 0, 1)
        if shadow and not nested:
            offset = np.array([np.cos(light), np.sin(light)]) * 0.05
            dark = gaussian_filter(cv.polygon_mask(points + offset, size, 1), 0.8)
            image = cv.blend(image, image * 0.5, dark)
        image = cv.blend(image, ink, mask)
        if member["dress"] == "two-tone":
            image = cv.blend(image, inks[j][1] * 0.6, cv.polygon_mask(inner, size, 2))
        elif member["dress"] == "shaded":
            toward = inner - 0.25 * radius * np.array([np.cos(light), np.sin(light)])
            glow = gaussian_filter(cv.polygon_mask(toward, size, 1), radius * size / 10)
            image = cv.blend(image, np.clip(ink + 0.45, 0, 1), 0.8 * glow * mask)
    return cv.finish(rng, image)


# --- objects: a body of parts, dressed and lit, on a ground ------------------------------------


def _part(rng: Rng, anchor: np.ndarray, reach: float) -> Spec:
    """A limb: a tapered bar, blob or simple figure, attached at ``anchor``."""
    shape = str(rng.choice(["taper", "taper", "blob", "ellipse", "polygon"]))
    return {
        "shape": shape,
        "anchor": anchor,
        "angle": rng.uniform(0, 2 * np.pi),
        "length": reach * rng.uniform(0.5, 1.3),
        "width": (rng.uniform(0.06, 0.3), rng.uniform(0.04, 0.3)),
        "n_corners": int(rng.integers(3, 6)),
        "aspect": float(np.exp(rng.normal(0, 0.4))),
        "roughness": rng.normal(0, 1, 6),
        "slot": int(rng.random() < 0.35),
        "loose": float(rng.choice([0.06, 0.06, 0.35])),  # radians of play
    }


def objects_class(rng: Rng, kin: Rng) -> Spec:
    """A body with limbs, holes and marks, often mirror-symmetric, in two kinds of surface."""
    roughness = rng.normal(0, 1, 6)
    body = str(rng.choice(["blob", "blob", "ellipse", "polygon", "trapezoid", "trapezoid"]))
    symmetric = rng.random() < 0.6
    limbs = []
    for _ in range(int(rng.integers(0, 4))):
        angle = rng.uniform(0, 2 * np.pi)
        limbs.append(
            _part(rng, rng.uniform(0.25, 0.5) * np.array([np.cos(angle), np.sin(angle)]), 0.7)
        )
    marks = [
        _part(rng, rng.uniform(-0.35, 0.35, 2), 0.25)
        for _ in range(int(rng.choice([0, 0, 1, 1, 2])))
    ]
    return {
        "body": body,
        "aspect": float(np.exp(rng.normal(0, 0.4))),
        "taper": rng.uniform(0.4, 1.7),
        "waist": rng.normal(0, 0.15),
        "n_corners": int(rng.integers(3, 8)),
        "roughness": roughness,
        "symmetric": symmetric,
        "limbs": limbs,
        "marks": marks,
        "hole": rng.random() < 0.15,
        "surface": [textures_class(rng, kin), textures_class(rng, kin)],
        "plain": [rng.random() < 0.5, rng.random() < 0.6],
        "hue": [class_hue(rng, 0.35), class_hue(rng, 0.35)],
        "rotation_deg": 180.0 if rng.random() < 0.12 else 22.0,
    }


def _body(spec: Spec) -> np.ndarray:
    if spec["body"] == "trapezoid":
        top, bottom, waist = 0.5, 0.5 * spec["taper"], spec["waist"]
        y = np.linspace(-0.75, 0.75, 12)
        half = np.interp(y, [-0.75, 0.75], [top, bottom]) - waist * np.cos(y / 0.75 * np.pi / 2)
        half = np.maximum(half, 0.1)
        outline = np.concatenate([np.stack([half, y], 1), np.stack([-half, y], 1)[::-1]])
        return outline * np.array([np.sqrt(spec["aspect"]), 1 / np.sqrt(spec["aspect"])])
    outline = 0.6 * figure(spec["body"], spec["n_corners"], spec["aspect"], spec["roughness"])
    if spec["symmetric"] and spec["body"] == "blob":
        mirrored = 0.6 * figure("blob", 3, spec["aspect"], spec["roughness"]) * [-1.0, 1.0]
        # same angle on both sides: index k faces index n/2 - k
        n = len(outline)
        outline = (outline + mirrored[(n // 2 - np.arange(n)) % n]) / 2
    return outline


def _limb(part: Spec, rng: Rng) -> np.ndarray:
    turn = part["angle"] + rng.normal(0, part["loose"])
    length = part["length"] * np.exp(rng.normal(0, 0.08))
    if part["shape"] == "taper":
        a, b = part["width"]
        outline = np.array([[0, -a], [1, -b], [1.08, 0], [1, b], [0, a], [-0.06, 0]], float)
        outline = outline * np.array([length, 1.0])
    else:
        outline = figure(part["shape"], part["n_corners"], part["aspect"], part["roughness"])
        outline = outline * length * 0.45 + [length * 0.4, 0]
    c, s = np.cos(turn), np.sin(turn)
    return outline @ np.array([[c, s], [-s, c]]) + part["anchor"] + rng.normal(0, 0.015, 2)


def objects_image(spec: Spec, rng: Rng, size: int) -> np.ndarray:
    """One photograph-like view: ground, shadow, body and limbs with surface and shading."""
    if rng.random() < 0.3:
        field = texture_field(textures_class(rng, rng), rng, size)
        image = cv.apply_map(field, cv.colour_map(rng))
        image = (image - 0.5) * rng.uniform(0.2, 0.7) + rng.uniform(0.3, 0.7)
    else:
        image = cv.background(rng, size, plain=0.3)
    ground = image.mean((0, 1))
    matrix = cv.pose(rng, rotation_deg=spec["rotation_deg"], scale=(0.7, 1.15), shift=0.18)
    sway, phase = rng.normal(0, 0.05, 2), rng.uniform(0, 6.3, 2)

    def place(points: np.ndarray) -> np.ndarray:
        bent = points + sway * np.sin(2.5 * points[:, ::-1] + phase)
        return cv.transform(bent, matrix)

    surfaces = []
    for slot in range(2):
        ink = cv.contrasting(rng, ground, 0.2, spec["hue"][slot])
        if spec["plain"][slot]:
            surfaces.append(np.broadcast_to(ink, image.shape))
        else:
            field = texture_field(spec["surface"][slot], rng, size)
            second = np.clip(
                ink + rng.choice([-1, 1]) * rng.uniform(0.2, 0.6) + rng.normal(0, 0.1, 3), 0, 1
            )
            surfaces.append(
                ink + (second - ink).astype(np.float32) * field[..., None].astype(np.float32)
            )
    layers: list[tuple[np.ndarray, int]] = []
    for part in spec["limbs"]:
        limb = _limb(part, rng)
        layers.append((cv.polygon_mask(place(limb), size, 2), part["slot"]))
        if spec["symmetric"]:
            twin = _limb(part, rng) * [-1.0, 1.0]
            layers.append((cv.polygon_mask(place(twin), size, 2), part["slot"]))
    outline = _body(spec) * np.exp(rng.normal(0, 0.07, 2))
    body = cv.polygon_mask(place(outline), size, 3)
    if spec["hole"]:
        body = np.clip(body - cv.polygon_mask(place(outline * 0.45), size, 2), 0, 1)
    layers.append((body, 0))
    for part in spec["marks"]:
        layers.append((cv.polygon_mask(place(_limb(part, rng)), size, 2) * body, 1 - part["slot"]))
    whole = np.clip(np.max([mask for mask, _ in layers], axis=0), 0, 1)
    angle = rng.uniform(0, 2 * np.pi)
    if rng.random() < 0.5:
        dx, dy = np.rint(np.array([np.cos(angle), np.sin(angle)]) * size * 0.05).astype(int)
        dark = gaussian_filter(np.roll(whole, (dy, dx), (0, 1)), size * rng.uniform(0.01, 0.05))
        image = image * (1 - rng.uniform(0.2, 0.6) * dark[..., None])
    for mask, slot in layers:
        image = cv.blend(image, surfaces[slot], mask)
        edge = mask - gaussian_filter(mask, 1.0)
        image = image * (1 - rng.uniform(0, 0.5) * np.clip(edge, 0, 1)[..., None])
    relief = gaussian_filter(whole, size * rng.uniform(0.03, 0.1))
    gy, gx = np.gradient(relief)
    shade = (gx * np.cos(angle) + gy * np.sin(angle)) * size * rng.uniform(0.0, 0.22)
    image = image * np.clip(1 + shade * whole, 0.3, 1.7)[..., None]
    if rng.random() < 0.5:
        folds = cv.power_noise(rng, size, 1.8)
        image = image * (1 + rng.uniform(0, 0.16) * folds * whole)[..., None]
    return cv.finish(rng, image)
