"""Draws the classes and trains the embedded backbone on them, resuming at the last epoch."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from studies.pretrain_embedded.config import Config
from studies.pretrain_embedded.draw import FAMILIES
from studies.pretrain_embedded.evaluate import IMAGE_SIZE, TIMM_KWARGS, TIMM_NAME, build
from studies.pretrain_embedded.images import Collection, Log, augment, render


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
