"""The judge of weights: splits without leaks, features of any network, named files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from studies.pretrain_embedded import evaluate as judge
from studies.pretrain_embedded.evaluate import Check, Extractor

N_PER_CLASS = 30


def write_set(folder: Path) -> None:
    """Two classes told apart by their hue alone; six sources, each with images of both."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    lines = ["file,class,group,orig_split"]
    for i in range(2 * N_PER_CLASS):
        label = "red" if i % 2 else "blue"
        pixels = rng.integers(0, 120, (40, 48, 3), np.uint8)
        pixels[..., 0 if i % 2 else 2] += 100
        Image.fromarray(pixels).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{label},source{i // 2 % 6},{'test' if i < 20 else 'train'}")
    (folder / "meta.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_set(tmp_path / "data" / "hues2")
    monkeypatch.setattr(judge, "DATA", tmp_path / "data")
    return tmp_path / "data"


def test_pictures_are_squashed_to_the_size_asked_for(data: Path) -> None:
    pixels, labels, groups, original = judge.read_set(data / "hues2", 32)
    assert pixels.shape == (60, 32, 32, 3)
    assert np.bincount(labels).tolist() == [N_PER_CLASS, N_PER_CLASS]
    assert len(np.unique(groups)) == 6
    assert (original == "test").sum() == 20


@pytest.mark.parametrize("test", ["original", "groups", "random"])
def test_no_image_is_on_both_sides(data: Path, test: str) -> None:
    _, labels, groups, original = judge.read_set(data / "hues2", 8)
    train, held = judge.split(Check("hues2", 20, test), labels, groups, original, seed=0)
    assert len(train) == 20
    assert np.intersect1d(train, held).size == 0
    assert set(labels[train]) == {0, 1}
    if test == "groups":
        assert not set(groups[train]) & set(groups[held])
        assert len(set(groups[held])) == 2  # a third of the six
    if test == "original":
        assert set(original[held]) == {"test"}
        assert set(original[train]) == {"train"}


def test_features_are_the_pools_of_the_four_stages() -> None:
    extractor = judge.untrained(0)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    pools: list[torch.Tensor] = []
    for name in ("layer1", "layer2", "layer3", "layer4"):
        getattr(extractor.model, name).register_forward_hook(
            lambda _module, _inputs, output: pools.append(output.mean((2, 3)))
        )
    found = extractor(pixels)
    pools.clear()
    with torch.inference_mode():
        extractor.model(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1)
    np.testing.assert_allclose(found, torch.cat(pools, 1).numpy(), rtol=1e-3, atol=1e-4)
    assert found.shape == (3, 480)


def test_features_do_not_depend_on_the_batch() -> None:
    extractor = judge.untrained(1)
    pixels = np.random.default_rng(1).integers(0, 256, (5, 64, 64, 3), np.uint8)
    np.testing.assert_allclose(extractor(pixels, 2), extractor(pixels), rtol=1e-3, atol=1e-4)


def test_normalisation_is_the_extractors_own() -> None:
    model = judge.untrained(0).model
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    other = Extractor(model, mean=(0.2, 0.5, 0.5), std=(0.5, 0.5, 0.1))
    assert np.abs(other(pixels) - Extractor(model)(pixels)).max() > 0.01


def test_untrained_networks_differ_by_seed_and_leave_the_global_state_alone() -> None:
    state = torch.get_rng_state()
    pixels = np.full((1, 64, 64, 3), 200, np.uint8)
    first, again, other = (judge.untrained(seed)(pixels) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert torch.equal(state, torch.get_rng_state())


def test_every_extractor_is_judged_at_its_own_size(data: Path) -> None:
    table = judge.evaluate(
        {"small": Extractor(judge.untrained(0).model, 32), "full": judge.untrained(0)},
        (Check("hues2", 30, "groups"), Check("absent", 30, "random")),
        n_seeds=1,
    )
    assert list(table) == ["hues2/30 (groups)"]
    assert list(table["hues2/30 (groups)"]) == ["small", "full"]
    assert all(0.9 < value <= 1.0 for value in table["hues2/30 (groups)"].values())


def test_without_the_data_nothing_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(judge, "DATA", tmp_path / "nowhere")
    judge.main(["--threads", str(torch.get_num_threads())])
    assert "absent" in capsys.readouterr().out


def test_several_weights_stand_side_by_side(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(judge, "CHECKS", (Check("hues2", 30, "random"),))
    monkeypatch.setattr(judge, "images_per_second", lambda _extractor: 1234.4)
    published = str(judge.WEIGHTS)
    threads = str(torch.get_num_threads())
    judged = ["--weights", f"old={published}", "--weights", published]
    judge.main([*judged, "--threads", threads, "--seeds", "1"])
    header, row, mean, speed, _json = capsys.readouterr().out.splitlines()
    assert header.split()[-3:] == ["random", "old", "embedded"]
    assert row.split()[-1] == row.split()[-2] == mean.split()[-1]
    assert "1234" in speed


def test_a_file_may_be_named() -> None:
    assert judge.named_file("v1=a/b.safetensors") == ("v1", Path("a/b.safetensors"))
    assert judge.named_file("a/b.safetensors") == ("b", Path("a/b.safetensors"))
