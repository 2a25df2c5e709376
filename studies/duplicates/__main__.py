"""Near-duplicates on real images: recall of planted versions, links among the originals, time.

    python -m studies.duplicates [--quick] [--sheets FOLDER]

For each data set, some pictures are planted again in one version (saved again, resized, mirrored,
cropped, brightened), one kind at a time; found is what ends in one group with its original. Links
among the originals are counted and, with ``--sheets``, drawn side by side to be judged by eye. The
data lie in ``../shared/data`` beside the repository. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from autotl.backbones.zoo import EMBEDDED, Backbone, open_backbone
from autotl.data import ImageTable, duplicate_groups, near_duplicates, read_dataset, to_pixels
from studies.duplicates.versions import VERSIONS

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
N_PLANTED = 250
SIZES = (10_000, 100_000)

Pixels = NDArray[np.uint8]
Features = NDArray[np.float32]


def features_of(backbone: Backbone, pixels: Pixels) -> Features:
    """Pooled features of all stages, ``(n, num_features)``."""
    network = backbone.create(1, pretrained=True).eval()
    found = []
    with torch.no_grad():
        for start in range(0, len(pixels), 128):
            x = backbone.normalise(torch.from_numpy(pixels[start : start + 128]))
            read = network.features(x, range(1, backbone.num_stages + 1))
            found.append(torch.cat(read, dim=1).numpy())
    return np.concatenate(found)


def linked(pixels: Pixels, features: Features | None) -> NDArray[np.int64]:
    """The pairs that are found."""
    return near_duplicates(pixels.__getitem__, len(pixels), features)


def recall(
    pixels: Pixels, features: Features | None, rows: NDArray[np.int64], more: Pixels, of: Features
) -> float:
    """The share of planted pictures that end in one group with their originals."""
    everything = None if features is None else np.concatenate([features, of])
    links = linked(np.concatenate([pixels, more]), everything)
    n = len(pixels)
    unlike = [int(i).to_bytes(4, "little") for i in range(1, n + len(more) + 1)]
    group = duplicate_groups(unlike, links=links)
    return float(np.mean(group[rows] == group[n:]))


def draw_sheet(pixels: Pixels, links: NDArray[np.int64], file: Path) -> None:
    """The linked pictures side by side, at most 160 pairs, drawn at random."""
    shown = np.random.default_rng(0).permutation(links)[:160]
    side, columns = pixels.shape[1], 8
    n_rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * (2 * side + 8), n_rows * (side + 4)), "red")
    for k, (one, other) in enumerate(shown):
        x, y = (k % columns) * (2 * side + 8), (k // columns) * (side + 4)
        sheet.paste(Image.fromarray(pixels[one]), (x, y))
        sheet.paste(Image.fromarray(pixels[other]), (x + side + 1, y))
    sheet.save(file)


def of_data_set(
    name: str, backbone: Backbone, n_planted: int, sheets: Path | None
) -> dict[str, float]:
    """One row of each table, and the pictures for the timing."""
    table: ImageTable = read_dataset(DATA / name)
    side = backbone.image_size
    pixels = np.stack([to_pixels(table.read(i), side) for i in range(len(table))])
    features = features_of(backbone, pixels)
    rng = np.random.default_rng(0)
    rows = rng.choice(len(table), min(n_planted, len(table)), replace=False)
    links, of_hashes = linked(pixels, features), linked(pixels, None)
    differ = table.labels[links[:, 0]] != table.labels[links[:, 1]]
    unlike = [int(i).to_bytes(4, "little") for i in range(1, len(table) + 1)]
    found = {
        "n": float(len(table)),
        "links": float(len(links)),
        "links_of_hashes": float(len(of_hashes)),
        "links_between_classes": float(differ.sum()),
        "groups": float(duplicate_groups(unlike, links=links).max() + 1),
    }
    for version, change in VERSIONS.items():
        more = np.stack([to_pixels(change(table.read(int(row)), rng), side) for row in rows])
        found[version] = recall(pixels, features, rows, more, features_of(backbone, more))
    if sheets is not None and len(links):
        draw_sheet(pixels, links, sheets / f"{name}.png")
    return found


def costs(n: int, backbone: Backbone) -> dict[str, float]:
    """Seconds of the processor and memory, for that many pictures made from all data sets'."""
    names = [folder.name for folder in sorted(DATA.iterdir()) if folder.is_dir()]
    tables = [read_dataset(DATA / name) for name in names]
    side = backbone.image_size
    own = np.concatenate(
        [np.stack([to_pixels(t.read(i), side) for i in range(0, len(t), 4)]) for t in tables]
    )
    features = features_of(backbone, own)
    rng = np.random.default_rng(0)
    one, other, share = rng.integers(0, len(own), n), rng.integers(0, len(own), n), rng.random(n)

    def read(samples: NDArray[np.int64]) -> Pixels:
        """Each a mixture of two pictures, so that no two are the same."""
        weight = share[samples, None, None, None].astype(np.float32)
        return (own[one[samples]] * weight + own[other[samples]] * (1 - weight)).astype(np.uint8)

    mixed = features[one] * share[:, None] + features[other] * (1 - share[:, None])
    started, wall = time.process_time(), time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    making = _seconds_of(lambda: [read(np.arange(s, min(s + 512, n))) for s in range(0, n, 512)])
    near_duplicates(read, n, mixed.astype(np.float32))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        f"cpu_s_{n}": time.process_time() - started - 2 * making,
        f"wall_s_{n}": time.perf_counter() - wall - 2 * making,
        f"memory_mib_{n}": (after - before) / 1024,
    }


def _seconds_of(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(prog="studies.duplicates")
    parser.add_argument("--quick", action="store_true", help="fewer planted pictures, no 100,000")
    parser.add_argument("--sheets", type=Path, help="folder for the pictures of linked pairs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    backbone = open_backbone(EMBEDDED)
    if options.sheets is not None:
        options.sheets.mkdir(parents=True, exist_ok=True)
    figures: dict[str, float] = {}
    for n in SIZES[: 1 if options.quick else None]:
        figures |= costs(n, backbone)
    print({name: round(value, 2) for name, value in figures.items()})
    columns = ("n", "links", "links_of_hashes", "links_between_classes", "groups", *VERSIONS)
    print("| data set | " + " | ".join(columns) + " |")
    for folder in sorted(DATA.iterdir()):
        if not folder.is_dir():
            continue
        row = of_data_set(folder.name, backbone, 60 if options.quick else N_PLANTED, options.sheets)
        shown = [f"{row[c]:.0f}" if c not in VERSIONS else f"{100 * row[c]:.0f}" for c in columns]
        print(f"| {folder.name} | " + " | ".join(shown) + " |", flush=True)
        figures |= {f"{folder.name}_{key}": round(value, 4) for key, value in row.items()}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
