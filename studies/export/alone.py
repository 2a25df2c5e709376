"""Predict picture files with ONNX Runtime and Pillow, where torch and autotl can't be imported.

    python alone.py MODEL.onnx OUT.json < paths.json

Writes the class names and, per path, the probabilities.
"""

from __future__ import annotations

import json
import sys

ABSENT = ("torch", "torchvision", "timm", "autotl", "sklearn")
sys.modules.update(dict.fromkeys(ABSENT))  # type: ignore[arg-type]

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
from PIL import Image  # noqa: E402


def main(model: str, out: str) -> None:
    """Predict the paths on standard input."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
    rows = []
    for path in json.load(sys.stdin):
        picture = np.asarray(Image.open(path).convert("RGB"))
        (probabilities,) = session.run(None, {"pictures": picture[None]})
        rows.append(probabilities[0].tolist())
    if any(sys.modules[name] is not None for name in ABSENT):
        raise SystemExit("torch was loaded after all")
    with open(out, "w", encoding="utf-8") as file:
        json.dump({"class_names": names, "probabilities": rows}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
