"""What the similarity in [0, 1] stands for: the scales in the code, and two checks of them.

The similarity of a distance is the share of known data sets that lie farther off, by a log-logistic
distribution. :func:`scales` makes the constants of :mod:`autotl.analysis.similarity`;
:func:`left_out_shares` says whether the shares are right for data sets that took no part.
:func:`chance_of_benefit` tries the other meaning that a similarity might have, the chance that
transfer pays, and says where that holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import fisk, kstest, kstwo

from autotl.analysis.landmarks import DRAWN, IMAGENET
from autotl.analysis.similarity import DistanceScale
from autotl.backbones.zoo import EMBEDDED
from studies.similarity import truth

BY_EYE = DistanceScale(0.25, 1.0)
"""What the code had before it was calibrated."""
_Z95 = 1.96


def fit_scale(distances: NDArray[np.float64]) -> DistanceScale:
    """The log-logistic distribution of greatest likelihood.

    Args:
        distances: ``(n,)``, above 0.
    """
    shape, _, half = fisk.fit(distances, floc=0.0)
    return DistanceScale(float(half), float(shape))


def known_distances() -> pd.DataFrame:
    """Those of the landmarks: a row for each kind of pictures, a column for each source domain."""
    networks = {"drawn": DRAWN.distances, "imagenet": IMAGENET.distances}
    return pd.DataFrame({name: pd.Series(dict(found)) for name, found in networks.items()})


def frechet_distances(figures: pd.DataFrame) -> pd.Series:
    """Of each data set at its greatest size, from the embedded backbone's source domain."""
    own = figures[(figures["backbone"] == EMBEDDED) & figures["frechet"].notna()]
    return own.loc[own.groupby("dataset")["n_train"].idxmax()].set_index("dataset")["frechet"]


def scales(figures: pd.DataFrame) -> dict[str, DistanceScale]:
    """The constants that the code has, from the landmarks and the Frechet distances."""
    found = {
        "channels": fit_scale(known_distances().to_numpy().ravel()),
        "frechet": fit_scale(frechet_distances(figures).to_numpy(dtype=float)),
    }
    return {
        name: DistanceScale(round(scale.half, 2), round(scale.shape, 2))
        for name, scale in found.items()
    }


def left_out_shares(known: pd.DataFrame) -> dict[str, Any]:
    """Whether a share told for a kind of pictures that took no part is right.

    If it is, the shares are spread evenly over [0, 1]: ``gap`` is the greatest difference between
    their distribution and that one (Kolmogorov), and ``critical`` what chance would exceed in 5 %
    of the cases with as many kinds. ``gain`` is by how much the mean log density of a distance is
    greater than with the scale by eye, with a 95 % interval by resampling kinds.

    Args:
        known: distances, a row for each kind, a column for each source domain.
    """
    shares, gains = [], []
    for kind in known.index:
        scale = fit_scale(known.drop(index=kind).to_numpy().ravel())
        own = known.loc[kind].to_numpy()
        shares.append(fisk.sf(own, scale.shape, scale=scale.half))
        ours = fisk.logpdf(own, scale.shape, scale=scale.half)
        gains.append((ours - fisk.logpdf(own, BY_EYE.shape, scale=BY_EYE.half)).mean())
    by_eye = fisk.sf(known.to_numpy().ravel(), BY_EYE.shape, scale=BY_EYE.half)
    low, high = _interval(np.array(gains))
    return {
        "shares": {str(kind): _round(own) for kind, own in zip(known.index, shares, strict=True)},
        "gap": _round(kstest(np.concatenate(shares), "uniform").statistic),
        "gap_by_eye": _round(kstest(by_eye, "uniform").statistic),
        "critical": _round(_kolmogorov_limit(len(known))),
        "gain": _round(np.mean(gains)),
        "gain_interval": [_round(low), _round(high)],
    }


def beyond_noise(table: pd.DataFrame, found: pd.DataFrame, backbone: str) -> pd.DataFrame:
    """Which tasks transfer from a backbone wins by more than the noise of the test set.

    Returns:
        By task: ``gain`` in points, its standard ``error`` over the test samples, both sides'
        answers compared pairwise (plain accuracy, also where the metric weighs classes), and
        ``won``: whether the gain exceeds 1.96 errors.
    """
    sides = truth.sides_of_benefit(found, backbone)
    right = truth.right_by_arm(table)
    gain = truth.benefit(found, backbone)
    errors = []
    for task in gain.index:
        transfer, scratch = (right[(*task, *side.loc[task, truth.ARM])] for side in sides)
        spread = float((transfer - scratch).std(ddof=1))
        errors.append(100.0 * spread / np.sqrt(len(transfer)))
    frame = pd.DataFrame({"gain": gain, "error": errors})
    return frame.assign(won=frame["gain"] > _Z95 * frame["error"])


