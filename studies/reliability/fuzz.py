"""Damaged pictures, tables, study files and saved models: a clean refusal, or they are read."""

from __future__ import annotations

import io
import json
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from studies.reliability.mutations import SEED_SIZE, mutate
from studies.reliability.watched import try_all

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F")
FORMATS = (
    *("AVIF", "BMP", "DDS", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM"),
    *("QOI", "SGI", "TGA", "TIFF", "WEBP", "EPS", "PDF", "IM", "MSP", "SPIDER", "XBM", "ICNS"),
)
"""Those that autotl reads and Pillow writes, and some that it must refuse."""
_VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "JPEG": ({}, {"progressive": True}),
    "TIFF": ({}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}, {"compression": "packbits"},
             {"compression": "tiff_adobe_deflate"}, {"compression": "group4"}),
    "WEBP": ({}, {"lossless": True}),
    "PNG": ({}, {"compress_level": 0}),
    "TGA": ({}, {"compression": "tga_rle"}),
}  # fmt: skip
_ANIMATED = ("GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO")
_PSD_HEADER = (
    b"8BPS\x00\x01" + bytes(6) + b"\x00\x03" + b"\x00\x00\x00\x18" * 2 + b"\x00\x08\x00\x03"
)


def run(quick: bool) -> dict[str, Any]:
    """The figures by kind of input."""
    share = 8 if quick else 1
    figures = {
        "images": images(2400 // share),
        "large_images": large_images(quick),
        "tables": tables(640 // share),
        "study_files": study_files(320 // share),
        "models": models(640 // share),
    }
    figures["n_findings"] = sum(
        kind["n_inputs"] - kind["read"] - kind["refused"] for kind in figures.values()
    )
    return figures


def images(n_inputs: int, seed: int = 0) -> dict[str, Any]:
    """Pictures of every format, mode and compression that Pillow writes."""
    seeds = picture_seeds()
    print(f"  {len(seeds)} sound pictures of {len({n.split()[0] for n in seeds})} formats")
    outcomes = try_all(damaged(seeds, n_inputs, seed), make_decoder)
    return {"n_formats": len({name.split()[0] for name in seeds}), **outcomes.figures()}


def large_images(quick: bool) -> dict[str, Any]:
    """Small files of pictures just below the limit of pixels, and far above it."""
    side = 9400 if not quick else 5000
    ways = (
        *(("PNG", mode, side, {}) for mode in ("L", "LA", "RGBA", "I;16")),
        ("TIFF", "F", side, {"compression": "tiff_adobe_deflate"}),
        ("JPEG", "RGB", side, {"progressive": True}),
        ("GIF", "P", side, {}),
        ("PNG", "L", 20_000, {}),
        ("WEBP", "RGB", 16_383, {"lossless": True, "method": 0}),
    )
    seeds: dict[str, bytes] = {}
    for kind, mode, length, options in ways[: None if not quick else -1]:
        _keep(seeds, f"{kind} {mode} {length}", Image.new(mode, (length, length)), kind, **options)
    return try_all(list(seeds.items()), make_decoder).figures()


def tables(n_inputs: int, seed: int = 1) -> dict[str, Any]:
    """CSV, TSV and Parquet files beside their pictures."""
    with tempfile.TemporaryDirectory(prefix="autotl-fuzz-") as folder:
        seeds = table_seeds(Path(folder))
        each = n_inputs // len(seeds)
        figures = [
            try_all(
                damaged({name: content}, each, seed + place),
                partial(make_table_reader, folder, Path(name).suffix),
            ).figures()
            for place, (name, content) in enumerate(seeds.items())
        ]
    return _summed(figures)


def study_files(n_inputs: int, seed: int = 2) -> dict[str, Any]:
    """YAML files for ``autotl study run``."""
    seeds = {
        path.name: path.read_bytes() for path in sorted(Path(__file__).parent.parent.glob("*.yaml"))
    }
    seeds["all.yaml"] = (
        b"data: pictures\ntest: other\ntime_budget_s: 60\nn_trials: 3\nstrategies: [finetune]\n"
        b"backbones: embedded,resnet18@w.safetensors\nmetric: log_loss\nseed: 1\n"
        b"group: &a patient\nlabel: *a\nmax_unreadable: 0.2\ntrust_paths: true\n"
    )
    # Aliases of aliases: a few lines that would fill the memory when written out.
    seeds["bomb.yaml"] = b"data: digits\na0: &a0 [x, x, x, x, x, x, x, x, x]\n" + b"".join(
        b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 10)
    )
    return try_all(damaged(seeds, n_inputs, seed), make_study_reader).figures()


def models(n_inputs: int, seed: int = 3) -> dict[str, Any]:
    """Saved models of which one file is damaged."""
    with tempfile.TemporaryDirectory(prefix="autotl-fuzz-") as folder:
        seeds = save_models(Path(folder))
        each = n_inputs // len(seeds)
        figures = [
            try_all(
                damaged({name: content}, each, seed + place),
                partial(make_model_reader, folder, name),
            ).figures()
            for place, (name, content) in enumerate(seeds.items())
        ]
    return _summed(figures)


def damaged(seeds: dict[str, bytes], n_inputs: int, seed: int) -> list[tuple[str, bytes]]:
    """The sound files, and damaged copies of them in turn."""
    rng = np.random.default_rng(seed)
    names, contents = list(seeds), list(seeds.values())
    found = [(f"{name} sound", content) for name, content in seeds.items()]
    while len(found) < n_inputs:
        at = len(found) % len(names)
        found.append((f"{names[at]} #{len(found)}", mutate(contents[at], contents, rng)))
    return found


def picture_seeds() -> dict[str, bytes]:
    """Small sound pictures by format, mode and way of saving."""
    width, height = SEED_SIZE
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    colours = Image.fromarray(np.dstack([x, y, 255 - x]).astype(np.uint8))
    seeds: dict[str, bytes] = {"PSD RGB": _PSD_HEADER + bytes(12) + bytes(2 + 3 * 24 * 24)}
    for kind in FORMATS:
        for mode in MODES:
            grey = colours.convert("L")
            picture = grey.convert("I").convert("I;16") if mode == "I;16" else colours
            picture = grey.convert(mode) if mode in ("I", "F", "LA") else picture
            picture = picture if picture.mode == mode else picture.convert(mode)
            for place, options in enumerate(_VARIANTS.get(kind, ({},))):
                _keep(seeds, f"{kind} {mode} {place}", picture, kind, **options)
        if kind in _ANIMATED:
            frames = [colours.rotate(90 * i) for i in range(1, 3)]
            _keep(seeds, f"{kind} animated", colours, kind, save_all=True, append_images=frames)
        exif = Image.Exif()
        exif[0x0112] = 6
        if kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
            _keep(seeds, f"{kind} exif", colours, kind, exif=exif)
    return seeds


def _keep(
    seeds: dict[str, bytes], name: str, picture: Image.Image, kind: str, **options: Any
) -> None:
    """Save a picture, unless this format can't hold this mode."""
    buffer = io.BytesIO()
    try:
        picture.save(buffer, kind, **options)
    except (OSError, ValueError, KeyError, RuntimeError):
        return
    seeds[name] = buffer.getvalue()


def table_seeds(folder: Path) -> dict[str, bytes]:
    """Tables of twelve pictures that lie in the folder, by file name."""
    import pandas as pd

    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    frame = pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(12)],
            "label": ["cat", 'dog "x"', "ünï"] * 4,
            "patient": np.arange(12) // 2,
            "split": ["train"] * 9 + ["test"] * 3,
        }
    )
    frame.to_csv(folder / "a.csv", index=False)
    frame.to_csv(folder / "a.tsv", index=False, sep="\t")
    frame.to_parquet(folder / "a.parquet")
    frame.to_parquet(folder / "b.parquet", compression="zstd")
    return {name: (folder / name).read_bytes() for name in sorted(
        ("a.csv", "a.tsv", "a.parquet", "b.parquet"))}  # fmt: skip


