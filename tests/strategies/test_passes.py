"""Training from stored activations is training from pixels, whatever the store keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from autotl.backbones import cuts
from autotl.backbones.speed import Speed
from autotl.backbones.stages import StagedNetwork
from autotl.backbones.zoo import Backbone, open_backbone, random_backbone
from autotl.data import Fold
from autotl.reuse.activations import ActivationStore
from autotl.reuse.pixels import PixelView
from autotl.strategies.augment import View
from autotl.strategies.base import SilentReporter, Task, TrialResult
from autotl.strategies.finetune import Finetune, FinetuneConfig
from autotl.strategies.passes import Passes, stored_views
from autotl.strategies.scratch import Scratch, ScratchConfig

MakeTask = Callable[..., Task]
PLENTY = 10**9
KEPT = {
    "memory": {"memory_bytes": PLENTY, "disk_bytes": 0},
    "disk": {"memory_bytes": 0, "disk_bytes": PLENTY},
    "little": {"memory_bytes": 90 * 2100, "disk_bytes": 0},
    "nothing": {"memory_bytes": 0, "disk_bytes": 0},
}
SHOWN: dict[str, dict[str, Any]] = {
    "none": {"augmentation": "none"},
    "light, 2 views": {"augmentation": "light", "n_views": 2},
    "light": {"augmentation": "light"},
    "strong, 2 views": {"augmentation": "strong", "n_views": 2, "mirror": True},
    "maps": {"augmentation": "maps", "mirror": True},
}
ONE_FOLD = (Fold(np.arange(10, 47), np.arange(47, 80)),)


def config_of(backbone: Backbone, **changes: Any) -> FinetuneConfig:
    values = {
        "freeze_depth": 3,
        "lr": 2e-3,
        "lr_ratio": 0.5,
        "head": "random",
        "epochs": 3,
        "augmentation": "none",
        "mirror": False,
        "weight_decay": 0.01,
        "label_smoothing": 0.1,
        "balanced": False,
    }
    return FinetuneConfig(backbone=backbone.name, **values | changes)


def run(config: FinetuneConfig, task: Task) -> TrialResult:
    return Finetune().run(config, task, SilentReporter())


def weights(result: TrialResult) -> dict[str, torch.Tensor]:
    assert result.model is not None
    return result.model.tensors()


def equal(a: TrialResult, b: TrialResult) -> bool:
    others = weights(b)
    same = all(torch.equal(value, others[name]) for name, value in weights(a).items())
    return same and np.array_equal(a.probabilities, b.probabilities)


@pytest.mark.parametrize("depth", range(6))
@pytest.mark.parametrize("shown", SHOWN)
def test_result_does_not_depend_on_what_the_store_keeps(
    depth: int, shown: str, make_task: MakeTask, backbone: Backbone
) -> None:
    config = config_of(backbone, freeze_depth=depth, epochs=2, **SHOWN[shown])
    expected = run(config, make_task(folder="nothing", **KEPT["nothing"]))
    for kept in ("memory", "disk", "little"):
        task = make_task(folder=kept, **KEPT[kept])
        for _ in range(2):  # the second time much is there
            assert equal(run(config, task), expected), kept


def test_what_other_trials_left_in_the_store_changes_nothing(
    make_task: MakeTask, backbone: Backbone
) -> None:
    used = make_task()
    used.store.features(backbone, (2, 5))
    for depth, shown in ((1, "none"), (4, "light, 2 views"), (2, "strong, 2 views")):
        run(config_of(backbone, freeze_depth=depth, **SHOWN[shown]), used)
    for depth in (3, 5):
        config = config_of(backbone, freeze_depth=depth, **SHOWN["light, 2 views"])
        assert equal(run(config, used), run(config, make_task(folder=f"new {depth}")))


@pytest.mark.parametrize("depth", [1, 3, 5])
@pytest.mark.parametrize("augmentation", ["light", "strong"])
def test_as_many_views_as_epochs_are_views_of_every_epoch(
    depth: int,
    augmentation: str,
    make_task: MakeTask,
    backbone: Backbone,
    pictures: NDArray[np.uint8],
) -> None:
    """A sample's view goes with its row of the pixels, which isn't its number here."""
    view = PixelView(pictures, np.random.default_rng(0).permutation(90))

    def found(n_views: int) -> TrialResult:
        config = config_of(
            backbone, freeze_depth=depth, augmentation=augmentation, mirror=True, n_views=n_views
        )
        task = make_task(folds=ONE_FOLD)
        store = ActivationStore(lambda _: view, task.speeds, task.device, None, PLENTY)
        return run(config, replace(task, pixels=lambda _: view, store=store))

    every = found(0)
    assert equal(found(3), every)
    assert equal(found(7), every)
    assert not equal(found(2), every)
    assert not equal(found(1), every)


@pytest.mark.parametrize("depth", [2, 5])
def test_dropout_is_that_of_training_from_pixels(
    depth: int, make_task: MakeTask, backbone: Backbone
) -> None:
    options = backbone.architecture_options | {"drop_rate": 0.5, "drop_path_rate": 0.2}
    dropping = replace(backbone, architecture_options=options)

    def found(own: Backbone, n_views: int) -> TrialResult:
        config = config_of(own, freeze_depth=depth, augmentation="light", n_views=n_views)
        task = make_task(folder=f"{n_views} views", folds=ONE_FOLD)
        return run(config, replace(task, backbones={own.name: own}))

    expected = found(dropping, 0)
    assert equal(found(dropping, 3), expected)
    assert not equal(found(backbone, 0), expected)


class Asked:
    """Which views of which samples a store was asked for, pictures included."""

    def __init__(self, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
        self.activations: list[tuple[View | None, NDArray[np.int64]]] = []
        self.augmented: list[tuple[View, NDArray[np.int64]]] = []
        self.maps: list[tuple[View, NDArray[np.int64]]] = []
        stored, pictures, maps = task.store.activations, View.apply, View.apply_to_maps

        def activations(
            backbone: Backbone, depth: int, samples: NDArray[np.int64], view: Any = None
        ) -> torch.Tensor:
            self.activations.append((view, samples))
            return stored(backbone, depth, samples, view)

        def apply(view: View, x: torch.Tensor, rows: NDArray[np.int64]) -> torch.Tensor:
            self.augmented.append((view, rows))
            return pictures(view, x, rows)

        def apply_to_maps(view: View, x: torch.Tensor, rows: NDArray[np.int64]) -> torch.Tensor:
            self.maps.append((view, rows))
            return maps(view, x, rows)

        monkeypatch.setattr(task.store, "activations", activations)
        monkeypatch.setattr(View, "apply", apply)
        monkeypatch.setattr(View, "apply_to_maps", apply_to_maps)


def indices(views: list[Any]) -> list[int]:
    """Of the views, in the order in which they were first shown without a break."""
    found = [view.index for view in views if view is not None]
    return [index for i, index in enumerate(found) if i == 0 or found[i - 1] != index]


@pytest.mark.parametrize("depth", [0, 3])
def test_an_epoch_shows_the_views_in_turn(
    depth: int, make_task: MakeTask, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(folds=ONE_FOLD, seed=5)
    asked = Asked(task, monkeypatch)
    config = config_of(
        backbone, freeze_depth=depth, epochs=5, augmentation="medium", mirror=True, n_views=2
    )
    run(config, task)
    shown = [view for view, _ in (asked.activations if depth else asked.augmented)]
    assert indices(shown) == [0, 1, 0, 1, 0]
    for view in shown:
        assert view is None or view == View("medium", True, 5, view.index, 90)


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize("depth", [0, 3, 5])
def test_validation_pictures_are_never_augmented(
    shown: str,
    depth: int,
    make_task: MakeTask,
    backbone: Backbone,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = make_task(folds=ONE_FOLD)
    asked = Asked(task, monkeypatch)
    run(config_of(backbone, freeze_depth=depth, **SHOWN[shown]), task)
    validation = set(ONE_FOLD[0].validation.tolist())
    for _, rows in (*asked.augmented, *asked.maps):
        assert not validation & set(rows.tolist())
    for view, samples in asked.activations:
        assert view is None or not validation & set(samples.tolist())
    assert bool(asked.maps) == (shown == "maps")
    assert bool(asked.augmented) == (shown not in ("none", "maps"))


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize("depth", [1, 3, 5])
def test_frozen_part_comes_out_as_it_was(
    shown: str, depth: int, make_task: MakeTask, backbone: Backbone
) -> None:
    start = backbone.create(3, pretrained=True).state_dict()
    result = run(config_of(backbone, freeze_depth=depth, **SHOWN[shown]), make_task())
    assert result.model is not None
    network = result.model.network
    assert isinstance(network, StagedNetwork)
    assert network.start == 0
    for name, value in weights(result).items():
        stage = network.depth_of(f"{name.removeprefix('model.').rpartition('.')[0]}.weight")
        assert torch.equal(value, start[name]) == (stage < depth), name
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize("depth", [0, 1, 3, 5])
def test_the_model_predicts_what_the_last_validation_said(
    shown: str, depth: int, make_task: MakeTask, backbone: Backbone
) -> None:
    task = make_task(folds=ONE_FOLD)
    result = run(config_of(backbone, freeze_depth=depth, **SHOWN[shown]), task)
    assert result.model is not None
    whole = result.model.predict_proba(task.pixels(32), result.samples, device=task.device)
    np.testing.assert_allclose(whole, result.probabilities, atol=2e-6)
    assert result.probabilities.std() > 1e-3


def test_augmented_maps_teach_something_else(make_task: MakeTask, backbone: Backbone) -> None:
    plain, moved = (
        run(config_of(backbone, freeze_depth=2, **SHOWN[shown]), make_task(folder=shown))
        for shown in ("none", "maps")
    )
    assert not np.array_equal(plain.probabilities, moved.probabilities)


def figures_of(config: FinetuneConfig, task: Task) -> dict[str, float]:
    """What the store counted during a trial, as if it took a second."""
    before = replace(task.store.meter)
    run(config, task)
    return task.store.meter.since(before).figures(1.0)


def test_what_was_read_and_computed_is_in_the_figures(
    make_task: MakeTask, backbone: Backbone
) -> None:
    config, task = config_of(backbone, freeze_depth=4), make_task(folds=ONE_FOLD)
    first, second = figures_of(config, task), figures_of(config, task)
    n_train, n_validation = 32, 33  # two whole batches an epoch; all of the validation
    for figures in (first, second):
        assert figures["store_reads"] + figures["store_misses"] == 3 * (n_train + n_validation)
        assert figures["images_per_s"] > 0
    assert n_train + n_validation <= first["store_misses"] <= 37 + 33
    assert second["store_misses"] == 0
    each_s = task.speeds[backbone.name].forward_to[4]
    assert second["saved_seconds"] == pytest.approx(3 * (n_train + n_validation) * each_s)
    without = figures_of(config, make_task(folds=ONE_FOLD, **KEPT["nothing"]))
    assert without["saved_seconds"] == without["store_reads"] == 0


@pytest.mark.parametrize(
    ("depth", "shown", "expected"),
    [
        (0, "none", None),
        (0, "light, 2 views", None),
        (2, "light", None),
        (2, "none", [None]),
        (2, "maps", [None]),
        (2, "strong, 2 views", [View("strong", True, 7, n, 90) for n in range(2)]),
    ],
)
def test_views_whose_activations_are_kept(
    depth: int, shown: str, expected: Any, make_task: MakeTask, backbone: Backbone
) -> None:
    config = config_of(backbone, **SHOWN[shown])
    assert stored_views(config, depth, make_task(seed=7), 90) == expected


def test_no_more_views_are_kept_than_there_are_epochs(
    make_task: MakeTask, backbone: Backbone
) -> None:
    config = config_of(backbone, augmentation="light", n_views=4, epochs=3)
    views = stored_views(config, 2, make_task())
    assert views is not None
    assert len(views) == 3


THREE_FOLDS = tuple(
    Fold(np.setdiff1d(np.arange(90), part), part) for part in np.split(np.arange(90), 3)
)


@pytest.mark.parametrize("depth", [2, 5])
def test_what_several_folds_show_is_computed_once(
    depth: int, make_task: MakeTask, backbone: Backbone
) -> None:
    """Every epoch has views of its own, and each sample is trained on in two folds of three."""
    config = config_of(backbone, freeze_depth=depth, **SHOWN["light"])
    task = make_task(folds=THREE_FOLDS)
    figures = figures_of(config, task)
    n_views, n_epochs = 1 + config.epochs, config.epochs
    assert figures["store_reads"] + figures["store_misses"] == n_epochs * 3 * (48 + 30)
    assert figures["store_misses"] <= n_views * 90
    for kept in ("little", "nothing"):
        other = make_task(folds=THREE_FOLDS, folder=kept, **KEPT[kept])
        assert equal(run(config, task), run(config, other))


@pytest.mark.parametrize(
    ("changes", "kept", "is_kept"),
    [
        ({}, "memory", True),
        ({}, "disk", True),
        ({}, "nothing", False),
        ({"epochs": 300_000}, "memory", False),
        ({"mix": "mixup"}, "memory", False),
    ],
)
def test_an_epochs_own_views_are_kept_where_they_are_read_again(
    changes: dict[str, Any],
    kept: str,
    is_kept: bool,
    make_task: MakeTask,
    backbone: Backbone,
) -> None:
    config = config_of(backbone, **SHOWN["light"] | changes)
    task = make_task(folds=THREE_FOLDS, **KEPT[kept])
    views = stored_views(config, 3, task, 90)
    expected = [View("light", False, 0, epoch, 90) for epoch in range(config.epochs)]
    assert views == (expected if is_kept else None)
    assert stored_views(config, 3, make_task(**KEPT[kept]), 90) is None  # two folds


def test_folds_of_some_samples_share_their_views(make_task: MakeTask, backbone: Backbone) -> None:
    parts = np.split(np.arange(60), 3)
    folds = tuple(Fold(np.setdiff1d(np.arange(60), part), part) for part in parts)
    assert (
        stored_views(config_of(backbone, **SHOWN["light"]), 3, make_task(folds=folds)) is not None
    )


@pytest.mark.parametrize("shown", ["none", "light, 2 views", "light"])
def test_cost_counts_what_folds_share_once(
    shown: str, make_task: MakeTask, backbone: Backbone
) -> None:
    config, task = config_of(backbone, **SHOWN[shown]), make_task(folds=THREE_FOLDS)
    speed = task.speeds[backbone.name]
    n_views = {"none": 0, "light, 2 views": 2, "light": 3}[shown]
    below = 90 * (1 + n_views) * speed.forward_to[3]
    above = 3 * (180 * speed.train_from[3] + 90 * (speed.forward_s - speed.forward_to[3]))
    assert Finetune().cost(config, task) == pytest.approx(below + above)


def test_where_the_frozen_depth_cannot_be_cut_a_lower_one_is_stored(
    make_task: MakeTask, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in architectures that pass several tensors on; the result is the same."""
    config = config_of(backbone, freeze_depth=4, **SHOWN["light, 2 views"])
    expected = run(config, make_task())
    real = cuts.cut
    for possible in ({2}, set()):
        monkeypatch.setattr(
            cuts, "cut", lambda n, d, size, p=possible: real(n, d, size) if d in p else None
        )
        network = backbone.create(3, pretrained=True).freeze(4)
        task = make_task(folder=f"cut at {possible}")
        passes = Passes(network, backbone, config, task)
        assert (passes._upper.start if passes._upper else 0) == max(possible, default=0)
        assert equal(run(config, task), expected)