def chance_of_benefit(won: pd.Series, distance: pd.Series) -> dict[str, Any] | None:
    """Logistic regression of winning on the logarithm of the distance, each data set left out.

    Compared with the other data sets' base rate. The interval of the difference resamples data
    sets, with the losses as they came out.

    Args:
        won: by task.
        distance: by task, above 0.

    Returns:
        ``brier`` and ``log_loss``, each with ``model``, ``constant``, ``difference`` and its
        ``low`` and ``high`` end, below 0 where the distance helps; ``chances`` told and what was
        ``won``, by task. None without at least three data sets of which some are won and some
        lost, each one left out.
    """
    from sklearn.linear_model import LogisticRegression

    datasets = won.index.get_level_values("dataset").to_numpy()
    happened = won.to_numpy(dtype=bool)
    logs = np.log(distance.loc[won.index].to_numpy(dtype=float))
    chance, constant = np.empty(len(won)), np.empty(len(won))
    names = np.unique(datasets)
    for name in names:
        own = datasets == name
        if len(names) < 3 or len(np.unique(happened[~own])) < 2:
            return None
        mean, spread = logs[~own].mean(), logs[~own].std()
        inputs = ((logs - mean) / spread)[:, None]
        fitted = LogisticRegression(C=1.0).fit(inputs[~own], happened[~own])
        chance[own] = fitted.predict_proba(inputs[own])[:, 1]
        constant[own] = (happened[~own].sum() + 1) / ((~own).sum() + 2)
    tasks = [f"{dataset}-{n_train}" for dataset, n_train in won.index]
    found: dict[str, Any] = {
        "n_tasks": len(won),
        "n_won": int(happened.sum()),
        "chances": {task: _round(p) for task, p in zip(tasks, chance, strict=True)},
        "won": dict(zip(tasks, happened.tolist(), strict=True)),
    }
    for name, loss in (("brier", _brier), ("log_loss", _log_loss)):
        model, plain = loss(chance, happened), loss(constant, happened)
        by_dataset = pd.Series(model - plain).groupby(datasets).mean().to_numpy()
        low, high = _interval(by_dataset)
        found[name] = {
            "model": _round(model.mean()),
            "constant": _round(plain.mean()),
            "difference": _round((model - plain).mean()),
            "low": _round(low),
            "high": _round(high),
        }
    return found


def judge(table: pd.DataFrame, found: pd.DataFrame, figures: pd.DataFrame) -> dict[str, Any]:
    """Everything that the page tells of the calibration, as plain values."""
    chances: Mapping[str, Any] = {}
    for backbone in figures["backbone"].unique():
        won = beyond_noise(table, found, backbone)["won"]
        own = figures[figures["backbone"] == backbone].set_index(truth.TASK)["distance"]
        chances = {**chances, backbone: chance_of_benefit(won, own)}
    return {
        "scales": {name: [s.half, s.shape] for name, s in scales(figures).items()},
        "channels": left_out_shares(known_distances()),
        "frechet": left_out_shares(frechet_distances(figures).to_frame()),
        "chance_of_benefit": chances,
    }


def tell(judged: Mapping[str, Any]) -> None:
    """Print it."""
    for name, (half, shape) in judged["scales"].items():
        own = judged[name]
        print(
            f"scale of the {name} distance: half {half}, shape {shape}; shares left out: gap "
            f"{own['gap']} (by eye {own['gap_by_eye']}, chance {own['critical']}); log density "
            f"{own['gain']:+} {own['gain_interval']}"
        )
    for backbone, chance in judged["chance_of_benefit"].items():
        if chance is None:
            print(f"chance that transfer from {backbone} pays: too few rows")
            continue
        print(
            f"chance that transfer from {backbone} pays, {chance['n_won']} of "
            f"{chance['n_tasks']} tasks:"
        )
        for name in ("brier", "log_loss"):
            own = chance[name]
            print(
                f"  {name:<10}{own['model']:>8} constant {own['constant']}, difference "
                f"{own['difference']} [{own['low']}, {own['high']}]"
            )


def _brier(p: NDArray[np.float64], happened: NDArray[np.bool_]) -> NDArray[np.float64]:
    loss: NDArray[np.float64] = np.square(p - happened)
    return loss


def _log_loss(p: NDArray[np.float64], happened: NDArray[np.bool_]) -> NDArray[np.float64]:
    loss: NDArray[np.float64] = -np.log(np.where(happened, p, 1.0 - p))
    return loss


def _interval(values: NDArray[np.float64], resamples: int = 2000) -> tuple[float, float]:
    """95 % of the mean of resampled values."""
    rng = np.random.default_rng(0)
    means = rng.choice(values, (resamples, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _kolmogorov_limit(n: int) -> float:
    return float(kstwo.ppf(0.95, n))


def _round(value: Any) -> Any:
    if np.ndim(value):
        return [round(float(v), 3) for v in value]
    return round(float(value), 3)
