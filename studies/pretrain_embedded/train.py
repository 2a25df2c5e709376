"""Draws the classes and trains the embedded backbone on them, phase by phase.

A run goes on after the last finished phase and, within a phase, after the last finished epoch.
"""

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
from safetensors.torch import load_file, save_file

from studies.pretrain_embedded.config import Config, Phase
from studies.pretrain_embedded.draw import FAMILIES
from studies.pretrain_embedded.evaluate import IMAGE_SIZE, TIMM_KWARGS, TIMM_NAME, build
from studies.pretrain_embedded.images import Collection, Log, augment, render
from studies.pretrain_embedded.statistics import StatisticsHeads

WIDTHS = (32, 64, 128, 256)
N_STANDARDISING = 2048
"""Augmented images whose statistics standardise the targets of the heads."""


def learning_rate(phase: Phase, step: int, steps_per_epoch: int) -> float:
    """Learning rate of a step (from 0): warm-up, cosine, linear cool-down to 0."""
    epoch = step / steps_per_epoch
    if epoch < phase.warmup_epochs:
        return phase.lr * (step + 1) / (phase.warmup_epochs * steps_per_epoch)
    cosine = 1.0
    if phase.cosine_epochs is not None:
        turn = (epoch - phase.warmup_epochs) / (phase.cosine_epochs - phase.warmup_epochs)
        cosine = 0.5 * (1 + math.cos(math.pi * min(turn, 1.0)))
    return phase.lr * cosine * min(1.0, (phase.epochs - epoch) / phase.cooldown_epochs)


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
    for start in range(0, max(1, len(order) - 255), 256):
        model(part.take(order[start : start + 256]).to(memory_format=torch.channels_last))
    for norm in norms:
        norm.momentum = 0.1
    model.eval()