@pytest.mark.parametrize("shown", SHOWN)
def test_cost_falls_with_the_freeze_depth(
    shown: str, make_task: MakeTask, backbone: Backbone
) -> None:
    task = make_task()
    found = [
        Finetune().cost(config_of(backbone, freeze_depth=depth, **SHOWN[shown]), task)
        for depth in range(6)
    ]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == 6
    assert found[-1] > 0


@pytest.mark.parametrize("shown", ["none", "light, 2 views", "maps"])
def test_cost_falls_with_what_the_store_holds(
    shown: str, make_task: MakeTask, backbone: Backbone
) -> None:
    config = config_of(backbone, freeze_depth=4, **SHOWN[shown])
    task = make_task(folds=ONE_FOLD)
    empty = Finetune().cost(config, task)
    for view in stored_views(config, 4, task, 90) or []:
        task.store.activations(backbone, 4, ONE_FOLD[0].train[:10], view)
    some = Finetune().cost(config, task)
    run(config, task)
    full = Finetune().cost(config, task)
    assert empty > some > full > 0
    n_views = config.n_views or 1
    below_s = task.speeds[backbone.name].forward_to[4]
    assert empty - some == pytest.approx(10 * n_views * below_s)
    assert empty - full == pytest.approx((37 * n_views + 33) * below_s, rel=0.15)
    other = config_of(backbone, freeze_depth=3, **SHOWN[shown])
    assert Finetune().cost(other, task) == Finetune().cost(
        other, make_task(folder="new", folds=ONE_FOLD)
    )


