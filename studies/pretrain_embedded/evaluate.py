"""Judges weights of the embedded backbone on real images, by a linear SVM on frozen features.

The features of an image are the global average pools of the four stages, side by side (480
numbers), standardised on the training images. The images are squashed to 64x64 pixels with
antialiasing. The test part of a set is "original" (its own validation and test part), "groups" (a
third of its speakers, drawers or smears, none of whom is trained on) or "random" (a third).

    python -m studies.pretrain_embedded.evaluate [--weights FILE] [--all] [--seeds N]

prints a table and then one JSON line. The sets lie in ``../shared/data`` beside the repository;
where that folder is absent, the check is skipped and says so.
"""

from __future__ import annotations

import argparse
import csv
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY.parent / "shared" / "data"
WEIGHTS = REPOSITORY / "autotl" / "backbones" / "embedded" / "embedded.safetensors"
TIMM_NAME = "resnet10t"
TIMM_KWARGS = {"channels": [32, 64, 128, 256]}
STAGES = ("layer1", "layer2", "layer3", "layer4")
IMAGE_SIZE = 64
SVM_C = 0.01


@dataclass(frozen=True)
class Check:
    """One row of the table: a set, how many training images, and how its test part is chosen."""

    dataset: str
    n_train: int
    test: str  # "original": the set's own validation and test part; "groups"; "random"

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.n_train} ({self.test})"


CHECKS = (
    Check("clothing10", 300, "original"),
    Check("clothing10", 1000, "original"),
    Check("fsdd_spectrograms10", 300, "groups"),
    Check("fsdd_spectrograms10", 300, "original"),
    Check("omniglot136", 1000, "groups"),
)
MORE_CHECKS = (
    Check("trashnet6", 300, "random"),
    Check("weather4", 300, "random"),
    Check("sign_digits10", 300, "random"),
    Check("bccd_cells3", 300, "groups"),
    Check("pneumonia_xray2", 300, "original"),
)


def build(num_classes: int = 0, **kwargs: object) -> torch.nn.Module:
    """The embedded architecture, untrained; ``num_classes=0`` leaves the classifier out."""
    return timm.create_model(TIMM_NAME, num_classes=num_classes, **TIMM_KWARGS, **kwargs)


def load(path: Path) -> torch.nn.Module:
    """The embedded architecture with the weights of ``path`` (every name must match)."""
    model = build()
    model.load_state_dict(load_file(str(path)))
    return model.eval()


