"""What every strategy of the registry keeps: a new one is tested by one line there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.torch import load, save

from autotl.analysis.profile import DatasetProfile
from autotl.backbones.zoo import Backbone
from autotl.data import Fold
from autotl.metrics import METRICS, all_metrics
from autotl.reuse.pixels import PixelView
from autotl.strategies import STRATEGIES, Strategy
from autotl.strategies.base import SilentReporter, StrategyConfig, Task, TrialStopped
from autotl.strategies.fitted import FittedModel

MakeTask = Callable[..., Task]
Suggest = Callable[..., StrategyConfig]

every_strategy = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=list(STRATEGIES))
WITH_EPOCHS = [s for s in STRATEGIES.values() if "epochs" in s.Config.model_fields]
seeds = pytest.mark.parametrize("seed", [0, 1, 2])


class Stopping:
    """A reporter that stops a trial at its n-th call of one kind, and keeps what it is told."""

    def __init__(self, check: int | None = None, report: int | None = None) -> None:
        self.stop_at_check = check
        self.stop_at_report = report
        self.n_checks = 0
        self.told: list[tuple[float, float]] = []

    def check(self) -> None:
        self.n_checks += 1
        if self.n_checks == self.stop_at_check:
            raise TrialStopped("deadline")

    def report(self, progress: float, score: float, metrics: Mapping[str, float]) -> None:
        assert all(isinstance(value, float) for value in metrics.values())
        self.told.append((progress, score))
        if len(self.told) == self.stop_at_report:
            raise TrialStopped("pruned")


@pytest.fixture
def suggest(make_profile: Callable[..., DatasetProfile], backbone: Backbone) -> Suggest:
    """A config that the strategy itself suggests for the tiny task: quick, drawn from a seed."""

    def suggested(strategy: Strategy, seed: int = 0) -> StrategyConfig:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        return strategy.suggest(study.ask(), make_profile(backbone.name, max_epochs=2))

    return suggested


def fit(
    strategy: Strategy,
    config: StrategyConfig,
    task: Task,
    train: NDArray[np.int64],
    validation: NDArray[np.int64] | None = None,
) -> FittedModel:
    return strategy.fit(config, task, train, validation, SilentReporter())


def test_registered_under_its_name() -> None:
    assert all(strategy.name == name for name, strategy in STRATEGIES.items())


@every_strategy
@seeds
def test_suggests_a_config_of_its_own_with_its_own_parameters(
    strategy: Strategy, seed: int, make_profile: Callable[..., DatasetProfile]
) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    config = strategy.suggest(trial, make_profile("one", "two"))
    assert type(config) is strategy.Config
    assert config.backbone in {"one", "two"}
    assert trial.params
    assert all(name.startswith(f"{strategy.name}.") for name in trial.params)
    drawn = {name.partition(".")[2] for name in trial.params}
    assert drawn <= set(type(config).model_fields)


@every_strategy
@pytest.mark.parametrize("seed", range(20))
def test_params_are_what_suggest_makes_the_config_from(
    strategy: Strategy, seed: int, make_profile: Callable[..., DatasetProfile]
) -> None:
    profile = make_profile("one", "two", max_epochs=13)
    smaller = replace(profile.backbones["two"], num_stages=3, max_epochs=5)
    profile = replace(profile, backbones=dict(profile.backbones) | {"two": smaller})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    config: Any = strategy.suggest(study.ask(), profile)
    trial = optuna.trial.FixedTrial(strategy.params(config, profile))
    assert strategy.suggest(trial, profile) == config  # type: ignore[arg-type]


@every_strategy
def test_every_candidate_backbone_is_drawn(
    strategy: Strategy, make_profile: Callable[..., DatasetProfile]
) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    profile = make_profile("one", "two", "three")
    drawn = {strategy.suggest(study.ask(), profile).backbone for _ in range(30)}
    assert drawn == {"one", "two", "three"}


@every_strategy
def test_same_draws_same_config(strategy: Strategy, suggest: Suggest) -> None:
    assert suggest(strategy, 5) == suggest(strategy, 5)
    assert any(suggest(strategy, seed) != suggest(strategy, 5) for seed in range(5))


@pytest.mark.parametrize("strategy", WITH_EPOCHS, ids=lambda strategy: strategy.name)
def test_epochs_stay_within_what_a_trial_can_afford(
    strategy: Strategy, make_profile: Callable[..., DatasetProfile]
) -> None:
    profile = make_profile("cheap", "dear", max_epochs=20)
    dear = replace(profile.backbones["dear"], max_epochs=4)
    profile = replace(profile, backbones=dict(profile.backbones) | {"dear": dear})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found: dict[str, set[int]] = {"cheap": set(), "dear": set()}
    for _ in range(60):
        config: Any = strategy.suggest(study.ask(), profile)
        found[config.backbone].add(config.epochs)
    assert min(found["cheap"]) >= 5
    assert max(found["cheap"]) <= 20
    assert len(found["cheap"]) > 5
    assert min(found["dear"]) >= 1
    assert max(found["dear"]) <= 4


@every_strategy
def test_config_is_frozen_and_strict(strategy: Strategy, suggest: Suggest) -> None:
    config = suggest(strategy)
    with pytest.raises(ValidationError, match="frozen"):
        config.backbone = "another"
    values = config.model_dump()
    with pytest.raises(ValidationError, match="nonsense"):
        strategy.Config(**values, nonsense=1)
    assert strategy.Config(**json.loads(json.dumps(values))) == config


@every_strategy
@seeds
def test_run_validates_every_sample_once(
    strategy: Strategy, seed: int, suggest: Suggest, make_task: MakeTask
) -> None:
    task = make_task(metric="log_loss" if seed else "accuracy")
    result = strategy.run(suggest(strategy, seed), task, SilentReporter())
    assert sorted(result.samples.tolist()) == list(range(60))
    assert result.probabilities.shape == (60, 3)
    assert result.probabilities.dtype == np.float32
    assert np.isfinite(result.probabilities).all()
    assert result.probabilities.min() >= 0
    np.testing.assert_allclose(result.probabilities.sum(1), 1, atol=1e-5)


@every_strategy
@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "balanced_accuracy"])
def test_score_is_the_metric_of_the_pooled_predictions(
    strategy: Strategy, metric: str, suggest: Suggest, make_task: MakeTask
) -> None:
    task = make_task(metric=metric)
    result = strategy.run(suggest(strategy), task, SilentReporter())
    labels = task.labels[result.samples]
    assert result.score == METRICS[metric].score(labels, result.probabilities)
    for name, value in all_metrics(labels, result.probabilities).items():
        assert result.metrics[name] == value
    correct = result.correct(task.labels)
    assert np.mean(correct) == pytest.approx(result.metrics["accuracy"])
    assert result.seconds > 0
    assert result.peak_bytes > 0
    assert result.n_trainable > 0


@every_strategy
def test_each_sample_is_predicted_by_the_model_of_its_fold(
    strategy: Strategy, suggest: Suggest, make_task: MakeTask
) -> None:
    task, config = make_task(), suggest(strategy)
    result = strategy.run(config, task, SilentReporter())
    place = {int(sample): row for row, sample in enumerate(result.samples)}
    for fold in task.folds:
        model = fit(strategy, config, task, fold.train, fold.validation)
        found = model.predict_proba(task.pixels(32), fold.validation, device=task.device)
        rows = [place[int(sample)] for sample in fold.validation]
        np.testing.assert_allclose(result.probabilities[rows], found, atol=1e-4)
    assert result.model is not None
    first = task.folds[0].validation
    np.testing.assert_allclose(
        result.model.predict_proba(task.pixels(32), first, device=task.device),
        result.probabilities[[place[int(sample)] for sample in first]],
        atol=1e-4,
    )


@every_strategy
@seeds
def test_same_trial_same_predictions(
    strategy: Strategy, seed: int, suggest: Suggest, make_task: MakeTask
) -> None:
    config = suggest(strategy, seed)
    first = strategy.run(config, make_task(), SilentReporter())
    torch.rand(7)  # what the process draws in between doesn't matter
    second = strategy.run(config, make_task(folder="computed-again"), SilentReporter())
    assert np.array_equal(first.probabilities, second.probabilities)


@every_strategy
def test_random_state_of_the_process_is_untouched(
    strategy: Strategy, suggest: Suggest, make_task: MakeTask, random_state: Callable[[], object]
) -> None:
    before = random_state()
    strategy.run(suggest(strategy), make_task(), SilentReporter())
    assert random_state() == before


@every_strategy
@seeds
def test_final_fit_is_saved_and_built_again(
    strategy: Strategy, seed: int, suggest: Suggest, make_task: MakeTask
) -> None:
    task = make_task()
    model = fit(strategy, suggest(strategy, seed), task, task.all_samples)
    assert model.validation_probabilities is None
    built = FittedModel.build(json.loads(json.dumps(model.as_json())), load(save(model.tensors())))
    samples = np.arange(20)
    assert np.array_equal(
        built.predict_proba(task.pixels(32), samples, device=task.device),
        model.predict_proba(task.pixels(32), samples, device=task.device),
    )


@every_strategy
@seeds
def test_samples_outside_of_training_leave_no_trace(
    strategy: Strategy,
    seed: int,
    suggest: Suggest,
    make_task: MakeTask,
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
) -> None:
    config, train = suggest(strategy, seed), np.arange(0, 90, 2)
    clean = fit(strategy, config, make_task(), train).tensors()
    poisoned_labels, poisoned_pixels = picture_labels.copy(), 255 - pictures
    poisoned_labels[1::2] = 0
    poisoned_pixels[train] = pictures[train]
    task = make_task(labels=poisoned_labels, pixels=poisoned_pixels, folder="poisoned")
    for name, value in fit(strategy, config, task, train).tensors().items():
        assert torch.equal(value, clean[name]), name


@every_strategy
def test_validation_samples_leave_no_trace(
    strategy: Strategy, suggest: Suggest, make_task: MakeTask
) -> None:
    config, task, train = suggest(strategy), make_task(), np.arange(60)
    alone = fit(strategy, config, task, train).tensors()
    watched = fit(strategy, config, task, train, np.arange(60, 90)).tensors()
    for name, value in watched.items():
        assert torch.equal(value, alone[name]), name


@every_strategy
def test_only_samples_of_the_folds_are_read(
    strategy: Strategy, suggest: Suggest, make_task: MakeTask, pictures: NDArray[np.uint8]
) -> None:
    """The store of features reads all development samples, once; training only the folds'."""
    asked: set[int] = set()

    class Watched(PixelView):
        def __getitem__(self, samples: NDArray[np.int64]) -> NDArray[np.uint8]:
            asked.update(samples.tolist())
            return super().__getitem__(samples)

    fold = Fold(np.arange(10, 50), np.arange(50, 60))
    task = make_task(folds=(fold,))
    view = Watched(pictures, np.arange(90))
    strategy.run(suggest(strategy), replace(task, pixels=lambda size: view), SilentReporter())
    assert asked <= set(range(10, 60))


