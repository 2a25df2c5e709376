"""Exported models against the trained ones, on real pictures, for each strategy.

    python -m studies.export [--quick]

Each strategy is fitted on weather4 (photographs of many sizes), exported, and predicts pictures of
all data sets in ``../shared/data`` beside the repository; without that folder, drawn wallpaper
groups. ONNX predicts in a process in which torch and autotl can't be imported. The last line is one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import autotl
from autotl.config import STRATEGY_NAMES
from autotl.datasets import wallpaper_groups

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
TRAINED_ON = "weather4"
ENDINGS = {".png", ".jpg", ".jpeg"}
Probabilities = NDArray[np.float32]


def pictures(folder: Path, n_each: int) -> list[Path]:
    """``n_each`` pictures of each data set, drawn at random."""
    rng = np.random.default_rng(0)
    found = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = sorted(file for file in place.rglob("*") if file.suffix.lower() in ENDINGS)
        chosen = rng.permutation(len(files))[:n_each]
        found += [files[int(index)] for index in sorted(chosen)]
    return found


def drawn(folder: Path) -> Path:
    """Wallpaper groups as PNG files below a folder, for want of data."""
    shown, names = wallpaper_groups(30)
    for index, (picture, name) in enumerate(zip(shown, names, strict=True)):
        (folder / "wallpaper" / str(name)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / "wallpaper" / str(name) / f"{index}.png")
    return folder / "wallpaper"


def alone(model: Path, paths: list[Path], folder: Path) -> tuple[list[str], Probabilities]:
    """Class names and probabilities by ONNX Runtime alone."""
    out = folder / "alone.json"
    subprocess.run(
        [sys.executable, str(Path(__file__).parent / "alone.py"), str(model), str(out)],
        input=json.dumps([str(path) for path in paths]),
        text=True,
        check=True,
    )
    said = json.loads(out.read_text(encoding="utf-8"))
    return said["class_names"], np.array(said["probabilities"], dtype=np.float32)


def program(model: Path, arrays: list[NDArray[np.uint8]]) -> Probabilities:
    """Probabilities by torch's exported program."""
    module = torch.export.load(model).module()
    with torch.inference_mode():
        return np.concatenate([module(torch.from_numpy(array[None])).numpy() for array in arrays])


def differences(found: Probabilities, expected: Probabilities) -> tuple[int, float]:
    """Labels that differ, and the greatest difference of a probability."""
    n_other = int((found.argmax(axis=1) != expected.argmax(axis=1)).sum())
    return n_other, float(np.abs(found - expected).max())


def main() -> None:
    """Print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m studies.export")
    parser.add_argument("--quick", action="store_true", help="30 pictures a data set, not 150")
    n_each = 30 if parser.parse_args().quick else 150
    torch.set_num_threads(1)
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="autotl-") as name:
        folder = Path(name)
        trained_on = DATA / TRAINED_ON
        if DATA.is_dir():
            paths = pictures(DATA, n_each)
        else:
            print(f"no data beside the repository ({DATA.name} is absent): wallpaper groups, drawn")
            trained_on = drawn(folder)
            paths = pictures(folder, 8 * n_each)
        arrays = [np.array(Image.open(path).convert("RGB")) for path in paths]
        figures |= {"n_pictures": len(paths), "n_sizes": len({a.shape for a in arrays})}
        print(
            "| strategy | stages | labels that differ, greatest difference: ONNX Runtime alone | "
            "exported program | MB: ONNX, program |"
        )
        for strategy in STRATEGY_NAMES:
            fitted = autotl.fit(
                trained_on,
                strategies=strategy,
                backbones="embedded",
                n_trials=1,
                time_budget_s=90,
                output_dir=folder / "runs",
                warm_start=False,
            )
            expected = fitted.predict_proba(arrays)
            done = fitted.export(folder / f"{strategy}.onnx")
            names, found = alone(done.path, paths, folder)
            if tuple(names) != fitted.class_names:
                raise SystemExit(f"{strategy}: other class names: {names}")
            n_other, largest = differences(found, expected)
            file = fitted.export(folder / f"{strategy}.pt2", "torch")
            n_program, of_program = differences(program(file.path, arrays), expected)
            cut = fitted.config.get("n_removed", 0)
            layers = fitted.config.get("layers", f"all but {cut}" if cut else "whole")
            print(
                f"| {strategy} | {layers} | {n_other} of {len(paths)}, {largest:.1e} | "
                f"{n_program} of {len(paths)}, {of_program:.1e} | {done.n_bytes / 1e6:.2f}, "
                f"{file.n_bytes / 1e6:.2f} |",
                flush=True,
            )
            figures |= {
                f"{strategy}_labels_that_differ": n_other + n_program,
                f"{strategy}_largest_difference": largest,
                f"{strategy}_program_largest_difference": of_program,
                f"{strategy}_onnx_mb": round(done.n_bytes / 1e6, 2),
                f"{strategy}_program_mb": round(file.n_bytes / 1e6, 2),
            }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
