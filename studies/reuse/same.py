"""Trials give the same predictions with the store and without it."""

from __future__ import annotations

from typing import Any

import numpy as np

from autotl.analysis.profile import DatasetProfile
from autotl.strategies import STRATEGIES
from autotl.strategies.base import DivergedError, SilentReporter, Task, TrialResult
from studies.reuse.problem import in_precision, keeping, keeping_nothing
from studies.reuse.sampled import sampled_configs


def compare(task: Task, profile: DatasetProfile, n_trials: int, max_epochs: int) -> dict[str, Any]:
    """The greatest difference of a validation logit over all trials, by precision.

    Args:
        task: the problem; its store isn't used.
        profile: of the data set.
        n_trials: how many.
        max_epochs: of each.
    """
    configs = sampled_configs(profile, n_trials, 0, max_epochs=max_epochs)
    found: dict[str, Any] = {"n_trials": len(configs)}
    for precision in dict.fromkeys(("fp32", *(s.precision for s in task.speeds.values()))):
        own = in_precision(task, precision)
        kept = keeping(own)
        differences = []
        for name, config in configs:
            on, off = _run(name, config, kept), _run(name, config, keeping_nothing(own))
            differences.append(_difference(on, off))
            print(f"  {precision} {name:<11} greatest difference {differences[-1]:.1e}", flush=True)
        found[precision] = {
            "identical": int(sum(difference == 0 for difference in differences)),
            "greatest_logit_difference": float(max(differences)),
        }
    return found


def _run(name: str, config: Any, task: Task) -> TrialResult | None:
    try:
        return STRATEGIES[name].run(config, task, SilentReporter())
    except DivergedError:
        return None


def _difference(on: TrialResult | None, off: TrialResult | None) -> float:
    """Of the logits, up to the constant that a softmax doesn't see."""
    if on is None or off is None:
        return 0.0 if on is off else float("inf")
    if np.array_equal(on.probabilities, off.probabilities):
        return 0.0
    a, b = (np.log(np.maximum(r.probabilities, 1e-30)) for r in (on, off))
    return float(np.abs((a - a.mean(1, keepdims=True)) - (b - b.mean(1, keepdims=True))).max())