@every_strategy
def test_class_that_training_lacks(
    strategy: Strategy, suggest: Suggest, make_task: MakeTask
) -> None:
    labels = np.where(np.arange(90) < 30, 2, np.arange(90) % 2)
    fold = Fold(np.arange(30, 90), np.arange(30))
    task = make_task(labels=labels, folds=(fold,))
    result = strategy.run(suggest(strategy), task, SilentReporter())
    assert result.probabilities.shape == (30, 3)
    assert np.isfinite(result.probabilities).all()


@every_strategy
@pytest.mark.parametrize(
    ("stop", "reason"), [({"check": 1}, "deadline"), ({"report": 1}, "pruned")], ids=str
)
def test_stop_ends_the_trial(
    strategy: Strategy,
    stop: dict[str, int],
    reason: str,
    suggest: Suggest,
    make_task: MakeTask,
) -> None:
    reporter = Stopping(**stop)
    with pytest.raises(TrialStopped) as caught:
        strategy.run(suggest(strategy), make_task(), reporter)
    assert caught.value.reason == reason
    assert len(reporter.told) == stop.get("report", 0)


@every_strategy
@seeds
def test_progress_grows_to_the_whole_of_all_folds(
    strategy: Strategy, seed: int, suggest: Suggest, make_task: MakeTask
) -> None:
    reporter = Stopping()
    strategy.run(suggest(strategy, seed), make_task(), reporter)
    told = [progress for progress, _ in reporter.told]
    assert told
    assert all(0 < progress <= 1 for progress in told)
    assert told == sorted(set(told))
    assert reporter.n_checks >= 2
    assert all(np.isfinite(score) for _, score in reporter.told)