def test_cost_of_many_stored_views_is_less_than_that_of_new_ones(
    make_task: MakeTask, backbone: Backbone
) -> None:
    found = [
        Finetune().cost(
            config_of(backbone, freeze_depth=4, epochs=8, augmentation="light", n_views=n_views),
            make_task(folds=ONE_FOLD),
        )
        for n_views in (1, 4, 8, 0)
    ]
    assert found[0] < found[1] < found[2]
    assert found[2] == pytest.approx(found[3])


def test_cost_of_whole_training(make_task: MakeTask, backbone: Backbone) -> None:
    task = make_task(folds=ONE_FOLD)
    speed = task.speeds[backbone.name]
    found = Finetune().cost(config_of(backbone, freeze_depth=0), task)
    assert found == pytest.approx(3 * (37 * speed.train_s + 33 * speed.forward_s))


def test_scratch_with_removed_stages_is_cheaper(make_task: MakeTask, backbone: Backbone) -> None:
    shared = set(ScratchConfig.model_fields)
    values = config_of(backbone).model_dump(include=shared)
    task = make_task(folds=ONE_FOLD)
    found = [
        Scratch().cost(ScratchConfig(n_removed=n_removed, **values), task) for n_removed in range(6)
    ]
    assert found[:5] == sorted(set(found), reverse=True)
    assert found[4] == found[5] > 0  # one stage is always left
    speed = task.speeds[backbone.name]
    assert found[0] == pytest.approx(3 * (37 * speed.train_s + 33 * speed.forward_s))
    assert found[4] == pytest.approx(found[0] / 5)  # every stage takes the same here


