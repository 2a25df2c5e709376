"""Glyphs: characters of a few pen strokes."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from studies.pretrain_embedded import canvas as cv
from studies.pretrain_embedded.family import Rng, Spec

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
