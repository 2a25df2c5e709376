"""Which distance between channel statistics orders data sets as expected, and which is robust?"""

from __future__ import annotations

import numpy as np
from scipy.stats import kendalltau

from autotl.analysis.channels import LayerMoments


def distances(layers: list[LayerMoments]) -> dict[str, float]:
    """Mean over the layers of each measure of distance."""
    rows = []
    for one in layers:
        mean = one.mean.mean(axis=0, dtype=np.float64)
        variance = one.square.mean(axis=0, dtype=np.float64) - mean**2 + one.eps
        source = one.source_variance + one.eps
        w2 = (mean**2 + (np.sqrt(variance) - np.sqrt(source)) ** 2) / source
        kl = 0.5 * ((variance + mean**2) / source + (source + mean**2) / variance) - 1
        hellinger = 1 - np.sqrt(2 * np.sqrt(source * variance) / (source + variance)) * np.exp(
            -(mean**2) / (4 * (source + variance))
        )
        rows.append(
            {
                "W2, mean": w2.mean(),
                "W2, median": np.median(w2),
                "W2, trimmed 10 %": np.sort(w2)[: int(np.ceil(0.9 * len(w2)))].mean(),
                "W2, by variance": (w2 * source).sum() / source.sum(),
                "symmetric KL, mean": kl.mean(),
                "symmetric KL, median": np.median(kl),
                "Hellinger, mean": hellinger.mean(),
            }
        )
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def order_agreement(values: list[float]) -> float:
    """Kendall's correlation with ascending order."""
    return float(kendalltau(range(len(values)), values).statistic)
