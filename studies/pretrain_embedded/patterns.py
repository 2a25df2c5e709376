"""Families of flat patterns: fractals, glyphs, textures and frequency bands.

A family is a pair of functions: ``NAME_class(rng, kin) -> dict`` draws what is common to a class
(``kin`` is a generator shared by the ten neighbouring classes, so that they can be look-alikes) and
``NAME_image(spec, rng, size) -> (size, size, 3) uint8`` draws one instance of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from studies.pretrain_embedded import canvas as cv

Spec = dict[str, Any]
Rng = np.random.Generator


def class_hue(rng: Rng, chance: float) -> float | None:
    """A hue that belongs to the class with the given chance, else None (free colours)."""
    return float(rng.random()) if rng.random() < chance else None


# --- fractals: random iterated function systems -----------------------------------------------


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _random_system(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Contractions ``(k, 2, 2)`` and shifts ``(k, 2)``, singular values summing as in the paper."""
    k = int(rng.integers(2, 6))
    target = rng.uniform(0.5 * (5 + k), 0.5 * (6 + k))
    for _ in range(50):
        singular = np.sort(rng.uniform(0.1, 1.0, (k, 2)), axis=1)[:, ::-1]
        singular = np.clip(singular * target / (singular @ [1.0, 2.0]).sum(), 0, 0.93)
        if abs((singular @ [1.0, 2.0]).sum() - target) < 0.3:
            break
    maps = np.stack(
        [
            _rotation(rng.uniform(-np.pi, np.pi))
            @ np.diag(s * rng.choice([-1, 1], 2))
            @ _rotation(rng.uniform(-np.pi, np.pi))
            for s in singular
        ]
    )
    return maps, rng.uniform(-1, 1, (k, 2))


