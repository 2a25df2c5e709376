"""The training loop: it learns, repeats itself, and ends as it is told to."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autotl.backbones.speed import Speed
from autotl.backbones.zoo import Backbone
from autotl.strategies.base import DivergedError, SilentReporter, Task, TrialStopped
from autotl.strategies.fitted import FittedModel
from autotl.strategies.optimizer import ParameterGroup, one_cycle
from autotl.strategies.training import TrainingConfig, batch_size_for, train_network

MakeTask = Callable[..., Task]
Train = Callable[..., FittedModel]

RECIPE = TrainingConfig(
    backbone="tiny",
    lr=1e-3,
    epochs=2,
    weight_decay=0.05,
    label_smoothing=0.0,
    augmentation="none",
    mirror=False,
    balanced=False,
)


@dataclass
class Watching:
    """A reporter that writes down what it is told, and may stop at a call of one kind."""

    stop_at_check: int | None = None
    stop_at_report: int | None = None
    n_checks: int = 0
    reports: list[tuple[float, float, dict[str, float]]] = field(default_factory=list)

    def check(self) -> None:
        self.n_checks += 1
        if self.n_checks == self.stop_at_check:
            raise TrialStopped("deadline")

    def report(self, progress: float, score: float, metrics: Mapping[str, float]) -> None:
        self.reports.append((progress, score, dict(metrics)))
        if len(self.reports) == self.stop_at_report:
            raise TrialStopped("pruned")


class Constant(nn.Module):
    """The same logits for every picture; a matrix and a vector that don't matter."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(1, 3))
        self.matrix = nn.Parameter(torch.ones(2, 2))
        self.vector = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        unused = 0.0 * (self.matrix.sum() + self.vector.sum())
        return self.logits.expand(len(x), 3) + unused


class Sum(nn.ModuleList):
    """The sum of its members' logits."""

    def forward(self, x: Tensor) -> Tensor:
        return sum((member(x) for member in self), start=torch.zeros(()))


@pytest.fixture
def train(make_task: MakeTask, backbone: Backbone) -> Train:
    """Trains the tiny network on 48 pictures, three steps an epoch; settings changed by name."""

    def trained(
        network: nn.Module | None = None,
        *,
        task: Task | None = None,
        lr: float = 5e-3,
        samples: NDArray[np.int64] | None = None,
        validation: NDArray[np.int64] | None = None,
        reporter: Any = None,
        **recipe: Any,
    ) -> FittedModel:
        network = network or backbone.create(3, pretrained=False)
        return train_network(
            network,
            backbone,
            [ParameterGroup(list(network.parameters()), lr)],
            RECIPE.model_copy(update=recipe),
            task or make_task(),
            np.arange(48) if samples is None else samples,
            validation,
            reporter or SilentReporter(),
        )

    return trained


def accuracy_of(model: FittedModel, task: Task, samples: NDArray[np.int64]) -> float:
    probabilities = model.predict_proba(task.pixels(32), samples, device=task.device)
    return float(np.mean(probabilities.argmax(1) == task.labels[samples]))


def equal_weights(a: FittedModel, b: FittedModel) -> bool:
    others = b.tensors()
    return all(torch.equal(value, others[name]) for name, value in a.tensors().items())


def test_learns_a_few_pictures_by_heart(train: Train, make_task: MakeTask) -> None:
    model = train(epochs=15)
    assert accuracy_of(model, make_task(), np.arange(48)) == 1.0
    assert not model.network.training


def test_learns_labels_without_sense_too(train: Train, make_task: MakeTask) -> None:
    labels = np.random.default_rng(1).integers(0, 3, 90)
    task, few = make_task(labels=labels), np.arange(16)
    model = train(task=task, samples=few, epochs=60, weight_decay=0.0)
    assert accuracy_of(model, task, few) > 0.9


@pytest.mark.parametrize("augmentation", ["none", "strong"])
def test_same_seed_same_weights(
    train: Train, make_task: MakeTask, backbone: Backbone, augmentation: str
) -> None:
    def run(seed: int) -> FittedModel:
        network = backbone.create(3, pretrained=False, seed=0)
        return train(network, task=make_task(seed=seed), augmentation=augmentation, mirror=True)

    first = run(1)
    torch.rand(3)  # what the process draws in between doesn't matter
    assert equal_weights(first, run(1))
    assert not equal_weights(first, run(2))


def test_dropout_draws_from_the_seed(train: Train, backbone: Backbone) -> None:
    def run() -> FittedModel:
        torch.rand(5)
        network = backbone.create(3, pretrained=False)
        network.model.drop_rate = 0.5
        return train(network)

    assert equal_weights(run(), run())


