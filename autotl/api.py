"""A fit is five steps: prepare, search, decide, refit, hand over."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autotl.candidates import scoring_s
from autotl.config import (
    DEFAULT_BUDGET_S,
    DEFAULT_OUTPUT,
    MAX_UNREADABLE,
    FitConfig,
    make_config,
)
from autotl.errors import InputError
from autotl.fitting import calibrated, costs_by_rule, read_test, refit, search
from autotl.handing_over import hand_over
from autotl.preparation import prepare
from autotl.progress import Progress
from autotl.recommend.decision import decide
from autotl.recommend.model import Recommendation
from autotl.recording import settings_of, start_run
from autotl.resuming import TEST_READ_BEFORE, EarlierPart
from autotl.runtime import Deadline
from autotl.search.budget import before_closing
from autotl.search.evidence import gather_evidence
from autotl.search.executors.ray import require_ray
from autotl.search.records import TrialStore
from autotl.search.space import refuse_outside
from autotl.workspace import Workspace


def fit(
    dataset: Any,
    *,
    label: str | None = None,
    image: str | None = None,
    group: Any = None,
    test: Any = None,
    time_budget_s: float | None = DEFAULT_BUDGET_S,
    n_trials: int | None = None,
    strategies: str | list[str] | tuple[str, ...] = "auto",
    backbones: str | list[str] | tuple[str, ...] = "auto",
    metric: str = "auto",
    prefer: str = "balanced",
    seed: int = 0,
    device: str = "auto",
    workers: int = 1,
    storage: str | None = None,
    executor: str = "local",
    ray_address: str = "auto",
    worker_cpus: float = 1.0,
    worker_gpus: float = 0.0,
    output_dir: str | Path = DEFAULT_OUTPUT,
    disk_quota_gb: float | None = None,
    disk_cache_gb: float | None = None,
    memory_cache_gb: float | None = None,
    tracking_uri: str | None = None,
    study_name: str | None = None,
    register: str | None = None,
    warm_start: bool = True,
    space: Mapping[str, Any] | None = None,
    trust_paths: bool = False,
    max_unreadable: float = MAX_UNREADABLE,
    progress: Progress | None = None,
) -> Recommendation:
    """Find out how to use a pretrained network on labelled images, and train it that way.

    Args:
        dataset: an image folder (class per sub-folder, with or without train/val/test folders); a
            CSV, TSV or Parquet file or a DataFrame with path and label columns; a pair of arrays
            ``(X uint8 (n, h, w[, c]), y)``; a torch ``Dataset`` of (picture, label); a Hugging
            Face ``Dataset``. A folder or file may be a URL that fsspec can open, such as
            ``s3://bucket/pictures``: it is copied to the cache, and the copy read.
        label: column of labels, for tables; None finds it.
        image: column of image paths, for tables; None finds it.
        group: column of groups that must stay on one side of a split, for tables; ``"parent"``
            for folders; an ``(n,)`` sequence for arrays.
        test: a test set of its own; it is read once, after the decision. None holds 20 % out.
        time_budget_s: seconds for everything, the final fit included; None: no limit.
        n_trials: at most so many trials in the study, those of earlier parts included; None: as
            many as the time allows.
        strategies: of ``bottleneck``, ``finetune``, ``scratch``; ``"auto"``: all.
        backbones: ``embedded``, timm names, ``name@/path/to/weights``; each maybe with a size of
            the pictures behind it, as ``embedded@96px``; ``"auto"``: the embedded one, and the
            hub's where it can be reached.
        metric: ``accuracy``, ``balanced_accuracy``, ``macro_f1``, ``log_loss``, ``auroc``;
            ``"auto"``: accuracy, or balanced accuracy under imbalance.
        prefer: among strategies within the noise of the best: ``accuracy`` takes the best anyway,
            ``balanced`` a clearly cheaper one (to train and to predict with) within one standard
            error, ``cheap`` within all of the noise.
        seed: of everything random.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
        workers: processes that run trials side by side; with Ray, at most so many.
        storage: URL of Optuna's storage, such as ``postgresql://user:password@host/database``:
            any number of ``autotl worker --study NAME --storage URL`` can join from machines that
            see the data (or copy them from their URL) and ``output_dir``. None: a SQLite file below
            ``output_dir``, which workers on this machine can join.
        executor: where workers run: ``"local"``, or ``"ray"`` for the nodes of a Ray cluster.
        ray_address: of the cluster; ``"auto"``: the one that this machine belongs to; ``"local"``:
            a new one on this machine.
        worker_cpus: that a worker asks Ray for.
        worker_gpus: that a worker asks Ray for; 0.5: two share a GPU.
        output_dir: everything that is written lies below it.
        disk_quota_gb: GB for everything below ``output_dir``: models of earlier fits' trials and
            the cache make room, what those fits recommend stays; if that isn't enough, an error
            says how much is. None: no limit but the cache's.
        disk_cache_gb: GB below ``output_dir`` for what later fits can use again, decoded pictures
            above all; None: a tenth of the free disk, at most 20; 0: nothing is kept on disk.
        memory_cache_gb: GB of memory for activations of frozen networks; None: a quarter of what is
            available; 0: none.
        tracking_uri: MLflow's; None: MLFLOW_TRACKING_URI, or a store below ``output_dir``.
        study_name: of the Optuna study, the MLflow run and the folder; None: from the time. A
            study of that name goes on with ``time_budget_s`` more, or, if it was killed, with what
            is left of it, and none of its trials is lost; data set, metric, strategies, backbones,
            space and seed must be the same.
        register: a name in MLflow's model registry, under which the recommended model gets a new
            version; None: it isn't registered.
        warm_start: whether to try early what did best in the fits below ``output_dir`` whose data
            sets are most similar; an equal seed then finds the same only beside equal fits.
        space: what the search may choose, by parameter: values, as in
            ``{"finetune.freeze_depth": [1, 2]}``, or a range, ``{"finetune.lr": {"low": 1e-4,
            "high": 1e-3}}``. Recipes outside of it are left out. None: all that the strategies
            allow.
        trust_paths: whether paths in a table file, and links, may lead out of the data set's
            folder. URLs in a table are never fetched.
        max_unreadable: share of the pictures, in [0, 1], that may be missing or unreadable; they
            are left out and listed. With more, the fit stops and sums up the reasons.
        progress: receives what happens.

    Returns:
        The recommendation, with the trained model.

    Raises:
        InputError: if the data set or a setting can't be used.
        BackboneUnavailableError: if a backbone that was asked for can't be had.
    """
    started = time.time()
    config: FitConfig = make_config(
        {
            **{"label": label, "image": image, "time_budget_s": time_budget_s},
            **{"n_trials": n_trials, "strategies": strategies, "backbones": backbones},
            **{"metric": metric, "prefer": prefer, "seed": seed, "device": device},
            **{"workers": workers, "output_dir": output_dir, "tracking_uri": tracking_uri},
            **{"storage": storage, "executor": executor, "ray_address": ray_address},
            **{"worker_cpus": worker_cpus, "worker_gpus": worker_gpus},
            **{"disk_quota_gb": disk_quota_gb, "disk_cache_gb": disk_cache_gb},
            "memory_cache_gb": memory_cache_gb,
            **{"study_name": study_name, "register_as": register},
            **{"warm_start": warm_start, "space": space or {}},
            **{"trust_paths": trust_paths, "max_unreadable": max_unreadable},
            **{"group": group if isinstance(group, str) else None},
        }
    )
    if config.time_budget_s is None and config.n_trials is None:
        raise InputError(
            "time_budget_s and n_trials must not both be None: the search would never end"
        )
    if config.executor == "ray":
        require_ray(dataset)
    refuse_outside(config.space, config.strategy_names)
    deadline = Deadline.after(config.time_budget_s)
    progress = progress or Progress()
    with Workspace.open(config) as place:
        earlier = EarlierPart.read(place) if place.is_resumed else None
        deadline = deadline if earlier is None else earlier.deadline(deadline)
        prepared = prepare(dataset, test, group, config, place.cache, deadline, progress, earlier)
        refuse_outside(config.space, config.strategy_names, prepared.profile)
        settings = settings_of(config, prepared, test=test, group=group)
        opening = time.monotonic()
        run = start_run(place, config, prepared, started, settings, earlier)
        scoring = scoring_s(len(prepared.test.samples), prepared.task.speeds)
        closing = before_closing(deadline, time.monotonic() - opening, scoring)
        try:
            finished, told = search(prepared, config, place, run, closing, progress)
            task, profile = prepared.task, prepared.profile
            evidence = gather_evidence(
                place.trials,
                config.strategy_names,
                config.n_trials,
                task,
                profile,
                run,
                closing,
                progress,
                interrupted=not finished,
            )
            progress.phase("decide", deadline.shown_s)
            decision = decide(
                evidence.records,
                task.labels,
                task.metric,
                profile,
                config.prefer,
                config.seed,
                repeats=evidence.repeats,
                worth=evidence.worth,
                strategies=config.strategy_names,
                groups=task.groups,
                deliverable=(
                    TrialStore(place.trials).with_models() if evidence.interrupted else None
                ),
                costs=costs_by_rule(evidence.records, task, deadline),
            )
            model, notes = refit(
                decision, task, place, closing, progress, interrupted=evidence.interrupted
            )
            notes = (*decision.notes, *told, *evidence.notes, *notes)
            if earlier is not None and earlier.test_was_read:
                notes = (*notes, TEST_READ_BEFORE)
            decision = dataclasses.replace(decision, notes=notes)
            model = calibrated(model, decision, task)
            progress.phase("test", deadline.shown_s)
            score = read_test(model, prepared)
            progress.phase("report", deadline.shown_s)
            seconds = time.time() - started + (0.0 if earlier is None else earlier.seconds)
            return hand_over(
                decision,
                evidence,
                model,
                score,
                prepared,
                config,
                place,
                run,
                seconds,
                deadline,
            )
        except BaseException as error:
            run.end("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            raise