@every_strategy
@seeds
def test_cost_is_positive_and_grows_with_the_work(
    strategy: Strategy, seed: int, suggest: Suggest, make_task: MakeTask
) -> None:
    config, task = suggest(strategy, seed), make_task()
    cost = strategy.cost(config, task)
    assert 0 < cost < float("inf")
    twice = make_task(
        labels=np.tile(task.labels, 2),
        folds=tuple(
            Fold(np.concatenate([fold.train, fold.train + 90]), fold.validation)
            for fold in task.folds
        ),
    )
    assert strategy.cost(config, twice) > cost
    slower = {
        name: replace(
            speed,
            forward_to=tuple(2 * s for s in speed.forward_to),
            train_from=tuple(2 * s for s in speed.train_from),
        )
        for name, speed in task.speeds.items()
    }
    assert strategy.cost(config, replace(task, speeds=slower)) > cost
    if "epochs" in type(config).model_fields:
        more = config.model_copy(update={"epochs": 3 * config.epochs})  # type: ignore[attr-defined]
        assert cost < strategy.cost(more, task) <= 3 * cost * (1 + 1e-9)  # some is done once


def test_freezing_makes_training_cheaper(suggest: Suggest, make_task: MakeTask) -> None:
    strategy, task = STRATEGIES["finetune"], make_task()
    costs = [
        strategy.cost(suggest(strategy).model_copy(update={"freeze_depth": depth}), task)
        for depth in range(6)
    ]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == 6