def test_random_state_of_the_process_is_untouched(
    train: Train, backbone: Backbone, random_state: Callable[[], object]
) -> None:
    network = backbone.create(3, pretrained=False)
    network.model.drop_rate = 0.5
    before = random_state()
    train(network, augmentation="strong", mirror=True, validation=np.arange(30, 40))
    assert random_state() == before


def test_random_state_comes_back_after_a_stop_too(
    train: Train, random_state: Callable[[], object]
) -> None:
    before = random_state()
    with pytest.raises(TrialStopped):
        train(reporter=Watching(stop_at_check=2))
    assert random_state() == before


def test_validation_doesnt_change_the_training(train: Train) -> None:
    assert equal_weights(train(), train(validation=np.arange(48, 90)))


def test_reporter_hears_of_every_step_and_epoch(train: Train, make_task: MakeTask) -> None:
    reporter = Watching()
    validation = np.arange(30, 60)
    model = train(epochs=3, validation=validation, reporter=reporter)
    assert reporter.n_checks == 3 * 3
    assert [progress for progress, _, _ in reporter.reports] == pytest.approx([1 / 3, 2 / 3, 1])
    _, score, metrics = reporter.reports[-1]
    assert {"validation_accuracy", "validation_log_loss", "train_loss"} <= metrics.keys()
    assert model.validation_probabilities is not None
    labels = make_task().labels[validation]
    assert score == np.mean(model.validation_probabilities.argmax(1) == labels)


def test_reported_score_is_the_metric_of_the_task(train: Train, make_task: MakeTask) -> None:
    reporter = Watching()
    train(task=make_task(metric="log_loss"), validation=np.arange(30, 60), reporter=reporter)
    for _, score, metrics in reporter.reports:
        assert score == -metrics["validation_log_loss"]


def test_validation_probabilities_are_those_of_the_final_network(
    train: Train, make_task: MakeTask
) -> None:
    validation = np.arange(30, 60)
    model = train(validation=validation)
    found = model.predict_proba(make_task().pixels(32), validation, device=torch.device("cpu"))
    assert model.validation_probabilities is not None
    np.testing.assert_allclose(found, model.validation_probabilities, atol=1e-6)


@pytest.mark.parametrize(
    ("reporter", "reason"),
    [(Watching(stop_at_check=3), "deadline"), (Watching(stop_at_report=1), "pruned")],
)
def test_stop_passes_through(train: Train, reporter: Watching, reason: str) -> None:
    reporter = copy.deepcopy(reporter)
    with pytest.raises(TrialStopped) as caught:
        train(epochs=5, validation=np.arange(30, 60), reporter=reporter)
    assert caught.value.reason == reason
    assert reporter.n_checks == 3


def test_nan_loss_is_a_diverged_trial(train: Train, backbone: Backbone) -> None:
    network = backbone.create(3, pretrained=False)
    with torch.no_grad():
        network.classifier.weight.fill_(float("nan"))
    told = "loss became nan in epoch 1 of 2, step 1; no step was made before it"
    with pytest.raises(DivergedError, match=told):
        train(network)


def test_too_high_a_rate_is_a_diverged_trial(train: Train) -> None:
    told = r"in epoch \d of 3, step \d; the largest gradient of the step before was \d"
    with pytest.raises(DivergedError, match=told):
        train(lr=1e25, epochs=3)


def test_nan_predictions_after_the_last_step_are_a_diverged_trial(train: Train) -> None:
    with pytest.raises(DivergedError, match="predictions became NaN in epoch 1 of 1"):
        train(lr=float("inf"), epochs=1, samples=np.arange(16), validation=np.arange(30, 60))


@pytest.mark.parametrize(("balanced", "expected"), [(False, [32, 12, 4]), (True, [16, 16, 16])])
def test_balanced_classes_weigh_the_same(
    train: Train, make_task: MakeTask, balanced: bool, expected: list[int]
) -> None:
    labels = np.repeat([0, 1, 2], [32, 12, 46])  # of which 32, 12 and 4 are trained on
    model = train(
        Constant(),
        task=make_task(labels=labels),
        lr=0.1,
        epochs=80,
        weight_decay=0.0,
        balanced=balanced,
    )
    shown = model.predict_proba(make_task().pixels(32), np.arange(1), device=torch.device("cpu"))
    np.testing.assert_allclose(shown[0], np.array(expected) / 48, atol=0.03)


def test_label_smoothing_pulls_towards_equal_shares(train: Train, make_task: MakeTask) -> None:
    task = make_task(labels=np.zeros(90, dtype=np.int64))
    model = train(Constant(), task=task, lr=0.1, epochs=200, weight_decay=0.0, label_smoothing=0.3)
    shown = model.predict_proba(task.pixels(32), np.arange(1), device=task.device)
    np.testing.assert_allclose(shown[0], [0.8, 0.1, 0.1], atol=0.02)


