"""The usual way does the same work as autotl: same losses, same predictions, whatever the lever."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2

from autotl.backbones.zoo import Backbone
from autotl.data import Fold
from autotl.strategies import STRATEGIES
from autotl.strategies.augment import POLICIES
from autotl.strategies.base import SilentReporter, StrategyConfig, Task
from autotl.strategies.bottleneck import BottleneckConfig
from autotl.strategies.finetune import FinetuneConfig
from autotl.strategies.scratch import ScratchConfig
from studies.reuse.loading import Decoded, Levers, Prepared, Shuffled, Source, policy_transforms
from studies.reuse.usual import Outcome, open_training, run, study, train_epoch

LEVERS = [
    Levers(decode, augmentation)  # type: ignore[arg-type]
    for decode in ("jpeg", "memory")
    for augmentation in ("torchvision", "batched")
]
TRAIN, VALIDATION = list(range(30, 90)), list(range(30))


class Losses(SilentReporter):
    """Keeps the training losses."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def report(self, progress: float, score: float, metrics: Mapping[str, float]) -> None:
        if "train_loss" in metrics:
            self.losses.append(metrics["train_loss"])


@pytest.fixture
def task(
    make_task: Callable[..., Task],
    pictures: NDArray[np.uint8],
    picture_labels: NDArray[np.int64],
) -> Task:
    """The same as a task, the samples in the order of the folder, mixed over the classes."""
    order = np.argsort(picture_labels, kind="stable")
    fold = Fold(np.asarray(mixed(TRAIN)), np.asarray(mixed(VALIDATION)))
    return make_task(pixels=pictures[order], labels=picture_labels[order], folds=(fold,))


