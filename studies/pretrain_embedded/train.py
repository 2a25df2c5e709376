"""Draws the classes and trains the embedded backbone on them, resuming at the last epoch."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from studies.pretrain_embedded.draw import FAMILIES, VERSION, draw_class
from studies.pretrain_embedded.evaluate import IMAGE_SIZE, TIMM_KWARGS, TIMM_NAME, build

Log = Callable[[str], None]


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


# --- images -----------------------------------------------------------------------------------


def _render_one(job: tuple[str, int, int, int]) -> np.ndarray:
    family, index, n_images, seed = job
    return draw_class(family, index, n_images, seed=seed, size=IMAGE_SIZE)


def render(config: Config, work: Path, *, workers: int, log: Log) -> list[np.ndarray]:
    """Draws all images once, one file per family, and opens them.

    Returns:
        List of read-only arrays, one per family, ``(n_classes, n_images + n_held_out, 64, 64, 3)
        uint8``; a family whose file is already complete in ``work`` is not drawn again.
    """
    per_class = config.n_images + config.n_held_out
    opened = []
    for family, n_classes in config.classes.items():
        path = work / f"{family}-{n_classes}x{per_class}-seed{config.seed}-v{VERSION}.npy"
        if not path.is_file():
            start = time.monotonic()
            part = path.with_suffix(".part.npy")
            shape = (n_classes, per_class, IMAGE_SIZE, IMAGE_SIZE, 3)
            array = np.lib.format.open_memmap(part, "w+", np.uint8, shape)
            jobs = [(family, i, per_class, config.seed) for i in range(n_classes)]
            with ProcessPoolExecutor(workers) as pool:
                for i, images in enumerate(pool.map(_render_one, jobs, chunksize=2)):
                    array[i] = images
            array.flush()
            del array
            os.replace(part, path)
            log(f"drew {n_classes} classes of {family} in {time.monotonic() - start:.0f} s")
        opened.append(np.load(path, mmap_mode="r"))
    return opened


@dataclass(frozen=True)
class Collection:
    """All images of one part, addressed by one index.

    Attributes:
        images: One array per family, ``(n_classes, per_class, 64, 64, 3) uint8``.
        first: First and one-past-last instance of a class that belong to this part.
    """

    images: list[np.ndarray]
    first: int
    last: int

    @property
    def labels(self) -> np.ndarray:
        """``(n_samples,) int64``."""
        return np.repeat(np.arange(sum(len(a) for a in self.images)), self.last - self.first)

    def take(self, index: np.ndarray) -> torch.Tensor:
        """Images ``(len(index), 3, 64, 64) float32`` in [-1, 1]."""
        per_class = self.last - self.first
        label, instance = np.divmod(index, per_class)
        batch = np.empty((len(index), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        offset = 0
        for family in self.images:
            here = np.flatnonzero((label >= offset) & (label < offset + len(family)))
            for k in here:
                batch[k] = family[label[k] - offset, self.first + instance[k]]
            offset += len(family)
        return torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def augment(x: torch.Tensor, mirror: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """A random affine map, mirroring and change of colours, for each image by itself.

    Args:
        x: ``(n, 3, h, w) float32`` in [-1, 1].
        mirror: ``(n,) bool``: whether the image may be mirrored.
        g: Source of randomness.

    Returns:
        ``(n, 3, h, w) float32`` in [-1, 1].
    """
    n = len(x)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.rand(n, *shape, generator=g) * (high - low) + low

    def chance(p: float) -> torch.Tensor:
        return torch.rand(n, generator=g) < p

    angle = uniform(-0.21, 0.21)
    zoom, aspect = torch.exp(uniform(-0.25, 0.2)), torch.exp(uniform(-0.15, 0.15))
    flip = torch.where(chance(0.5) & mirror, -1.0, 1.0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = torch.stack(
        [cos * zoom * aspect * flip, -sin * zoom, sin * zoom * flip, cos * zoom / aspect], 1
    )
    theta = torch.cat([rows.view(n, 2, 2), uniform(-0.14, 0.14, 2, 1)], 2)
    theta[:, 0, 1] += uniform(-0.1, 0.1)
    where = F.affine_grid(theta, list(x.shape), align_corners=False)
    x = F.grid_sample(x, where, mode="bilinear", padding_mode="reflection", align_corners=False)

    # colours: mix the channels (grey, hue, permutation), then contrast, brightness, polarity
    eye = torch.eye(3).expand(n, 3, 3)
    grey = torch.tensor([0.299, 0.587, 0.114]).expand(n, 3, 3)
    keep = torch.where(chance(0.15), torch.zeros(n), uniform(0.6, 1.3))[:, None, None]
    mix = keep * eye + (1 - keep) * grey + torch.randn(n, 3, 3, generator=g) * 0.06
    swap = chance(0.15)
    mix[swap] = mix[swap][:, torch.randperm(3, generator=g)]
    x = torch.bmm(mix, x.flatten(2)).view_as(x)
    mean = x.mean((2, 3), keepdim=True)
    x = (x - mean) * uniform(0.65, 1.35, 1, 1, 1) + mean + uniform(-0.25, 0.25, 1, 1, 1)
    x = x * torch.where(chance(0.08), -1.0, 1.0)[:, None, None, None]

    # a random rectangle is greyed out
    h, w = x.shape[-2:]
    top, left = uniform(0, h), uniform(0, w)
    half = uniform(0.08, 0.22, 2) * torch.where(chance(0.3), 1.0, 0.0)[:, None]
    inside_y = (torch.arange(h) - top[:, None]).abs() < half[:, :1] * h
    inside_x = (torch.arange(w) - left[:, None]).abs() < half[:, 1:] * w
    hole = (inside_y[:, :, None] & inside_x[:, None, :])[:, None]
    return x.clamp(-1, 1).masked_fill(hole, 0.0)


# --- training ---------------------------------------------------------------------------------


def learning_rate(config: Config, step: int, steps_per_epoch: int) -> float:
    """Learning rate of a step (from 0): warm-up, cosine, linear cool-down to 0."""
    epoch = step / steps_per_epoch
    if epoch < config.warmup_epochs:
        return config.lr * (step + 1) / (config.warmup_epochs * steps_per_epoch)
    turn = (epoch - config.warmup_epochs) / (config.cosine_epochs - config.warmup_epochs)
    cosine = 0.5 * (1 + math.cos(math.pi * min(turn, 1.0)))
    return config.lr * cosine * min(1.0, (config.epochs - epoch) / config.cooldown_epochs)


@torch.inference_mode()
def accuracy(
    model: torch.nn.Module, part: Collection, *, batch_size: int = 256
) -> dict[str, float]:
    """Top-1 and top-5 accuracy in [0, 1], overall and top-1 per family (by the order of labels)."""
    model.eval()
    labels = torch.from_numpy(part.labels)
    hits = []
    for start in range(0, len(labels), batch_size):
        index = np.arange(start, min(start + batch_size, len(labels)))
        x = part.take(index).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(x)
        top = logits.float().topk(min(5, logits.shape[1]), 1).indices
        hits.append(top == labels[index][:, None])
    hit = torch.cat(hits)
    bounds = np.cumsum([0] + [len(a) for a in part.images])
    found = {"top1": hit[:, 0].float().mean().item(), "top5": hit.any(1).float().mean().item()}
    for i in range(len(part.images)):
        own = (labels >= bounds[i]) & (labels < bounds[i + 1])
        found[f"top1_{i}"] = hit[own, 0].float().mean().item()
    return found


@torch.no_grad()
def recompute_statistics(
    model: torch.nn.Module, part: Collection, seed: int, *, n_samples: int = 16384
) -> None:
    """Replaces BatchNorm's running statistics by plain averages over un-augmented images, in fp32.

    They stand for the source domain, so they are measured on the images as drawn.
    """
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    model.train()
    order = np.random.default_rng([seed, 3]).permutation(len(part.labels))[:n_samples]
    for start in range(0, len(order) - 255, 256):
        model(part.take(order[start : start + 256]).to(memory_format=torch.channels_last))
    for norm in norms:
        norm.momentum = 0.1
    model.eval()


def publish(model: torch.nn.Module, path: Path, config: Config, notes: dict[str, str]) -> int:
    """Writes the backbone without its classifier; convolutions in fp16, BatchNorm in fp32.

    Returns:
        Size of the file in bytes.
    """
    norms = tuple(name for name, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm2d))
    tensors = {}
    for name, value in model.state_dict().items():
        if name.startswith("fc."):
            continue
        is_norm = name.rsplit(".", 1)[0] in norms
        half = value.is_floating_point() and not is_norm
        tensors[name] = (
            value.detach().to(torch.float16 if half else value.dtype).contiguous().clone()
        )
    metadata = {
        "format": "pt",
        "timm_name": TIMM_NAME,
        "timm_kwargs": json.dumps(TIMM_KWARGS),
        "image_size": str(IMAGE_SIZE),
        "mean": json.dumps([0.5, 0.5, 0.5]),
        "std": json.dumps([0.5, 0.5, 0.5]),
        "num_classes": str(config.num_classes),
        "licence": "Apache-2.0",
        "origin": "trained by this project on images it draws itself (studies/pretrain_embedded)",
        "config": json.dumps(asdict(config)),
        **notes,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file(tensors, str(part), metadata)
    part.chmod(0o644)
    os.replace(part, path)
    return path.stat().st_size


def train(
    config: Config, work: Path, *, threads: int, workers: int, log: Log
) -> tuple[torch.nn.Module, dict[str, float]]:
    """Draws, trains and measures.

    Args:
        config: The settings.
        work: Folder of the rendered images and the epoch checkpoint.
        threads: Torch threads.
        workers: Drawing processes.
        log: Receives one line at a time.

    Returns:
        The trained model with its classifier, and the figures by name.
    """
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(threads)
    drawing = time.monotonic()
    images = render(config, work, workers=workers, log=log)
    drawing = time.monotonic() - drawing
    part = Collection(images, 0, config.n_images)
    held_out = Collection(images, config.n_images, config.n_images + config.n_held_out)
    labels = torch.from_numpy(part.labels)
    mirror = torch.cat([torch.full((n,), FAMILIES[f].mirror) for f, n in config.classes.items()])

    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = build(config.num_classes)
    model = model.to(memory_format=torch.channels_last)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD(
        [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=config.lr,
        momentum=0.9,
        nesterov=True,
    )
    checkpoint = work / f"checkpoint-{config.digest()}.pt"
    first_epoch, seconds = 0, 0.0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first_epoch, seconds = state["epoch"], state["seconds"]
        log(f"goes on after epoch {first_epoch}")
    steps = len(labels) // config.batch_size
    train_top1 = float("nan")
    for epoch in range(first_epoch, config.epochs):
        start = time.monotonic()
        order = np.random.default_rng([config.seed, 2, epoch]).permutation(len(labels))
        g = torch.Generator().manual_seed(config.seed * 10_007 + epoch)
        model.train()
        loss_sum, right = 0.0, 0
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, epoch * steps + step, steps)
            index = order[step * config.batch_size : (step + 1) * config.batch_size]
            y = labels[index]
            x = augment(part.take(index), mirror[y], g).to(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(x)
            logits = logits.float()
            loss = F.cross_entropy(logits, y, label_smoothing=config.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
            right += int((logits.argmax(1) == y).sum())
            if step % 50 == 49:
                rate = (step + 1) * config.batch_size / (time.monotonic() - start)
                log(
                    f"  epoch {epoch + 1} step {step + 1}/{steps}: "
                    f"loss {loss_sum / (step + 1):.3f}, {rate:.0f} images/s"
                )
        train_top1 = right / (steps * config.batch_size)
        seconds += time.monotonic() - start
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "epoch": epoch + 1,
            "seconds": seconds,
        }
        torch.save(state, checkpoint.with_suffix(".part"))
        os.replace(checkpoint.with_suffix(".part"), checkpoint)
        found = accuracy(model, held_out)
        log(
            f"epoch {epoch + 1}/{config.epochs}: loss {loss_sum / steps:.3f}, "
            f"top-1 {train_top1:.3f} (augmented), {found['top1']:.3f} (held out), "
            f"{seconds / 60:.1f} min of training"
        )
    before = accuracy(model, held_out)
    recompute_statistics(model, part, config.seed)
    found = accuracy(model, held_out)
    figures = {
        "num_classes": config.num_classes,
        "n_train": len(labels),
        "epochs": config.epochs,
        "sample_passes": config.epochs * steps * config.batch_size,
        "train_top1_augmented": round(train_top1, 4),
        "held_out_top1_before_recomputing": round(before["top1"], 4),
        "held_out_top1": round(found["top1"], 4),
        "held_out_top5": round(found["top5"], 4),
        "drawing_minutes": round(drawing / 60, 2),
        "training_minutes": round(seconds / 60, 2),
    }
    for i, family in enumerate(config.classes):
        figures[f"held_out_top1_{family}"] = round(found[f"top1_{i}"], 4)
    return model, figures