def publish(
    model: torch.nn.Module, path: Path, config: Config, phase: Phase, notes: dict[str, str]
) -> int:
    """Writes the backbone without its classifier; convolutions in fp16, BatchNorm in fp32.

    Args:
        model: The trained network.
        path: The file, replaced in one step.
        config: The settings, kept in the file's header.
        phase: The last phase of the training.
        notes: Further entries of the header.

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
        "num_classes": str(config.num_classes(phase)),
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
    """Draws, trains every phase and measures.

    The result of a phase before the last is written to ``work`` in the form of the published file,
    and the next phase starts from that file with new heads.

    Args:
        config: The settings.
        work: Folder of the rendered images, the weights after each phase and the checkpoints.
        threads: Torch threads.
        workers: Drawing processes.
        log: Receives one line at a time.

    Returns:
        The trained model with its classifier, and the figures of the last phase by name.
    """
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(threads)
    drawing = time.monotonic()
    images = render(config, work, workers=workers, log=log)
    drawing = time.monotonic() - drawing
    started_from: Path | None = None
    for number, phase in enumerate(config.phases[:-1]):
        after = work / f"phase{number + 1}-{config.digest(number)}.safetensors"
        if after.is_file():
            log(f"phase {number + 1} is finished: {after.name}")
        else:
            model, _ = train_phase(config, number, images, started_from, work, log)
            publish(model, after, config, phase, {"phase": str(number + 1)})
        started_from = after
    model, figures = train_phase(config, len(config.phases) - 1, images, started_from, work, log)
    return model, {**figures, "drawing_minutes": round(drawing / 60, 2)}


def train_phase(
    config: Config,
    number: int,
    images: dict[str, np.ndarray],
    started_from: Path | None,
    work: Path,
    log: Log,
) -> tuple[torch.nn.Module, dict[str, float]]:
    """Trains one phase, or goes on with it after its last finished epoch.

    Args:
        config: The settings.
        number: Which phase, from 0.
        images: Family -> ``(n_classes, n_images + n_held_out, 64, 64, 3) uint8``.
        started_from: Weights of the phase before (without heads); None for random ones.
        work: Folder of the checkpoint.
        log: Receives one line at a time.

    Returns:
        The model, BatchNorm's statistics measured anew, and the figures by name.
    """
    phase = config.phases[number]
    chosen = [images[family] for family in phase.families]
    part = Collection(chosen, 0, config.n_images)
    held_out = Collection(chosen, config.n_images, config.n_images + config.n_held_out)
    labels = torch.from_numpy(part.labels)
    mirror = torch.cat(
        [torch.full((config.classes[f],), FAMILIES[f].mirror) for f in phase.families]
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed + number)
        model = build(config.num_classes(phase))
        heads = StatisticsHeads(WIDTHS)
    if started_from is not None:
        known = load_file(str(started_from))
        model.load_state_dict({**model.state_dict(), **known})
    model = model.to(memory_format=torch.channels_last)
    parameters = list(model.parameters())
    if phase.statistics_weight > 0:
        parameters += list(heads.parameters())
    optimizer = torch.optim.SGD(
        [
            {
                "params": [p for p in parameters if p.ndim > 1],
                "weight_decay": config.weight_decay,
            },
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=phase.lr,
        momentum=0.9,
        nesterov=True,
    )
    checkpoint = work / f"checkpoint-{config.digest(number)}.pt"
    done, seconds = 0, 0.0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        heads.load_state_dict(state["heads"])
        optimizer.load_state_dict(state["optimizer"])
        done, seconds = state["epoch"], state["seconds"]
        log(f"phase {number + 1} goes on after epoch {done}")
    elif phase.statistics_weight > 0:
        rng = np.random.default_rng([config.seed, 4, number])
        some = rng.permutation(len(labels))[:N_STANDARDISING]
        g = torch.Generator().manual_seed(config.seed * 10_007 + 5_000 + number)
        heads.standardise_by(augment(part.take(some), mirror[labels[some]], g, phase.colours))
    steps = len(labels) // config.batch_size
    top1, statistics_loss = float("nan"), float("nan")
    for epoch in range(done, phase.epochs):
        start = time.monotonic()
        overall = config.first_epoch(number) + epoch
        order = np.random.default_rng([config.seed, 2, overall]).permutation(len(labels))
        g = torch.Generator().manual_seed(config.seed * 10_007 + overall)
        model.train()
        class_sum, statistics_sum, right = 0.0, 0.0, 0
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(phase, epoch * steps + step, steps)
            index = order[step * config.batch_size : (step + 1) * config.batch_size]
            y = labels[index]
            x = augment(part.take(index), mirror[y], g, phase.colours)
            x = x.to(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                last, stages = model.forward_intermediates(x, indices=[1, 2, 3, 4])
                logits = model.forward_head(last)
            logits = logits.float()
            loss = F.cross_entropy(logits, y, label_smoothing=config.label_smoothing)
            class_sum += loss.item()
            if phase.statistics_weight > 0:
                extra = heads(stages, x)
                statistics_sum += extra.item()
                loss = loss + phase.statistics_weight * extra
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            right += int((logits.argmax(1) == y).sum())
            if step % 50 == 49:
                rate = (step + 1) * config.batch_size / (time.monotonic() - start)
                log(
                    f"  epoch {epoch + 1} step {step + 1}/{steps}: class "
                    f"{class_sum / (step + 1):.3f}, statistics {statistics_sum / (step + 1):.3f}, "
                    f"{rate:.0f} images/s"
                )
        top1, statistics_loss = right / (steps * config.batch_size), statistics_sum / steps
        seconds += time.monotonic() - start
        state = {
            "model": model.state_dict(),
            "heads": heads.state_dict(),
            "optimizer": optimizer.state_dict(),
            "epoch": epoch + 1,
            "seconds": seconds,
        }
        torch.save(state, checkpoint.with_suffix(".part"))
        os.replace(checkpoint.with_suffix(".part"), checkpoint)
        found = accuracy(model, held_out)
        log(
            f"phase {number + 1}, epoch {epoch + 1}/{phase.epochs}: top-1 {top1:.3f} (augmented), "
            f"{found['top1']:.3f} (held out), {seconds / 60:.1f} min of training"
        )
    before = accuracy(model, held_out)
    recompute_statistics(model, part, config.seed)
    found = accuracy(model, held_out)
    figures = {
        "num_classes": config.num_classes(phase),
        "n_train": len(labels),
        "epochs": phase.epochs,
        "sample_passes": phase.epochs * steps * config.batch_size,
        "train_top1_augmented": round(top1, 4),
        "train_statistics_loss": round(statistics_loss, 4),
        "held_out_top1_before_recomputing": round(before["top1"], 4),
        "held_out_top1": round(found["top1"], 4),
        "held_out_top5": round(found["top5"], 4),
        "training_minutes": round(seconds / 60, 2),
    }
    for i, family in enumerate(phase.families):
        figures[f"held_out_top1_{family}"] = round(found[f"top1_{i}"], 4)
    return model, figures