def save_models(folder: Path) -> dict[str, bytes]:
    """A small saved model; its files by name."""
    import autotl

    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    values[::2] //= 2
    recommendation = autotl.fit(
        (values, np.arange(24) % 2),
        time_budget_s=None,
        n_trials=1,
        strategies="bottleneck",
        backbones="embedded",
        device="cpu",
        output_dir=folder / "runs",
        disk_cache_gb=0,
    )
    recommendation.save(folder / "model")
    names = ("model.json", "model.safetensors", "leaderboard.csv")
    return {name: (folder / "model" / name).read_bytes() for name in names}


def make_decoder() -> Callable[[bytes], None]:
    from autotl.data.pictures import decode, to_pixels

    warnings.simplefilter("ignore")

    def read(content: bytes) -> None:
        pixels = to_pixels(decode(content, 32), 32)
        if pixels.shape != (32, 32, 3) or pixels.dtype != np.uint8:
            raise RuntimeError(f"pixels of shape {pixels.shape} and {pixels.dtype}")

    return read


def make_table_reader(folder: str, suffix: str) -> Callable[[bytes], None]:
    from autotl.data import read_dataset

    warnings.simplefilter("ignore")
    file = Path(folder, f"damaged{suffix}")

    def read(content: bytes) -> None:
        file.write_bytes(content)
        read_dataset(file, max_unreadable=1.0)

    return read


def make_study_reader() -> Callable[[bytes], None]:
    from autotl.cli.study_file import read_study

    file = Path(tempfile.mkdtemp(prefix="autotl-fuzz-"), "damaged.yaml")

    def read(content: bytes) -> None:
        file.write_bytes(content)
        read_study(file)

    return read


def make_model_reader(folder: str, name: str) -> Callable[[bytes], None]:
    import shutil

    import torch

    from autotl import load

    torch.set_num_threads(1)
    place = Path(folder, "damaged model")
    shutil.copytree(Path(folder, "model"), place, dirs_exist_ok=True)
    pictures = np.zeros((2, 32, 32, 3), dtype=np.uint8)

    def read(content: bytes) -> None:
        (place / name).write_bytes(content)
        load(place, device="cpu").predict_proba(pictures)

    return read


def _summed(figures: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of several kinds of input together: counts add up, the others are the worst."""
    worst = ("slowest_cpu_s", "peak_gib")
    return {
        key: (max if key in worst else sum)(entry[key] for entry in figures) for key in figures[0]
    }


if __name__ == "__main__":
    print(json.dumps(run(quick=True)))
