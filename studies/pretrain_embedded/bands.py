"""Bands: gliding tones, harmonics and bursts over time."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from studies.pretrain_embedded import canvas as cv
from studies.pretrain_embedded.family import Rng, Spec


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