def _orbit(
    maps: np.ndarray, shifts: np.ndarray, rng: Rng, walkers: int, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Chaos game; returns points ``(n, 2)``, robustly scaled to [-1, 1], and last map ``(n,)``."""
    weight = np.abs(np.linalg.det(maps)) + 0.02
    choice = rng.choice(len(maps), (steps, walkers), p=weight / weight.sum())
    point = np.zeros((walkers, 2))
    path = np.empty((steps, walkers, 2))
    for step in range(steps):
        point = np.einsum("wij,wj->wi", maps[choice[step]], point) + shifts[choice[step]]
        path[step] = point
    burn = 12
    points, last = path[burn:].reshape(-1, 2), choice[burn:].ravel()
    low, high = np.quantile(points, [0.01, 0.99], axis=0)
    return (points - (low + high) / 2) / (max((high - low).max(), 1e-6) / 2), last


def fractals_class(rng: Rng, kin: Rng) -> Spec:
    """An iterated function system whose attractor fills a fair share of the picture.

    Singular values are drawn as in Anderson & Farrell, "Improving Fractal Pre-training", WACV 2022.
    """
    for _ in range(40):
        maps, shifts = _random_system(rng)
        points, _ = _orbit(maps, shifts, rng, 100, 30)
        if not np.isfinite(points).all():
            continue
        cells = np.clip(((points + 1) * 12).astype(int), 0, 23)
        filled = len(np.unique(cells[:, 0] * 24 + cells[:, 1])) / 576
        narrow = np.ptp(np.quantile(points, [0.02, 0.98], axis=0), axis=0).min()
        if 0.18 < filled < 0.75 and narrow > 0.7:
            break
    return {
        "maps": maps,
        "shifts": shifts,
        "rotation_deg": 180.0 if rng.random() < 0.2 else 25.0,
        "hue": class_hue(rng, 0.3),
    }


def fractals_image(spec: Spec, rng: Rng, size: int) -> np.ndarray:
    """One view of the attractor, coloured by density or by the last map applied."""
    k = len(spec["maps"])
    maps = spec["maps"] + rng.normal(0, 0.02, (k, 2, 2))
    shifts = spec["shifts"] + rng.normal(0, 0.02, (k, 2))
    points, last = _orbit(maps, shifts, rng, 260, 52)
    matrix = cv.pose(rng, rotation_deg=spec["rotation_deg"], scale=(0.65, 1.05))
    cell = ((cv.transform(points, matrix) + 1) * (size / 2)).astype(int)
    inside = ((cell >= 0) & (cell < size)).all(axis=1)
    flat, last = cell[inside, 1] * size + cell[inside, 0], last[inside]
    count = np.bincount(flat, minlength=size * size).astype(np.float32)
    density = np.log1p(count)
    density = (density / max(np.quantile(density, 0.995), 1e-6)).clip(0, 1).reshape(size, size)
    if rng.random() < 0.4:
        density = gaussian_filter(density, 0.6)
    paper = cv.background(rng, size, None if rng.random() < 0.6 else np.zeros(3, np.float32))
    mean_paper = paper.mean((0, 1))
    style = rng.random()
    if style < 0.4:
        table = np.stack([cv.contrasting(rng, mean_paper, hue=spec["hue"]) for _ in range(k)])
        share = np.stack([np.bincount(flat, last == i, minlength=size * size) for i in range(k)], 1)
        ink = (share @ table / np.maximum(count, 1)[:, None]).reshape(size, size, 3)
        return cv.finish(
            rng, cv.blend(paper, ink.astype(np.float32), density ** rng.uniform(0.25, 0.8))
        )
    if style < 0.75:
        ink = cv.apply_map(density, cv.colour_map(rng, spec["hue"]))
        return cv.finish(rng, cv.blend(paper, ink, density ** rng.uniform(0.2, 0.6)))
    ink = cv.contrasting(rng, mean_paper, 0.4, spec["hue"])
    return cv.finish(rng, cv.blend(paper, ink, density ** rng.uniform(0.3, 1.0)))


# --- glyphs: characters of a few pen strokes --------------------------------------------------

_T = np.linspace(0, 1, 18)[:, None]


def _curve(kind: str, control: np.ndarray) -> np.ndarray:
    """The pen's way ``(n, 2)``: line, Bezier curve, ellipse arc, chain of lines or spline."""
    if kind == "line":
        return control[0] + (control[1] - control[0]) * _T
    if kind == "bezier" and len(control) == 3:
        a, b, c = control
        return (1 - _T) ** 2 * a + 2 * _T * (1 - _T) * b + _T**2 * c
    if kind == "bezier":
        a, b, c, d = control
        return (1 - _T) ** 3 * a + 3 * _T * (1 - _T) ** 2 * b + 3 * _T**2 * (1 - _T) * c + _T**3 * d
    if kind == "arc":
        centre, radii, (start, sweep) = control
        angle = (start + sweep * _T) * 2 * np.pi
        return centre + np.abs(radii) * np.concatenate([np.cos(angle), np.sin(angle)], 1)
    n = len(control)
    if kind == "chain":
        at = np.linspace(0, n - 1, 8 * (n - 1) + 1)
        return np.stack([np.interp(at, np.arange(n), control[:, k]) for k in range(2)], 1)
    padded = np.concatenate(
        [2 * control[:1] - control[1:2], control, 2 * control[-1:] - control[-2:-1]]
    )
    pieces = []
    t = np.linspace(0, 1, 9)[:-1, None]
    for i in range(n - 1):  # Catmull-Rom
        p0, p1, p2, p3 = padded[i : i + 4]
        pieces.append(
            0.5
            * (
                2 * p1
                + (p2 - p0) * t
                + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
                + (3 * p1 - p0 - 3 * p2 + p3) * t**3
            )
        )
    return np.concatenate([*pieces, control[-1:]])


def _random_stroke(rng: Rng, curviness: float, lattice: int) -> tuple[str, np.ndarray]:
    axis = np.linspace(-0.75, 0.75, lattice)
    if rng.random() < 0.3:
        n = int(rng.integers(3, 7))
        way = rng.choice(axis, (1, 2))
        while len(way) < n:
            step = rng.choice(axis, 2)
            if 0.4 < np.linalg.norm(step - way[-1]) < 1.3:
                way = np.concatenate([way, step[None]])
        kind = "spline" if rng.random() < curviness else "chain"
        return kind, way + rng.normal(0, 0.05, way.shape)
    for _ in range(20):
        ends = rng.choice(axis, (2, 2)) + rng.normal(0, 0.06, (2, 2))
        if np.linalg.norm(ends[1] - ends[0]) > 0.45:
            break
    kind = rng.random()
    if kind > curviness:
        return "line", ends
    if kind < 0.3 * curviness:
        turn = np.array([rng.random(), rng.choice([-1, 1]) * rng.choice([0.5, 0.75, 1.0])])
        return "arc", np.stack([ends.mean(0) * 0.7, rng.uniform(0.12, 0.6, 2), turn])
    bend = rng.normal(0, 0.55, (1 if kind < 0.65 * curviness else 2, 2))
    inner = np.clip(ends.mean(0) + bend, -0.95, 0.95)
    return "bezier", np.concatenate([ends[:1], inner, ends[1:]])


def glyphs_class(rng: Rng, kin: Rng) -> Spec:
    """A character of an alphabet; the ten characters of an alphabet share strokes and manner."""
    curviness, lattice = float(kin.choice([0.1, 0.4, 0.7, 0.95])), int(kin.integers(3, 6))
    stock = [_random_stroke(kin, curviness, lattice) for _ in range(7)]
    n = int(rng.choice([1, 2, 2, 3, 3, 4, 5]))
    shared = rng.choice(7, min(n - 1, 1 + int(rng.random() < 0.6)), replace=False)
    strokes = [stock[i] for i in shared]
    strokes += [_random_stroke(rng, curviness, lattice) for _ in range(n - len(strokes))]
    if rng.random() < 0.2:  # a mirror-symmetric character
        strokes = [s for s in strokes if s[0] != "arc"][:2] or [_random_stroke(rng, 0.0, lattice)]
        strokes = [s for s in strokes if s[0] != "arc"]
        strokes += [(kind, control * [-1.0, 1.0]) for kind, control in strokes]
    dots = rng.uniform(-0.8, 0.8, (int(rng.integers(1, 4)), 2)) if rng.random() < 0.15 else None
    ink = np.concatenate([_curve(*stroke) for stroke in strokes] + ([] if dots is None else [dots]))
    low, high = ink.min(0), ink.max(0)
    return {
        "strokes": strokes,
        "dots": dots,
        "centre": (low + high) / 2,
        "scale": 0.85 / max(float((high - low).max()) / 2, 0.3),
        "rotation_deg": 14.0,
    }


def glyphs_image(spec: Spec, rng: Rng, size: int) -> np.ndarray:
    """One writing of the character: shaky hand, its own pen, paper and colours."""
    hand = rng.uniform(0.015, 0.07)
    matrix = cv.pose(rng, rotation_deg=spec["rotation_deg"], scale=(0.6, 1.05), perspective=0.03)
    strokes = []
    for kind, control in spec["strokes"]:
        moved = control + rng.normal(0, hand, control.shape) * (0.6 if kind == "arc" else 1.0)
        line = (_curve(kind, moved) - spec["centre"]) * spec["scale"] + rng.normal(0, hand * 0.6, 2)
        wobble = gaussian_filter(rng.normal(0, hand * 1.2, line.shape), (4, 0))
        strokes.append(cv.transform(line + wobble, matrix))
    if spec["dots"] is not None:
        for dot in spec["dots"]:
            at = (dot - spec["centre"]) * spec["scale"] + rng.normal(0, hand, 2)
            strokes.append(cv.transform(at + np.array([[0, 0], [0.03, 0.03]]), matrix))
    manner = rng.random()
    width = float(np.exp(rng.uniform(np.log(0.9), np.log(6.0)))) * size / 64
    if manner < 0.55:
        mask = cv.stroke_mask(strokes, width, size)
    elif manner < 0.75:
        mask = cv.stroke_mask(strokes, width * 1.3, size, nib=0.75, nib_angle=rng.uniform(0, 3.1))
    else:
        pressure = [
            np.interp(np.linspace(0, 1, len(s)), [0, 0.5, 1], rng.uniform(0.4, 1.4, 3))
            for s in strokes
        ]
        mask = cv.stroke_mask(strokes, width * 1.2, size, pressure=pressure)
    scan = rng.random()
    if scan < 0.3:  # black on white or white on black, as on a scanned form
        image = np.repeat((1 - mask if scan < 0.22 else mask)[..., None], 3, axis=2)
        return cv.finish(rng, image, clean=rng.random() < 0.7)
    paper = cv.background(rng, size, plain=0.55)
    ink = cv.contrasting(rng, paper.mean((0, 1)), 0.4)
    if rng.random() < 0.25:
        mask = mask * np.clip(0.8 + 0.3 * cv.power_noise(rng, size, 0.7), 0.25, 1)
    return cv.finish(rng, cv.blend(paper, ink, mask))


# --- textures ---------------------------------------------------------------------------------


def textures_class(rng: Rng, kin: Rng) -> Spec:
    """A surface: spectral noise, warped gratings, reaction pattern, cells or an ornament."""
    kind = str(rng.choice(["spectral", "spectral", "grating", "reaction", "cells", "ornament"]))
    n = int(rng.integers(1, 4))
    return {
        "kind": kind,
        "radius": np.exp(rng.uniform(np.log(2.5), np.log(15), n)),  # cycles per picture
        "angle": rng.uniform(0, np.pi, n),
        "bandwidth": rng.uniform(0.12, 0.6, n),
        "spread": rng.choice([0.15, 0.35, 0.8, 3.0], n),  # radians
        "weight": rng.uniform(0.3, 1.0, n),
        "exponent": rng.uniform(0.6, 2.4),
        "smooth": rng.random() < 0.3,  # spectral: 1/f noise instead of lobes
        "rule": str(rng.choice(["linear", "ridge", "threshold", "square"])),
        "warp": float(rng.choice([0.0, 0.03, 0.1, 0.2])),
        "level": rng.uniform(-0.7, 0.7),
        "cells": int(np.exp(rng.uniform(np.log(6), np.log(60)))),
        "relation": str(rng.choice(["first", "edge", "flat", "second"])),
        "regular": rng.random() < 0.4,
        "aspect": float(np.exp(rng.normal(0, 0.4))),
        "motif": rng.normal(0, 1, (3, 2, 2)),
        "group": str(rng.choice(["p1", "p2", "pmm", "p4", "pg"])),
        "rotation_deg": 180.0 if rng.random() < 0.15 else 15.0,
        "hue": class_hue(rng, 0.4),
    }


def _lobes(spec: Spec, size: int, turn: float, zoom: float) -> np.ndarray:
    radius, angle = cv.frequencies(size)
    gain = np.zeros_like(radius)
    for r, a, b, s, w in zip(
        spec["radius"],
        spec["angle"],
        spec["bandwidth"],
        spec["spread"],
        spec["weight"],
        strict=True,
    ):
        r = r / zoom
        off = np.abs((angle - a - turn + np.pi / 2) % np.pi - np.pi / 2)
        gain += w * np.exp(-(((radius - r) / (b * r)) ** 2) / 2 - (off / s) ** 2 / 2) / r
    return gain


def _rule(rule: str, field: np.ndarray, level: float) -> np.ndarray:
    if rule == "ridge":
        return 1.0 - np.clip(np.abs(field - level) / 1.2, 0, 1)
    if rule == "threshold":
        return 1.0 / (1.0 + np.exp(-8.0 * (field - level)))
    if rule == "square":
        return np.clip(field**2 / 4.0, 0, 1)
    return np.clip(0.5 + 0.28 * field, 0, 1)


def _ornament(spec: Spec, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A periodic function with the symmetries of a wallpaper group, about unit variance."""
    field = np.zeros_like(u)
    images = [(u, v)]
    if spec["group"] == "p2":
        images.append((-u, -v))
    elif spec["group"] == "pmm":
        images += [(-u, v), (u, -v), (-u, -v)]
    elif spec["group"] == "p4":
        images += [(-v, u), (-u, -v), (v, -u)]
    elif spec["group"] == "pg":
        images.append((u + np.pi, -v))
    for a, b in images:
        for order, (c, d) in enumerate(spec["motif"], start=1):
            for p, q in ((order, 0), (1, order), (order, -1)):
                field += c[0] * np.cos(p * a + q * b + c[1] * 3) * d[0]
                field += d[1] * np.sin(p * b - q * a + d[0] * 3) / order
    return (field - field.mean()) / (field.std() + 1e-6)


def _cells(spec: Spec, rng: Rng, size: int, matrix: np.ndarray) -> np.ndarray:
    n = spec["cells"]
    if spec["regular"]:
        side = int(np.ceil(np.sqrt(n) * 1.6))
        a, b = np.meshgrid(np.linspace(-1.6, 1.6, side), np.linspace(-1.6, 1.6, side))
        seeds = np.stack(
            [(a + 0.5 * (np.arange(side) % 2)[:, None] * 3.2 / side).ravel(), b.ravel()], 1
        )
        seeds += rng.normal(0, 0.25 / side, seeds.shape)
    else:
        seeds = rng.uniform(-1.5, 1.5, (int(n * 2.2) + 2, 2))
    u, v = cv.inverse_grid(size, matrix)
    du = (u.ravel()[:, None] - seeds[:, 0]) * spec["aspect"]
    dv = v.ravel()[:, None] - seeds[:, 1]
    distance = du * du + dv * dv
    two = np.sqrt(np.partition(distance, 1, axis=1)[:, :2]).reshape(size, size, 2)
    pitch = 2.0 / np.sqrt(n)
    if spec["relation"] == "edge":
        return np.clip((two[..., 1] - two[..., 0]) / (0.35 * pitch), 0, 1)
    if spec["relation"] == "second":
        return np.clip(two[..., 1] / pitch, 0, 1)
    if spec["relation"] == "flat":
        nearest = distance.argmin(axis=1).reshape(size, size)
        return rng.random(len(seeds))[nearest] * np.clip(
            (two[..., 1] - two[..., 0]) / (0.1 * pitch), 0.2, 1
        )
    return np.clip(two[..., 0] / (0.75 * pitch), 0, 1)


def texture_field(spec: Spec, rng: Rng, size: int) -> np.ndarray:
    """One instance of the surface, before colouring; ``(size, size)`` in [0, 1]."""
    matrix = cv.pose(rng, rotation_deg=spec["rotation_deg"], scale=(0.8, 1.25), shift=0.9)
    zoom = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    turn = float(np.arctan2(matrix[1, 0], matrix[0, 0]))
    kind = spec["kind"]
    if kind == "spectral":
        if spec["smooth"]:
            field = cv.power_noise(rng, size, spec["exponent"])
        else:
            field = cv.filtered_noise(rng, size, _lobes(spec, size, turn, zoom) + 1e-4)
        return _rule(spec["rule"], field, spec["level"])
    if kind == "reaction":
        gain = _lobes({**spec, "spread": np.maximum(spec["spread"], 0.35)}, size, turn, zoom)
        gain = gain / gain.max()
        field = cv.filtered_noise(rng, size, gain)
        for _ in range(4):
            field = np.tanh(3.0 * (field + 0.5 * spec["level"]))
            field = np.fft.ifft2(np.fft.fft2(field) * gain).real
            field = (field - field.mean()) / (field.std() + 1e-6)
        return 0.5 + 0.5 * np.tanh(2.5 * (field + spec["level"]))
    if kind == "cells":
        return _cells(spec, rng, size, matrix)
    u, v = cv.inverse_grid(size, matrix)
    if spec["warp"] > 0:
        u = u + spec["warp"] * cv.power_noise(rng, size, 2.5)
        v = v + spec["warp"] * cv.power_noise(rng, size, 2.5)
    if kind == "ornament":
        pitch = np.pi * np.clip(spec["radius"][0] * 0.45, 1.0, 4.5)
        return _rule(
            spec["rule"], _ornament(spec, u * pitch * spec["aspect"], v * pitch), spec["level"]
        )
    field = np.zeros_like(u)
    for r, a, w in zip(spec["radius"], spec["angle"], spec["weight"], strict=True):
        phase = rng.uniform(0, 2 * np.pi)
        field += w * np.sin(np.pi * r * (u * np.cos(a) + v * np.sin(a)) + phase)
    return _rule(spec["rule"], field / (field.std() + 1e-6), spec["level"])


def textures_image(spec: Spec, rng: Rng, size: int) -> np.ndarray:
    """One piece of the surface, with a random colour map (in the class's hue where it has one)."""
    field = texture_field(spec, rng, size)
    image = cv.apply_map(field, cv.colour_map(rng, spec["hue"]))
    if rng.random() < 0.3:
        shade = 1 + 0.15 * cv.power_noise(rng, size, 2.0)
        image = image * shade[..., None]
    return cv.finish(rng, image)


# --- bands: gliding tones, harmonics and bursts over time -------------------------------------


def bands_class(rng: Rng, kin: Rng) -> Spec:
    """A sound-like picture: 1 to 4 gliding bands, a harmonic stack, bursts of noise."""
    tracks = []
    for _ in range(int(rng.integers(1, 5))):
        start = rng.uniform(0.0, 0.6)
        tracks.append(
            {
                "time": (start, start + rng.uniform(0.25, 0.95 - start * 0.8)),
                "height": np.clip(
                    rng.uniform(0.05, 0.95) + np.cumsum(rng.normal(0, 0.16, 4)), 0.03, 0.97
                ),
                "thick": rng.uniform(0.015, 0.07),
                "loud": rng.uniform(0.5, 1.0),
            }
        )
    bursts = [
        (rng.uniform(0.05, 0.95), rng.uniform(0.02, 0.15), rng.uniform(0, 1), rng.uniform(0.1, 0.5))
        for _ in range(int(rng.choice([0, 0, 1, 1, 2])))
    ]
    return {
        "tracks": tracks,
        "bursts": bursts,
        "voiced": rng.random() < 0.65,
        "glide": rng.normal(0, 0.25),
        "beat": float(rng.choice([0, 0, 0, rng.uniform(4, 12)])),
    }


def _speckle(rng: Rng, size: int, shape: float) -> np.ndarray:
    """Positive noise of mean 1, slightly smooth along time; the larger ``shape``, the weaker."""
    return gaussian_filter(rng.gamma(shape, 1 / shape, (size, size)), (0.3, 0.8))


def bands_image(spec: Spec, rng: Rng, size: int) -> np.ndarray:
    """One utterance: own speed, pitch, voice height, loudness, noise floor and colour map."""
    x, y = cv.grid(size)
    knots = np.sort(
        np.concatenate(
            [[0, 1], np.clip(np.array([1 / 3, 2 / 3]) + rng.normal(0, 0.07, 2), 0.1, 0.9)]
        )
    )
    time = np.interp((x[0] + 1) / 2, np.linspace(0, 1, 4), knots)
    time = (time - rng.normal(0, 0.04)) * rng.uniform(0.88, 1.15)
    height = (1 - y[:, 0]) / 2 * rng.uniform(0.85, 1.18)
    pad = rng.uniform(0.3, 0.9) if rng.random() < 0.35 else None  # silence after a short utterance
    if pad is not None:
        time = time / pad
    power = np.zeros((size, size), np.float32)
    for track in spec["tracks"]:
        begin, end = np.array(track["time"]) + rng.normal(0, 0.025, 2)
        at = (time - begin) / max(end - begin, 0.05)
        centre = np.interp(at, np.linspace(0, 1, 4), track["height"] + rng.normal(0, 0.02, 4))
        edge = rng.uniform(0.03, 0.12)
        envelope = np.clip(at / edge, 0, 1) * np.clip((1 - at) / edge, 0, 1)
        thick = track["thick"] * np.exp(rng.normal(0, 0.2))
        ridge = np.exp(-(((height[:, None] - centre) / thick) ** 2) / 2)
        power += track["loud"] * np.exp(rng.normal(0, 0.2)) * ridge * envelope
    if spec["voiced"]:
        pitch = rng.uniform(0.05, 0.13) * (
            1 + spec["glide"] * (time - 0.5) + rng.normal(0, 0.1) * time
        )
        tone = height + rng.choice([0.0, 0.35]) * height**2  # some scales crowd the upper harmonics
        comb = 0.5 + 0.5 * np.cos(2 * np.pi * tone[:, None] / pitch)
        smooth = gaussian_filter(power, (4 * size / 64, 1))
        power = power * (0.35 + 0.65 * comb) + 0.35 * comb * smooth
    if spec["beat"]:
        power *= 0.4 + 0.6 * (np.sin(2 * np.pi * spec["beat"] * time + rng.uniform(0, 6)) > -0.2)
    for when, length, centre, spread in spec["bursts"]:
        along = np.exp(-(((time - when + rng.normal(0, 0.02)) / length) ** 2))
        across = np.exp(-(((height - centre) / spread) ** 2))
        power += across[:, None] * along * _speckle(rng, size, 2.0) * 0.5
    floor = rng.uniform(0.003, 0.12) * np.abs(cv.power_noise(rng, size, rng.uniform(0.2, 1.2)))
    field = np.log1p(rng.uniform(2, 25) * (power * _speckle(rng, size, rng.uniform(6, 30)) + floor))
    field = np.clip(field / max(np.quantile(field, 0.995), 1e-6), 0, 1)
    if rng.random() < 0.4:
        field = gaussian_filter(field, (rng.uniform(0, 0.7), rng.uniform(0, 1.2)))
    if pad is not None:
        field = field * (time <= 1.0)
    if rng.random() < 0.5:
        field = field if rng.random() < 0.7 else 1 - field
        return cv.finish(rng, np.repeat(field[..., None], 3, axis=2), clean=rng.random() < 0.6)
    return cv.finish(rng, cv.apply_map(field, cv.colour_map(rng)), clean=rng.random() < 0.5)
