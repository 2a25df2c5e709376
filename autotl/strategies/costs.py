"""What a training will take, before it begins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autotl.strategies.augment import View
from autotl.strategies.base import Task
from autotl.strategies.passes import distinct, stored_views
from autotl.strategies.training import TrainingConfig


def training_cost(
    config: TrainingConfig, task: Task, freeze_depth: int = 0, end_depth: int | None = None
) -> float:
    """Seconds of training and validation on all folds, less what the store holds already.

    Args:
        config: of the training.
        task: the task.
        freeze_depth: stages below it are frozen.
        end_depth: stages from it on are left out; None: none.
    """
    speed = task.speeds[config.backbone]
    below_s, above_s = speed.forward_to[freeze_depth], speed.train_from[freeze_depth]
    forward_s = speed.forward_to[-1 if end_depth is None else end_depth]
    if end_depth is not None:
        above_s -= speed.train_from[end_depth] - speed.train_from[-1]
    seconds = 0.0
    for fold in task.folds:
        seconds += config.epochs * len(fold.train) * above_s
        seconds += config.epochs * len(fold.validation) * (forward_s - below_s)
    return seconds + below_s * (_n_passed(config, task, freeze_depth) if freeze_depth else 0.0)


def _n_passed(config: TrainingConfig, task: Task, freeze_depth: int) -> float:
    """Pictures that must pass through the frozen stages, as often as they must, in all folds."""
    trained = [fold.train for fold in task.folds]
    validated = [fold.validation for fold in task.folds]
    shown: dict[View | None, NDArray[np.int64]] = {}
    n_passed = 0.0
    views = stored_views(config, freeze_depth, task)
    if views == [None]:
        shown[None] = distinct([*trained, *validated], task)
    else:
        shown[None] = distinct(validated, task)
        shown |= dict.fromkeys(views or (), distinct(trained, task))
    if views is None:
        n_passed += config.epochs * sum(map(len, trained))
    backbone = task.backbones[config.backbone]
    for view, samples in shown.items():
        held = task.store.held_share(backbone, freeze_depth, samples, view)
        n_passed += len(samples) * (1.0 - held)
    return n_passed