def mixed(samples: list[int]) -> list[int]:
    """Positions in the sorted folder of samples whose class is their number modulo 3."""
    return [sample % 3 * 30 + sample // 3 for sample in samples]


def training(backbone: Backbone, **values: Any) -> dict[str, Any]:
    return {
        "backbone": backbone.name,
        "lr": 1e-2,
        "epochs": 3,
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
        "augmentation": "none",
        "mirror": False,
        "balanced": False,
        **values,
    }


def finetune(backbone: Backbone, **values: Any) -> FinetuneConfig:
    given = {"freeze_depth": 2, "lr_ratio": 0.3, "head": "random"} | values
    return FinetuneConfig(**training(backbone, **given))


def scratch(backbone: Backbone, **values: Any) -> ScratchConfig:
    return ScratchConfig(**training(backbone, **{"n_removed": 0} | values))


def usual(
    config: StrategyConfig,
    folder: Path,
    backbone: Backbone,
    levers: Levers = Levers(),
    seed: int = 0,
    **values: Any,
) -> Outcome:
    given = {"num_workers": 0} | values
    return run(config, folder, mixed(TRAIN), mixed(VALIDATION), backbone, seed, levers, **given)


CONFIGS: dict[str, Callable[[Backbone], Any]] = {
    "finetune": finetune,
    "all trained": lambda b: finetune(b, freeze_depth=0),
    "head only": lambda b: finetune(b, freeze_depth=b.num_stages),
    "probe": lambda b: finetune(b, head="probe", lr=1e-3),
    "balanced": lambda b: finetune(b, balanced=True),
    "scratch": scratch,
    "shallow": lambda b: scratch(b, n_removed=2),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_losses_are_those_of_autotl(
    name: str, folder: Path, backbone: Backbone, task: Task
) -> None:
    config = CONFIGS[name](backbone)
    strategy = "scratch" if isinstance(config, ScratchConfig) else "finetune"
    if name == "balanced":  # unequal classes, so that weights matter
        fold = Fold(task.folds[0].train[:45], task.folds[0].validation)
        fold = Fold(fold.train[fold.train % 4 != 0], fold.validation)
        train = fold.train.tolist()
        task = Task(**{**vars(task), "folds": (fold,)})
    else:
        train = mixed(TRAIN)
    reporter = Losses()
    theirs = STRATEGIES[strategy].run(config, task, reporter)
    ours = run(config, folder, train, mixed(VALIDATION), backbone, 0, num_workers=0)
    np.testing.assert_allclose(ours.losses, reporter.losses, rtol=2e-3)
    assert np.mean(ours.predictions == theirs.probabilities.argmax(axis=1)) > 0.9
    assert ours.score == pytest.approx(theirs.score, abs=0.07)


def test_what_would_be_left_out_in_silence_is_refused(folder: Path, backbone: Backbone) -> None:
    with pytest.raises(ValueError, match="have these settings: mix, optimizer"):
        usual(finetune(backbone, mix="mixup", optimizer="sgd", n_views=8), folder, backbone)


@pytest.mark.parametrize("layers", ["last", "last_4"])
@pytest.mark.parametrize("head", ["svm", "logistic"])
def test_bottleneck_predicts_as_autotl_does(
    head: Any, layers: Any, folder: Path, backbone: Backbone, task: Task
) -> None:
    config = BottleneckConfig(
        backbone=backbone.name, layers=layers, head=head, C=0.1, balanced=False
    )
    theirs = STRATEGIES["bottleneck"].run(config, task, SilentReporter())
    ours = usual(config, folder, backbone)
    assert np.mean(ours.predictions == theirs.probabilities.argmax(axis=1)) > 0.9
    assert ours.score > 0.8
    assert ours.losses == ()
    assert ours.images_per_s > 0


def test_bottleneck_learns_nothing_from_validation_samples(
    folder: Path, backbone: Backbone
) -> None:
    config = BottleneckConfig(
        backbone=backbone.name, layers="last_4", head="svm", C=0.1, balanced=False
    )
    of_two_classes, of_the_third = list(range(60)), list(range(60, 90))
    found = run(config, folder, of_two_classes, of_the_third, backbone, 0, num_workers=0)
    assert set(found.predictions) <= {0, 1}
    assert found.score == 0.0


@pytest.mark.parametrize("levers", LEVERS, ids=str)
def test_levers_do_not_change_what_is_learnt(
    levers: Levers, folder: Path, backbone: Backbone
) -> None:
    config = finetune(backbone)
    plain = usual(config, folder, backbone)
    np.testing.assert_allclose(
        usual(config, folder, backbone, levers).losses, plain.losses, rtol=1e-3
    )
    assert len(plain.losses) == config.epochs
    assert plain.losses[-1] < plain.losses[0]


@pytest.mark.parametrize("levers", LEVERS, ids=str)
def test_augmentation_is_applied_and_repeatable(
    levers: Levers, folder: Path, backbone: Backbone
) -> None:
    config = finetune(backbone, augmentation="strong", mirror=True)
    losses = usual(config, folder, backbone, levers).losses
    torch.rand(1)  # whatever the process has drawn before
    assert losses == usual(config, folder, backbone, levers).losses
    assert losses != usual(finetune(backbone), folder, backbone, levers).losses


def test_measured_precision_is_measured_once_and_used(
    folder: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autotl.backbones.speed import Speed
    from studies.reuse import loading

    measured: list[str] = []

    def measure(backbone: Backbone, device: torch.device) -> Speed:
        measured.append(backbone.name)
        return Speed("bf16", True, 1.0, 1.0)

    monkeypatch.setattr(loading, "measure_speed", measure)
    config, prepared, levers = finetune(backbone), Prepared(), Levers(precision="measured")
    plain = usual(config, folder, backbone)
    found = usual(config, folder, backbone, levers, prepared=prepared)
    usual(config, folder, backbone, levers, prepared=prepared)
    assert measured == [backbone.name]
    assert found.losses != plain.losses
    np.testing.assert_allclose(found.losses, plain.losses, rtol=0.05)
    opened = open_training(
        config, Source(folder, backbone, torch.device("cpu"), levers, prepared, 0), TRAIN, 0
    )
    kernels = [p for p in opened.network.parameters() if p.ndim == 4 and p.shape[2] > 1]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)


def test_pictures_are_decoded_once_for_a_study(
    folder: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real_open = Image.open

    def counting(file: Any, *args: Any, **values: Any) -> Any:
        opened.append(str(file))
        return real_open(file, *args, **values)

    monkeypatch.setattr(Image, "open", counting)
    configs = [finetune(backbone), scratch(backbone)]
    given = (folder, mixed(TRAIN), mixed(VALIDATION), {backbone.name: backbone}, 0)
    study(configs, *given, Levers("memory", "batched"), num_workers=0)
    assert len(opened) == 90
    opened.clear()
    study(configs, *given, num_workers=0)
    assert len(opened) == 2 * 3 * (48 + 30)  # trials, epochs, batches of 16 and validation


def test_study_runs_the_trials_in_order_and_outlives_divergence(
    folder: Path, backbone: Backbone
) -> None:
    configs = [finetune(backbone, epochs=1), scratch(backbone, lr=float("inf")), scratch(backbone)]
    given = (folder, mixed(TRAIN), mixed(VALIDATION))
    found = study(configs, *given, {backbone.name: backbone}, 0, num_workers=0)
    assert len(found.trial_seconds) == len(configs)
    assert 0 < min(found.trial_seconds) <= sum(found.trial_seconds) <= found.seconds
    first, second, third = found.outcomes
    assert first is not None
    assert second is None
    assert third is not None
    assert (len(first.losses), len(third.losses)) == (1, 3)
    assert first.losses == usual(configs[0], folder, backbone).losses
    assert found.seconds > first.seconds + third.seconds


def test_workers_bring_the_same_pictures(folder: Path, backbone: Backbone) -> None:
    config = finetune(backbone, epochs=1)
    alone = usual(config, folder, backbone).losses
    np.testing.assert_allclose(usual(config, folder, backbone, num_workers=1).losses, alone)


def test_frozen_stages_do_not_move(folder: Path, backbone: Backbone) -> None:
    config = finetune(backbone, freeze_depth=3)
    source = Source(folder, backbone, torch.device("cpu"), num_workers=0)
    opened = open_training(config, source, mixed(TRAIN), 0)
    before = {name: value.clone() for name, value in opened.network.state_dict().items()}
    epoch = train_epoch(opened)
    assert epoch.n_images == 48  # three batches of 16; what is left over waits
    assert epoch.images_per_s == pytest.approx(48 / epoch.seconds)
    fresh = backbone.create(3, pretrained=True)
    for name, value in opened.network.state_dict().items():
        moved = not torch.equal(value, before[name])
        assert moved is (fresh.depth_of(_parameter_of(name)) >= 3), name


def _parameter_of(name: str) -> str:
    """A parameter of the layer that holds this entry of the state."""
    return (
        name.removeprefix("model.")
        .replace("running_mean", "weight")
        .replace("running_var", "weight")
        .replace("num_batches_tracked", "weight")
    )


def test_random_state_of_the_process_stays(
    folder: Path, backbone: Backbone, random_state: Callable[[], object]
) -> None:
    before = random_state()
    usual(finetune(backbone, augmentation="strong", epochs=1), folder, backbone)
    assert random_state() == before


def test_unknown_strategy_is_refused(folder: Path, backbone: Backbone) -> None:
    with pytest.raises(TypeError, match="known strategy"):
        usual(StrategyConfig(backbone=backbone.name), folder, backbone)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_has_transforms_of_the_same_reach(policy: str) -> None:
    before, after = policy_transforms(policy, mirror=True)
    picture = torch.zeros(3, 40, 40, dtype=torch.uint8)
    picture[:, 18:22, 18:22] = 200
    transform = v2.Compose([v2.Identity(), *before, v2.ToDtype(torch.float32, scale=True), *after])
    shown = torch.stack([Decoded(picture[None], [0], transform)[0][0] for _ in range(40)])
    varied = (shown - shown[0]).abs().amax(dim=(1, 2, 3)) > 0.1
    assert shown.shape == (40, 3, 40, 40)
    assert bool(varied[1:].any()) is (policy != "none")


def test_mirroring_only_where_asked() -> None:
    for policy in POLICIES:
        for mirror in (False, True):
            before, _ = policy_transforms(policy, mirror=mirror)
            flips = [t for t in before if isinstance(t, v2.RandomHorizontalFlip)]
            assert len(flips) == (mirror and policy != "none")
    with pytest.raises(ValueError, match="policy"):
        policy_transforms("wild", mirror=False)


def test_shuffled_draws_a_new_order_of_all_samples_each_time() -> None:
    order = Shuffled([5, 6, 7, 8, 9, 10], 0)
    first, second = list(order), list(order)
    assert sorted(first) == sorted(second) == [5, 6, 7, 8, 9, 10]
    assert first != second
    assert list(Shuffled([5, 6, 7, 8, 9, 10], 0)) == first
