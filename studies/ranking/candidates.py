"""Ten candidate backbones: pretrained, spoilt more and more, and never trained."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from autotl.backbones.weights import read_header, read_state
from autotl.backbones.zoo import EMBEDDED, Backbone, open_backbone

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
DATA, WEIGHTS = SHARED / "data", SHARED / "weights"
PRETRAINED = {
    "mbv2-tv": "mobilenetv2_100.torchvision_qat_in1k.fp16.safetensors",
    "mbv2-coral": "mobilenetv2_100.coral_tf2_in1k.fp16.safetensors",
    "mbv1-coral": "mobilenetv1_100.coral_in1k.fp16.safetensors",
    "birds": "mobilenetv2_100.coral_inat_bird.fp16.safetensors",
    "insects": "mobilenetv2_100.coral_inat_insect.fp16.safetensors",
}
NOISE = (0.1, 0.2, 0.4)
"""Of the spoilt copies of ``mbv2-tv``, in standard deviations of each weight tensor."""
RANDOM = "random"
NAMES = (EMBEDDED, *PRETRAINED, *(f"noise-{level:g}" for level in NOISE), RANDOM)


def write_candidates(folder: Path) -> dict[str, str]:
    """What autotl calls each candidate, by the study's names; spoilt weights are written."""
    source = WEIGHTS / PRETRAINED["mbv2-tv"]
    names = {EMBEDDED: EMBEDDED}
    for name, file in PRETRAINED.items():
        names[name] = f"{file.partition('.')[0]}@{WEIGHTS / file}"
    for level in NOISE:
        spoilt = folder / f"noise-{level:g}.safetensors"
        save_file(_with_noise(read_state(source), level), spoilt, read_header(source))
        names[f"noise-{level:g}"] = f"mobilenetv2_100@{spoilt}"
    torch.manual_seed(0)
    untrained = timm.create_model("mobilenetv2_100", num_classes=0).state_dict()
    save_file(untrained, folder / "random.safetensors", {"timm_kwargs": json.dumps({})})
    names[RANDOM] = f"mobilenetv2_100@{folder / 'random.safetensors'}"
    return names


def open_candidates(names: dict[str, str], image_size: int | None = None) -> dict[str, Backbone]:
    """The backbones under the study's names, at one size if one is given."""
    found = {}
    for name, full in names.items():
        backbone = dataclasses.replace(open_backbone(full), name=name)
        found[name] = dataclasses.replace(backbone, image_size=image_size or backbone.image_size)
    return found


def _with_noise(state: dict[str, Tensor], level: float) -> dict[str, Tensor]:
    """Convolutions with noise added, each in proportion to its own spread; the same for all."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: value + level * value.std() * torch.randn(value.shape, generator=generator)
        if value.ndim == 4
        else value
        for name, value in state.items()
    }
