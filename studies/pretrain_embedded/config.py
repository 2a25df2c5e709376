"""Everything that the weights depend on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from hashlib import sha256

from studies.pretrain_embedded.draw import VERSION


@dataclass(frozen=True)
class Config:
    """Everything that the weights depend on.

    Attributes:
        classes: Number of classes per family, in the order of the labels.
        n_images: Training images per class.
        n_held_out: Further instances per class, never trained on.
        epochs: Passes over the training images.
        batch_size: Images per step.
        lr: Peak learning rate of SGD with Nesterov momentum 0.9.
        warmup_epochs: Length of the linear warm-up.
        cosine_epochs: Where the cosine that follows would reach 0.
        cooldown_epochs: Length of the linear fall to 0 at the end, on top of the cosine.
        weight_decay: On weights with more than one dimension.
        label_smoothing: Share of the target given to all classes.
        seed: Seed of drawing, initial weights, order and augmentation.
    """

    classes: dict[str, int] = field(
        default_factory=lambda: {
            "fractals": 200,
            "glyphs": 400,
            "textures": 200,
            "bands": 120,
            "shapes": 200,
            "objects": 380,
        }
    )
    n_images: int = 80
    n_held_out: int = 4
    epochs: int = 11
    batch_size: int = 256
    lr: float = 0.4
    warmup_epochs: float = 1.0
    cosine_epochs: float = 14.0
    cooldown_epochs: float = 4.0
    weight_decay: float = 5e-5
    label_smoothing: float = 0.1
    seed: int = 0

    @property
    def num_classes(self) -> int:
        return sum(self.classes.values())

    def digest(self) -> str:
        """A short fingerprint of the settings and of the drawing code's version."""
        settings = json.dumps([VERSION, asdict(self)], sort_keys=True)
        return sha256(settings.encode()).hexdigest()[:12]


QUICK = Config(
    classes={
        "fractals": 18,
        "glyphs": 30,
        "textures": 18,
        "bands": 10,
        "shapes": 16,
        "objects": 28,
    },
    n_images=30,
    epochs=8,
    lr=0.2,
    cosine_epochs=8.0,
    cooldown_epochs=1.0,
    batch_size=128,
)