def test_weight_decay_spares_vectors(train: Train) -> None:
    network = Constant()
    train(network, lr=0.1, weight_decay=0.5, epochs=5)
    assert torch.equal(network.vector, torch.ones(2))
    assert (network.matrix < 0.99).all()


def test_every_group_has_its_own_rate(make_task: MakeTask, backbone: Backbone) -> None:
    first, second = Constant(), Constant()
    network = Sum([first, second])
    parameters = [ParameterGroup([first.logits], 1e-2), ParameterGroup([second.logits], 1e-4)]
    labels = np.zeros(90, dtype=np.int64)
    model = train_network(
        network,
        backbone,
        parameters,
        RECIPE.model_copy(update={"weight_decay": 0.0}),
        make_task(labels=labels),
        np.arange(48),
        None,
        SilentReporter(),
    )
    assert model.n_trainable == 6
    ratio = float((first.logits.abs().max() / second.logits.abs().max()).detach())
    assert ratio == pytest.approx(100, rel=0.05)


def test_gradients_flow_to_given_parameters_only(train: Train, backbone: Backbone) -> None:
    network = backbone.create(3, pretrained=True).freeze(3)
    before = copy.deepcopy(network.state_dict())
    train_parameters = [p for p in network.parameters() if p.requires_grad]
    assert train_parameters
    train(network)
    for name, value in network.state_dict().items():
        below = network.depth_of(name.removeprefix("model.")) < 3
        if name.endswith("weight"):
            assert torch.equal(value, before[name]) == below, name


@pytest.mark.parametrize(
    ("n_samples", "expected"),
    [(0, 2), (1, 2), (5, 5), (100, 16), (320, 16), (640, 32), (1280, 64), (10**6, 64)],
)
def test_batch_size_grows_with_the_samples(n_samples: int, expected: int) -> None:
    assert batch_size_for(n_samples) == expected


def test_fewer_samples_than_a_batch(train: Train) -> None:
    reporter = Watching()
    train(samples=np.arange(5), epochs=2, reporter=reporter)
    assert reporter.n_checks == 2


def test_one_cycle_rises_and_falls() -> None:
    factor = one_cycle(100, 0.1)
    assert factor(0) == pytest.approx(0.1)
    assert factor(4) == pytest.approx(0.5)
    assert factor(9) == 1.0
    assert factor(10) == 1.0
    assert factor(55) == pytest.approx(0.5)
    assert factor(100) == pytest.approx(0.0)
    assert factor(99) == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))
    values = [factor(step) for step in range(10, 101)]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_one_cycle_of_few_steps_trains_at_all(n_steps: int) -> None:
    factor = one_cycle(n_steps, 0.1)
    assert all(0 <= factor(step) <= 1 for step in range(n_steps + 1))
    assert factor(0) == 1.0


def test_measured_layout_and_precision_are_used(
    train: Train, make_task: MakeTask, backbone: Backbone
) -> None:
    seen: list[tuple[bool, torch.dtype]] = []
    network = backbone.create(3, pretrained=False)
    network.model.get_submodule("layer1").register_forward_hook(
        lambda _module, inputs, output: seen.append(
            (inputs[0].is_contiguous(memory_format=torch.channels_last), output.dtype)
        )
    )
    speeds = {backbone.name: Speed("bf16", True, (0.0, *[1e-4] * 5), (4e-4,) * 6)}
    model = train(
        network, task=replace(make_task(), speeds=speeds), validation=np.arange(30, 40), epochs=1
    )
    assert set(seen) == {(True, torch.bfloat16)}
    assert model.validation_probabilities is not None
    assert model.validation_probabilities.dtype == np.float32
    assert all(value.dtype != torch.bfloat16 for value in model.tensors().values())


class Fixed(nn.Module):
    """Logits that depend on nothing but a parameter which hardly moves."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([[9.0, 0.0, 0.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), 3)


@pytest.mark.parametrize(("epochs", "expected"), [(3, 3), (10, 5), (40, 13)])
def test_training_ends_when_its_predictions_have_settled(
    epochs: int, expected: int, make_task: MakeTask, backbone: Backbone
) -> None:
    task, watching, network = make_task(), Watching(), Fixed()
    config = RECIPE.model_copy(update={"backbone": backbone.name, "epochs": epochs, "lr": 1e-6})
    fold = task.folds[0]
    train_network(
        network,
        backbone,
        [ParameterGroup(list(network.parameters()), 1e-6)],
        config,
        task,
        fold.train,
        fold.validation,
        watching,
    )
    assert len(watching.reports) == expected
