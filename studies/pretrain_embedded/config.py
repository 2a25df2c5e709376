"""Everything that the weights depend on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256

from studies.pretrain_embedded.draw import VERSION


@dataclass(frozen=True)
class Colours:
    """How far the augmentation changes the colours of an image.

    Attributes:
        grey: Chance that an image loses its colours.
        saturation: Bounds of the factor on what departs from grey.
        mixing: Standard deviation of the random entries of the 3x3 matrix on the channels.
        swap: Chance that the channels trade places.
        contrast: Largest change of the contrast, as a share.
        light: Largest change of the brightness; black to white is 2.
        inversion: Chance that the image is turned into its negative.
    """

    grey: float = 0.15
    saturation: tuple[float, float] = (0.6, 1.3)
    mixing: float = 0.06
    swap: float = 0.15
    contrast: float = 0.35
    light: float = 0.25
    inversion: float = 0.08


MILD = Colours(
    grey=0.05,
    saturation=(0.8, 1.2),
    mixing=0.03,
    swap=0.0,
    contrast=0.25,
    light=0.15,
    inversion=0.03,
)


@dataclass(frozen=True)
class Phase:
    """One training run over the drawn images; a later phase goes on from the weights of the former.

    Attributes:
        families: Families trained on, in the order of the labels.
        epochs: Passes over their training images.
        lr: Peak learning rate of SGD with Nesterov momentum 0.9.
        warmup_epochs: Length of the linear warm-up.
        cosine_epochs: Where the cosine that follows would reach 0; None for a constant rate.
        cooldown_epochs: Length of the linear fall to 0 at the end, on top of that.
        colours: How far the augmentation changes the colours.
        statistics_weight: Weight of the heads that read low-level statistics off every stage's
            pooled features, against that of the class; 0 leaves them out.
    """

    families: tuple[str, ...]
    epochs: int
    lr: float
    warmup_epochs: float
    cosine_epochs: float | None
    cooldown_epochs: float
    colours: Colours
    statistics_weight: float


SHAPE = Phase(
    families=("fractals", "glyphs", "textures", "bands", "shapes", "objects"),
    epochs=11,
    lr=0.4,
    warmup_epochs=1.0,
    cosine_epochs=14.0,
    cooldown_epochs=4.0,
    colours=Colours(),
    statistics_weight=0.0,
)
"""The first phase: what a class is, whatever its colours. Alone it makes version 1."""

SURFACE = Phase(
    families=(*SHAPE.families, "materials", "landscapes"),
    epochs=5,
    lr=0.2,
    warmup_epochs=0.25,
    cosine_epochs=None,
    cooldown_epochs=1.0,
    colours=MILD,
    statistics_weight=5.0,
)
"""The second phase: colour and grain too."""


@dataclass(frozen=True)
class Config:
    """Everything that the weights depend on.

    Attributes:
        classes: Number of classes per family.
        n_images: Training images per class.
        n_held_out: Further instances per class, never trained on.
        phases: The training, in this order.
        batch_size: Images per step.
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
            "materials": 200,
            "landscapes": 160,
        }
    )
    n_images: int = 80
    n_held_out: int = 4
    phases: tuple[Phase, ...] = (SHAPE, SURFACE)
    batch_size: int = 256
    weight_decay: float = 5e-5
    label_smoothing: float = 0.1
    seed: int = 0

    def num_classes(self, phase: Phase) -> int:
        """Number of classes that a phase tells apart."""
        return sum(self.classes[family] for family in phase.families)

    def first_epoch(self, number: int) -> int:
        """Epochs trained before phase ``number`` (from 0)."""
        return sum(phase.epochs for phase in self.phases[:number])

    def digest(self, number: int) -> str:
        """A short fingerprint of all that phase ``number`` and those before it depend on."""
        phases = self.phases[: number + 1]
        used = {f: self.classes[f] for phase in phases for f in phase.families}
        whole = asdict(replace(self, classes=used, phases=phases))
        settings = json.dumps([VERSION, whole], sort_keys=True)
        return sha256(settings.encode()).hexdigest()[:12]


QUICK = Config(
    classes={
        "fractals": 18,
        "glyphs": 30,
        "textures": 18,
        "bands": 10,
        "shapes": 16,
        "objects": 28,
        "materials": 16,
        "landscapes": 12,
    },
    n_images=30,
    phases=(
        replace(SHAPE, epochs=8, lr=0.2, cosine_epochs=8.0, cooldown_epochs=1.0),
        replace(SURFACE, epochs=4, lr=0.1),
    ),
    batch_size=128,
)
