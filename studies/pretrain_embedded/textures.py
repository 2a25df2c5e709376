"""Textures: random spectra, ornaments and cells."""

from __future__ import annotations

import numpy as np

from studies.pretrain_embedded import canvas as cv
from studies.pretrain_embedded.family import Rng, Spec, class_hue


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
