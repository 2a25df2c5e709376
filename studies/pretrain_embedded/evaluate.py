"""Judges weights of the embedded backbone on real images, by a linear SVM on frozen features.

The features of an image are the global average pools of the four stages, side by side (480
numbers), standardised on the training images. The images are squashed to 64x64 pixels with
antialiasing. The test part of a set is "original" (its own validation and test part), "groups" (a
third of its speakers, drawers or smears, none of whom is trained on) or "random" (a third).

    python -m studies.pretrain_embedded.evaluate [--weights [NAME=]FILE ...] [--all] [--seeds N]
        [--imagenet-size PX ...]

prints a table, images per second and then one JSON line. ``random`` is the mean of three untrained
networks. ``--all`` takes every set and adds an upper mark, a network pretrained on ImageNet, where
its weights are. Sets and weights lie in ``../shared`` beside the repository; where that folder is
absent, the check is skipped and says so.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
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
IMAGENET_NAME = "mobilenetv2_100"
IMAGENET = DATA.parent / "weights" / f"{IMAGENET_NAME}.torchvision_qat_in1k.fp16.safetensors"
WEIGHTS = REPOSITORY / "autotl" / "backbones" / "embedded" / "embedded.safetensors"
TIMM_NAME = "resnet10t"
TIMM_KWARGS = {"channels": [32, 64, 128, 256]}
IMAGE_SIZE = 64
N_RANDOM = 3
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


@dataclass(frozen=True)
class Extractor:
    """A network and how its features are taken.

    Attributes:
        model: A timm network.
        image_size: Height and width of its input in pixels.
        mean: Mean of the channels, on the scale of [0, 1].
        std: Standard deviation of the channels, on the same scale.
    """

    model: torch.nn.Module
    image_size: int = IMAGE_SIZE
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """Average pools of the last four stages, side by side.

        Args:
            pixels: ``(n, image_size, image_size, 3) uint8``.
            batch_size: Images at a time.

        Returns:
            ``(n, num_features) float32``; 480 features for the embedded architecture.
        """
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        self.model.eval()
        parts = []
        for start in range(0, len(pixels), batch_size):
            batch = torch.from_numpy(pixels[start : start + batch_size]).float() / 255
            x = ((batch - mean) / std).permute(0, 3, 1, 2)  # channels_last in memory
            stages = self.model.forward_intermediates(x, indices=4, intermediates_only=True)
            parts.append(torch.cat([stage.mean((2, 3)) for stage in stages], 1))
        return torch.cat(parts).numpy()


def untrained(seed: int) -> Extractor:
    """The embedded architecture with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        # timm starts the residual branches at zero, which would make the comparison too easy
        return Extractor(build(zero_init_last=False))


def imagenet(image_size: int) -> Extractor:
    """The upper mark: a network of 2.2 M parameters pretrained on ImageNet."""
    model = timm.create_model(
        IMAGENET_NAME, pretrained=True, pretrained_cfg_overlay={"file": str(IMAGENET)}
    )
    cfg = model.pretrained_cfg
    return Extractor(model, image_size, tuple(cfg["mean"]), tuple(cfg["std"]))


def images_per_second(extractor: Extractor, n_images: int = 512) -> float:
    """Speed of taking features, the best of three goes over random pixels."""
    size = extractor.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (n_images, size, size, 3), np.uint8)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        extractor(pixels)
        seconds.append(time.perf_counter() - start)
    return n_images / min(seconds)


def read_set(
    folder: Path, image_size: int = IMAGE_SIZE
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Reads a folder with ``meta.csv``.

    Returns:
        Pixels ``(n, image_size, image_size, 3) uint8``, labels ``(n,) int64``, groups
        ``(n,) str`` (unique
        where the set has none) and original split ``(n,) str``.
    """
    with (folder / "meta.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    pixels = np.empty((len(rows), image_size, image_size, 3), np.uint8)
    for i, row in enumerate(rows):
        with Image.open(folder / row["file"]) as picture:
            small = picture.convert("RGB").resize(
                (image_size, image_size), Image.Resampling.BILINEAR
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
    extractors: dict[str, Extractor], checks: tuple[Check, ...] = CHECKS, *, n_seeds: int = 3
) -> dict[str, dict[str, float]]:
    """Mean SVM accuracy over splits.

    Returns:
        check name -> extractor's name -> accuracy in [0, 1]; empty where ``../shared/data`` is
        absent. A single set that is absent is left out.
    """
    table: dict[str, dict[str, float]] = {}
    sizes = {extractor.image_size for extractor in extractors.values()}
    for dataset in dict.fromkeys(check.dataset for check in checks):
        if not (DATA / dataset / "meta.csv").is_file():
            continue
        vectors = {}
        for size in sizes:
            pixels, labels, groups, original = read_set(DATA / dataset, size)
            for name, extractor in extractors.items():
                if extractor.image_size == size:
                    vectors[name] = extractor(pixels)
        for check in (check for check in checks if check.dataset == dataset):
            table[check.name] = {}
            for name in extractors:
                x, scores = vectors[name], []
                for seed in range(n_seeds):
                    train, test = split(check, labels, groups, original, seed)
                    scores.append(svm_accuracy(x[train], labels[train], x[test], labels[test]))
                table[check.name][name] = float(np.mean(scores))
    return table


def named_file(text: str) -> tuple[str, Path]:
    """Reads ``[NAME=]FILE``; the name is the file's own where none is given."""
    name, found, path = text.partition("=")
    return (name, Path(path)) if found else (Path(text).stem, Path(text))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.pretrain_embedded.evaluate")
    parser.add_argument(
        "--weights",
        type=named_file,
        action="append",
        metavar="[NAME=]FILE",
        help="weights to judge, any number of times (default: the published file)",
    )
    parser.add_argument("--all", action="store_true", help="five further sets and the upper mark")
    parser.add_argument(
        "--imagenet-size",
        type=int,
        action="append",
        metavar="PX",
        help="input size of the upper mark, any number of times (default 64; 160 takes minutes)",
    )
    parser.add_argument("--seeds", type=int, default=3, help="splits per row (default 3)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    if not DATA.is_dir():
        print("skipped: ../shared/data is absent")
        print(json.dumps({"skipped": "../shared/data is absent"}))
        return
    randoms = {f"random {seed}": untrained(seed) for seed in range(N_RANDOM)}
    trained = {
        name: Extractor(load(path)) for name, path in args.weights or [("embedded", WEIGHTS)]
    }
    if args.all and IMAGENET.is_file():
        trained |= {f"imagenet {size}": imagenet(size) for size in args.imagenet_size or [64]}
    checks = CHECKS + (MORE_CHECKS if args.all else ())
    table = evaluate({**randoms, **trained}, checks, n_seeds=args.seeds)
    for row in table.values():
        row["random"] = float(np.mean([row.pop(name) for name in randoms]))
    names = ["random", *trained]
    print(f"{'set / training images (test part)':<40}" + "".join(f"{name:>14}" for name in names))
    for check, row in table.items():
        print(f"{check:<40}" + "".join(f"{row[name]:>14.3f}" for name in names))
    mean = {name: float(np.mean([row[name] for row in table.values()])) for name in names}
    print(f"{'mean':<40}" + "".join(f"{mean[name]:>14.3f}" for name in names))
    speed = {name: round(images_per_second(e)) for name, e in trained.items()}
    print(f"images/s on {args.threads} thread(s): {speed}")
    accuracies = {
        check: {name: round(row[name], 4) for name in names} for check, row in table.items()
    }
    print(json.dumps({"accuracy": accuracies, "images_per_second": speed}))


if __name__ == "__main__":
    main()