def test_transformer_in_training(
    make_task: MakeTask, tmp_path: Path, pictures: NDArray[np.uint8]
) -> None:
    """Its cut runs on a dummy picture; the views are of tokens."""
    options = {"img_size": 32, "depth": 3, "embed_dim": 24, "num_heads": 3}
    source = random_backbone("vit_tiny_patch16_224", 32, **options)
    header = {
        "timm_name": "vit_tiny_patch16_224",
        "timm_kwargs": json.dumps(options),
        "image_size": "32",
    }
    state = source.create(7, pretrained=False, seed=5).model.state_dict()
    save_file(state, tmp_path / "vit.safetensors", header)
    vit = open_backbone(f"vit_tiny_patch16_224@{tmp_path / 'vit.safetensors'}")
    speeds = {vit.name: Speed("fp32", False, (0.0, *[1e-4] * 4), (4e-4,) * 5)}
    view = PixelView(pictures, np.arange(90))

    def task(memory_bytes: int) -> Task:
        store = ActivationStore(lambda _: view, speeds, torch.device("cpu"), None, memory_bytes)
        return replace(make_task(), store=store, speeds=speeds, backbones={vit.name: vit})

    used = task(PLENTY)
    for depth in range(1, 5):
        for shown in ("none", "light, 2 views", "maps"):
            config = config_of(vit, freeze_depth=depth, epochs=2, **SHOWN[shown])
            assert equal(run(config, used), run(config, task(0))), (depth, shown)
