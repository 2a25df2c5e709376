"""The winner's expected score against its true one, simulated.

    python -m studies.selection [--quick]

Configs with known true accuracies predict samples of a shared difficulty (correlation 0.7 between
configs, as trials of one search have). The one with the best score is chosen, as a search does; its
score, and the corrected one, are compared with its true accuracy. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from autotl.metrics import METRICS, wilson_interval
from autotl.recommend.selection import selected_score

SAMPLES = (60, 200, 800)
CONFIGS = ((3, 0.02), (10, 0.0), (10, 0.03), (40, 0.0), (40, 0.03), (40, 0.1))
"""How many, and the standard deviation of their true accuracies about 0.8."""
_CORRELATION = 0.7


def draw(
    rng: np.random.Generator, n: int, n_configs: int, spread: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """True accuracies ``(n_configs,)``, and which predictions are right ``(n_configs, n)``."""
    truth = np.clip(0.8 + spread * rng.standard_normal(n_configs), 0.05, 0.99)
    shared, own = rng.standard_normal(n), rng.standard_normal((n_configs, n))
    z = np.sqrt(_CORRELATION) * shared + np.sqrt(1 - _CORRELATION) * own
    return truth, norm.cdf(z) < truth[:, None]


def simulate(n: int, n_configs: int, spread: float, repeats: int) -> dict[str, float]:
    """Mean error in points, and how often the 95 % interval holds the truth; plain, corrected."""
    rng = np.random.default_rng([n, n_configs, round(1000 * spread)])
    labels = np.zeros(n, dtype=np.int64)
    errors: dict[str, list[float]] = {"plain": [], "corrected": []}
    covered: dict[str, list[bool]] = {"plain": [], "corrected": []}
    for repeat in range(repeats):
        truth, right = draw(rng, n, n_configs, spread)
        best = int(right.mean(axis=1).argmax())
        predictions = [np.stack([r, ~r], axis=1).astype(np.float32) for r in right]
        corrected = selected_score(METRICS["accuracy"], labels, predictions, repeat)
        for name, value in (("plain", float(right[best].mean())), ("corrected", corrected)):
            low, high = wilson_interval(value, n)
            errors[name].append(100 * (value - truth[best]))
            covered[name].append(bool(low <= truth[best] <= high))
    return {
        **{f"bias_{name}": round(float(np.mean(values)), 2) for name, values in errors.items()},
        **{f"covered_{name}": round(float(np.mean(v)), 3) for name, v in covered.items()},
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.selection")
    parser.add_argument("--quick", action="store_true", help="a tenth of the repeats")
    args = parser.parse_args(argv)
    repeats = 60 if args.quick else 600
    figures = {}
    print(
        f"{'samples':>8}{'configs':>8}{'spread':>8}   bias: plain corrected   covered: plain, corr."
    )
    for n in SAMPLES:
        for n_configs, spread in CONFIGS:
            found = simulate(n, n_configs, spread, repeats)
            figures[f"{n}/{n_configs}/{spread}"] = found
            print(
                f"{n:>8}{n_configs:>8}{spread:>8}"
                f"{found['bias_plain']:>14}{found['bias_corrected']:>10}"
                f"{found['covered_plain']:>17}{found['covered_corrected']:>8}",
                flush=True,
            )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