def read_set(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Reads a folder with ``meta.csv``.

    Returns:
        Pixels ``(n, 64, 64, 3) uint8``, labels ``(n,) int64``, groups ``(n,) str`` (unique
        where the set has none) and original split ``(n,) str``.
    """
    with (folder / "meta.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    pixels = np.empty((len(rows), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    for i, row in enumerate(rows):
        with Image.open(folder / row["file"]) as picture:
            small = picture.convert("RGB").resize(
                (IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR
            )
        pixels[i] = np.asarray(small)
    labels = np.unique([row["class"] for row in rows], return_inverse=True)[1].astype(np.int64)
    groups = np.array([row["group"] or f"own{i}" for i, row in enumerate(rows)])
    return pixels, labels, groups, np.array([row["orig_split"] for row in rows])


def stratified(
    rng: np.random.Generator, labels: np.ndarray, where: np.ndarray, n: int
) -> np.ndarray:
    """Takes about ``n`` of the indices ``where``, each class by its share, at least one each."""
    order = rng.permutation(where)
    rank = np.empty(len(order))
    for c in np.unique(labels[order]):
        members = np.flatnonzero(labels[order] == c)
        rank[members] = (np.arange(len(members)) + rng.random()) / len(members)
        rank[members[0]] = -1.0
    return order[np.argsort(rank, kind="stable")[:n]]


def split(
    check: Check, labels: np.ndarray, groups: np.ndarray, original: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Training and test indices; the test part has at most 1,000 images."""
    rng = np.random.default_rng([seed, 1])
    everything = np.arange(len(labels))
    if check.test == "original":
        held = original != "train"
    elif check.test == "groups":
        names = rng.permutation(np.unique(groups))
        held = np.isin(groups, names[: max(1, round(len(names) / 3))])
    else:
        held = np.zeros(len(labels), bool)
        held[rng.permutation(everything)[: len(labels) // 3]] = True
    test = stratified(rng, labels, everything[held], 1000)
    return stratified(rng, labels, everything[~held], check.n_train), test


@torch.inference_mode()
def features(model: torch.nn.Module, pixels: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Pooled features of the four stages, ``(n, 480) float32``, of ``(n, 64, 64, 3) uint8``."""
    pooled: list[torch.Tensor] = []
    hooks = [
        getattr(model, stage).register_forward_hook(
            lambda _module, _inputs, output: pooled.append(output.float().mean((2, 3)))
        )
        for stage in STAGES
    ]
    model.eval()
    parts = []
    for start in range(0, len(pixels), batch_size):
        pooled.clear()
        batch = torch.from_numpy(pixels[start : start + batch_size]).permute(0, 3, 1, 2)
        model(batch.float() / 127.5 - 1.0)
        parts.append(torch.cat(pooled, 1))
    for hook in hooks:
        hook.remove()
    return torch.cat(parts).numpy()


def svm_accuracy(
    train: np.ndarray, y_train: np.ndarray, test: np.ndarray, y_test: np.ndarray
) -> float:
    """Test accuracy of a linear SVM on standardised features ``(n, num_features)``."""
    scaler = StandardScaler().fit(train)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        svm = LinearSVC(C=SVM_C, dual=True, max_iter=2000, random_state=0).fit(
            scaler.transform(train), y_train
        )
    return float(svm.score(scaler.transform(test), y_test))


def evaluate(
    models: dict[str, torch.nn.Module], checks: tuple[Check, ...] = CHECKS, *, n_seeds: int = 3
) -> dict[str, dict[str, float]]:
    """Mean SVM accuracy over splits.

    Returns:
        check name -> model name -> accuracy in [0, 1]; empty where ``../shared/data`` is absent. A
        single set that is absent is left out.
    """
    table: dict[str, dict[str, float]] = {}
    for dataset in dict.fromkeys(check.dataset for check in checks):
        if not (DATA / dataset / "meta.csv").is_file():
            continue
        pixels, labels, groups, original = read_set(DATA / dataset)
        vectors = {name: features(model, pixels) for name, model in models.items()}
        for check in (check for check in checks if check.dataset == dataset):
            table[check.name] = {}
            for name, x in vectors.items():
                scores = []
                for seed in range(n_seeds):
                    train, test = split(check, labels, groups, original, seed)
                    scores.append(svm_accuracy(x[train], labels[train], x[test], labels[test]))
                table[check.name][name] = float(np.mean(scores))
    return table


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.pretrain_embedded.evaluate")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="default: the published file")
    parser.add_argument("--all", action="store_true", help="five further sets")
    parser.add_argument("--seeds", type=int, default=3, help="splits per row (default 3)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    if not DATA.is_dir():
        print("skipped: ../shared/data is absent")
        print(json.dumps({"skipped": "../shared/data is absent"}))
        return
    with torch.random.fork_rng():
        torch.manual_seed(0)
        # timm starts the residual branches at zero, which would make the comparison too easy
        models = {"random": build(zero_init_last=False).eval()}
    models["embedded"] = load(args.weights)
    table = evaluate(models, CHECKS + (MORE_CHECKS if args.all else ()), n_seeds=args.seeds)
    print(f"{'set / training images (test part)':<40}{'random':>9}{'embedded':>10}")
    for name, row in table.items():
        print(f"{name:<40}{row['random']:>9.3f}{row['embedded']:>10.3f}")
    print(
        json.dumps({name: {k: round(v, 4) for k, v in row.items()} for name, row in table.items()})
    )


if __name__ == "__main__":
    main()
