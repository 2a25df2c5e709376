"""Fractals: random iterated function systems."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from studies.pretrain_embedded import canvas as cv
from studies.pretrain_embedded.family import Rng, Spec, class_hue


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
