"""The pretraining end to end on a handful of drawn images: phases, resuming, the published file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from studies.pretrain_embedded.config import SHAPE, SURFACE, Config
from studies.pretrain_embedded.evaluate import load
from studies.pretrain_embedded.train import publish, train

TINY = Config(
    classes={"shapes": 2, "landscapes": 2},
    n_images=8,
    n_held_out=2,
    phases=(
        replace(SHAPE, families=("shapes",), epochs=1, lr=0.01, cooldown_epochs=1.0),
        replace(SURFACE, families=("shapes", "landscapes"), epochs=2, lr=0.01),
    ),
    batch_size=8,
)


class Interrupted(Exception):
    """Ends a run from within its log."""


def run(config: Config, work: Path, *, end_at: str = "\n") -> tuple[torch.nn.Module, list[str]]:
    lines: list[str] = []

    def log(line: str) -> None:
        lines.append(line)
        if end_at in line:
            raise Interrupted(line)

    threads = torch.get_num_threads()
    try:
        model, figures = train(config, work, threads=threads, workers=1, log=log)
    except Interrupted:
        return torch.nn.Identity(), lines
    assert figures["num_classes"] == 4
    assert 0 < figures["train_statistics_loss"] < 20
    assert {"held_out_top1_shapes", "held_out_top1_landscapes"} <= set(figures)
    return model, lines


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Path]:
    work = tmp_path_factory.mktemp("whole")
    return run(TINY, work)[0], work


def test_an_interrupted_run_ends_with_the_same_weights(
    whole: tuple[torch.nn.Module, Path], tmp_path: Path
) -> None:
    for path in whole[1].glob("*.npy"):  # drawn once
        (tmp_path / path.name).symlink_to(path)
    run(TINY, tmp_path, end_at="phase 1, epoch 1/1")
    run(TINY, tmp_path, end_at="phase 2, epoch 1/2")
    model, lines = run(TINY, tmp_path)
    assert any("phase 1 is finished" in line for line in lines)
    assert any("phase 2 goes on after epoch 1" in line for line in lines)
    expected = whole[0].state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0, msg=name)


def test_a_phase_starts_from_the_weights_of_the_one_before(
    whole: tuple[torch.nn.Module, Path], tmp_path: Path
) -> None:
    still = replace(
        TINY, phases=(TINY.phases[0], replace(TINY.phases[1], lr=0.0, statistics_weight=0.0))
    )
    for path in whole[1].iterdir():
        (tmp_path / path.name).symlink_to(path)
    (before,) = whole[1].glob("phase1-*.safetensors")
    model, _ = run_still(still, tmp_path)
    known = load_file(str(before))
    for name, value in model.named_parameters():
        if not name.startswith("fc."):
            torch.testing.assert_close(value, known[name].float(), rtol=0, atol=0, msg=name)


def run_still(config: Config, work: Path) -> tuple[torch.nn.Module, dict[str, float]]:
    return train(config, work, threads=torch.get_num_threads(), workers=1, log=lambda _: None)


def test_the_published_file_loads_and_tells_its_settings(
    whole: tuple[torch.nn.Module, Path], tmp_path: Path
) -> None:
    path = tmp_path / "out.safetensors"
    n_bytes = publish(whole[0], path, TINY, TINY.phases[-1], {"note": "a test"})
    assert n_bytes == path.stat().st_size < 6_000_000
    with safe_open(str(path), "pt") as file:
        header = file.metadata()
    assert header["note"] == "a test"
    assert header["num_classes"] == "4"
    assert len(json.loads(header["config"])["phases"]) == 2
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    model = whole[0].eval()
    with torch.inference_mode():
        expected = model.forward_features(x)
        torch.testing.assert_close(load(path).forward_features(x), expected, rtol=0.05, atol=0.05)


def test_running_statistics_are_those_of_images_as_drawn(
    whole: tuple[torch.nn.Module, Path],
) -> None:
    for name, module in whole[0].named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert int(module.num_batches_tracked) == 1, name
            assert module.momentum == 0.1
