"""Drawing tools shared by the image families: colours, noise, backgrounds, pens, poses.

Colours and images are float32 in [0, 1]; an image has shape ``(size, size, 3)``, a mask
``(size, size)``. Points have shape ``(n, 2)``, columns x (to the right) and y (downwards), in units
of half the picture: the picture is the square [-1, 1] x [-1, 1].

Every function draws its randomness from the ``rng`` that it is given and from nothing else.
"""

from __future__ import annotations

import colorsys
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@lru_cache(maxsize=8)
def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns x and y of the pixel centres, two arrays ``(size, size) float32`` in (-1, 1)."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) * (2.0 / size) - 1.0
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return x, y


@lru_cache(maxsize=8)
def frequencies(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns radius (cycles per picture) and angle (radians) of the FFT bins, ``(size, size)``."""
    f = np.fft.fftfreq(size, 1.0 / size).astype(np.float32)
    fy, fx = np.meshgrid(f, f, indexing="ij")
    return np.hypot(fx, fy), np.arctan2(fy, fx)


def filtered_noise(rng: np.random.Generator, size: int, gain: np.ndarray) -> np.ndarray:
    """White noise through a spectral gain ``(size, size)``; zero mean, unit variance."""
    noise = np.fft.fft2(rng.standard_normal((size, size)).astype(np.float32))
    field = np.fft.ifft2(noise * gain).real.astype(np.float32)
    field -= field.mean()
    return field / (field.std() + 1e-6)


def power_noise(rng: np.random.Generator, size: int, exponent: float) -> np.ndarray:
    """Isotropic 1/f**exponent noise; zero mean, unit variance, ``(size, size) float32``."""
    radius, _ = frequencies(size)
    return filtered_noise(rng, size, 1.0 / np.maximum(radius, 1.0) ** exponent)


def colour(rng: np.random.Generator, hue: float | None = None, *, grey: float = 0.2) -> np.ndarray:
    """A random RGB colour ``(3,)``, near ``hue`` (0 to 1) if given; grey with chance ``grey``."""
    if hue is None:
        h, s = rng.random(), (0.0 if rng.random() < grey else rng.random() ** 1.2)
    else:
        h, s = (hue + rng.normal(0, 0.025)) % 1.0, rng.uniform(0.45, 1.0)
    return hsv(h, s, rng.uniform(0.15, 1.0))


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """An RGB colour ``(3,)``; the hue turns at 1."""
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), np.float32)


def contrasting(
    rng: np.random.Generator, other: np.ndarray, least: float = 0.3, hue: float | None = None
) -> np.ndarray:
    """A random colour whose luminance differs from that of ``other`` by at least ``least``."""
    best, gap = other, -1.0
    for _ in range(12):
        candidate = colour(rng, hue)
        distance = abs(float((candidate - other) @ LUMA))
        if distance > gap:
            best, gap = candidate, distance
        if gap >= least:
            break
    return best


def colour_map(rng: np.random.Generator, hue: float | None = None) -> np.ndarray:
    """A colour map ``(256, 3)`` through 2 to 4 random colours, luminance rising or falling."""
    n = int(rng.integers(2, 5))
    luma = np.linspace(0.05, 0.95, n) * rng.uniform(0.7, 1.0)
    stops = []
    for i in range(n):
        c = colour(rng, None if hue is None else hue + 0.12 * rng.normal())
        stops.append(np.clip(c + (luma[i] - c @ LUMA), 0, 1))
    if rng.random() < 0.5:
        stops.reverse()
    t = np.linspace(0, n - 1, 256)
    return np.stack(
        [np.interp(t, np.arange(n), np.array(stops)[:, k]) for k in range(3)], 1
    ).astype(np.float32)


def apply_map(field: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Colours a field in [0, 1] by a map ``(256, 3)``; returns ``field.shape + (3,)``."""
    return table[np.clip(field * 255.0, 0, 255).astype(np.uint8)]


def blend(under: np.ndarray, over: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Lays ``over`` (image or colour) on ``under`` where ``mask`` ``(size, size)`` is 1."""
    return under + (over - under) * mask[..., None]


def background(
    rng: np.random.Generator, size: int, base: np.ndarray | None = None, *, plain: float = 0.35
) -> np.ndarray:
    """A random ground: plain (with chance ``plain``), gradient, cloudy, striped or cluttered."""
    base = colour(rng) if base is None else base
    ground = np.broadcast_to(base, (size, size, 3)).astype(np.float32)
    kind = rng.random()
    if kind < plain:
        return ground
    second = np.clip(base + rng.normal(0, 0.22, 3), 0, 1).astype(np.float32)
    x, y = grid(size)
    angle = rng.uniform(0, 2 * np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    rest = (kind - plain) / (1 - plain)
    if rest < 0.35:
        return blend(ground, second, np.clip(0.5 + 0.5 * along, 0, 1))
    if rest < 0.75:
        field = power_noise(rng, size, rng.uniform(0.6, 2.2))
        return blend(ground, second, np.clip(0.5 + 0.3 * field, 0, 1))
    if rest < 0.85:
        wave = np.sin(along * rng.uniform(3, 30) + rng.uniform(0, 6))
        return blend(ground, second, 0.5 + 0.5 * wave)
    for _ in range(int(rng.integers(2, 7))):
        outline = blob(rng, 24, 0.3) * rng.uniform(0.15, 0.7) + rng.uniform(-1, 1, 2)
        mask = polygon_mask(outline, size, 2)
        ground = blend(
            ground, np.clip(base + rng.normal(0, 0.25, 3), 0, 1).astype(np.float32), mask
        )
    return ground


def pose(
    rng: np.random.Generator,
    *,
    rotation_deg: float = 20.0,
    scale: tuple[float, float] = (0.75, 1.1),
    shift: float = 0.15,
    shear: float = 0.12,
    perspective: float = 0.08,
) -> np.ndarray:
    """A random plane pose as a homography ``(3, 3)``; turned by up to ± ``rotation_deg``."""
    a = np.deg2rad(rng.uniform(-rotation_deg, rotation_deg))
    s = rng.uniform(*scale)
    stretch = np.exp(rng.normal(0, shear))
    rotate = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    linear = rotate @ np.array([[s * stretch, s * rng.normal(0, shear)], [0.0, s / stretch]])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = rng.uniform(-shift, shift, 2)
    matrix[2, :2] = np.clip(rng.normal(0, perspective, 2), -0.25, 0.25)
    return matrix


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Applies a homography ``(3, 3)`` to points ``(n, 2)``."""
    moved = points @ matrix[:2, :2].T + matrix[:2, 2]
    return moved / (1.0 + points @ matrix[2, :2])[:, None]


def inverse_grid(size: int, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The object's own coordinates (u, v) at every pixel of the posed picture, ``(size, size)``."""
    x, y = grid(size)
    points = np.stack([x.ravel(), y.ravel(), np.ones(x.size, np.float32)])
    u, v, w = np.linalg.inv(matrix) @ points
    w = np.where(np.abs(w) < 1e-3, 1e-3, w)
    return (u / w).reshape(size, size), (v / w).reshape(size, size)


def polygon_mask(points: np.ndarray, size: int, supersampling: int = 3) -> np.ndarray:
    """The filled polygon of corners ``(n, 2)``, antialiased; ``(size, size) float32``."""
    big = size * supersampling
    sheet = Image.new("L", (big, big))
    ImageDraw.Draw(sheet).polygon(((points + 1) * (big / 2)).ravel().tolist(), fill=255)
    return _shrink(sheet, size)


def stroke_mask(
    strokes: list[np.ndarray],
    width: float,
    size: int,
    *,
    nib: float = 0.0,
    nib_angle: float = 0.7,
    pressure: list[np.ndarray] | None = None,
) -> np.ndarray:
    """Pen strokes as an antialiased mask ``(size, size) float32``.

    Args:
        strokes: Poly-lines, each ``(n, 2)``.
        width: Pen width in pixels of the final picture.
        size: Height and width of the final picture in pixels.
        nib: 0 for a round pen, up to 1 for a flat one.
        nib_angle: How the flat pen is held, in radians.
        pressure: Optional width factors along each stroke, ``(n,)`` each.
    """
    factor = 4
    big = size * factor
    sheet = Image.new("L", (big, big))
    draw = ImageDraw.Draw(sheet)
    for index, stroke in enumerate(strokes):
        xy = (stroke + 1) * (big / 2)
        step = np.diff(xy, axis=0)
        direction = np.arctan2(step[:, 1], step[:, 0])
        widths = width * factor * (1 - nib * (1 - np.abs(np.sin(direction - nib_angle))))
        if pressure is not None:
            widths = widths * pressure[index][:-1]
        widths = np.maximum(widths, 1.0)
        if nib == 0.0 and pressure is None:
            draw.line(xy.ravel().tolist(), fill=255, width=round(widths[0]), joint="curve")
            ends = ((xy[0], widths[0]), (xy[-1], widths[-1]))
        else:
            for a, b, w in zip(xy[:-1].tolist(), xy[1:].tolist(), widths.tolist(), strict=True):
                draw.line((*a, *b), fill=255, width=max(1, round(w)))
            ends = tuple(zip(xy[:-1], widths, strict=True))
        for (cx, cy), w in ends:
            if w > 2:
                draw.ellipse((cx - w / 2, cy - w / 2, cx + w / 2, cy + w / 2), fill=255)
    return _shrink(sheet, size)


def _shrink(sheet: Image.Image, size: int) -> np.ndarray:
    small = sheet.reduce(sheet.width // size)
    return np.asarray(small, np.float32) / 255.0


def blob(rng: np.random.Generator, n_points: int, roughness: float) -> np.ndarray:
    """A closed smooth outline ``(n_points, 2)`` of radius about 1, by random Fourier radii."""
    t = np.linspace(0, 2 * np.pi, n_points, endpoint=False)
    radius = np.ones(n_points)
    for k in range(2, 7):
        radius += roughness * rng.normal() / k * 1.5 * np.cos(k * t + rng.uniform(0, 6.3))
    radius = np.clip(radius, 0.25, 2.0)
    return np.stack([radius * np.cos(t), radius * np.sin(t)], 1)


def finish(rng: np.random.Generator, image: np.ndarray, *, clean: bool = False) -> np.ndarray:
    """The camera: light, contrast, blur and noise; returns ``(size, size, 3) uint8``.

    Args:
        rng: Source of randomness.
        image: ``(size, size, 3)`` in about [0, 1].
        clean: Leaves out blur and noise, as on a scan.
    """
    if not clean:
        size = image.shape[0]
        if rng.random() < 0.35:
            blur = rng.uniform(0.3, 1.1) * size / 64
            image = gaussian_filter(image, (blur, blur, 0))
        if rng.random() < 0.3:
            x, y = grid(size)
            gx, gy = rng.normal(0, 0.2, 2)
            image = image * (1 + gx * x + gy * y)[..., None]
        image = (image - 0.5) * rng.uniform(0.75, 1.15) + 0.5 + rng.normal(0, 0.05)
        if rng.random() < 0.5:
            image = image + rng.normal(0, rng.uniform(0.003, 0.04), image.shape)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
