"""Domain similarity from feature statistics, with no picture of the source domain at hand.

BatchNorm's running mean and variance are the source domain's feature statistics at every depth. The
distance of the target's statistics from them is a normalised 2-Wasserstein distance between
one-dimensional Gaussians, channel by channel (precedents: arXiv 2107.00191, 2101.10842).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autotl.backbones.stages import StagedNetwork
from autotl.backbones.zoo import Backbone
from autotl.reuse.pixels import PixelView

MAX_SAMPLES = 256
HALF_DISTANCE = 0.25
"""The distance at which the similarity is one half. Set by eye: photographs of things read 0.05 to
0.2 on ImageNet networks, X-rays and characters 0.4 to 0.6. Not calibrated on outcomes yet."""

_BATCH = 64
_RESAMPLES = 200


@dataclass(frozen=True)
class DomainSimilarity:
    """How close a data set is to what a backbone was trained on.

    Attributes:
        value: in [0, 1], 1 for the source domain itself; None: unknown.
        interval: 95 % bootstrap interval of the value over the pictures.
        distance: the mean normalised distance that the value comes from.
        per_stage: distance at each stage, from the input on; NaN for a stage without BatchNorm.
        reason: why it is unknown, empty otherwise.
    """

    value: float | None
    interval: tuple[float, float] | None = None
    distance: float | None = None
    per_stage: tuple[float, ...] = ()
    reason: str = ""


def measure_similarity(
    backbone: Backbone,
    pixels: PixelView,
    samples: NDArray[np.int64],
    device: torch.device,
    seed: int = 0,
) -> DomainSimilarity:
    """Similarity of these pictures to the backbone's source domain.

    Args:
        backbone: with pretrained weights.
        pixels: pictures at the backbone's size.
        samples: which of them, at most :data:`MAX_SAMPLES` are used.
        device: where to compute.
        seed: of the sampling and the bootstrap.
    """
    rng = np.random.default_rng(seed)
    if len(samples) > MAX_SAMPLES:
        samples = np.sort(rng.choice(samples, MAX_SAMPLES, replace=False))
    network = backbone.create(1, pretrained=True).to(device).eval()
    layers = _batch_norms(network)
    if not layers:
        return DomainSimilarity(
            None, reason="the backbone has no BatchNorm, whose statistics are the source domain's"
        )
    if len(samples) < 2:
        return DomainSimilarity(None, reason=f"too few pictures ({len(samples)})")
    moments = _moments(network, backbone, pixels, samples, layers, device)
    draws = rng.multinomial(len(samples), np.full(len(samples), 1 / len(samples)), _RESAMPLES)
    weights = np.concatenate([np.full((1, len(samples)), 1.0), draws]) / len(samples)
    per_layer = np.stack(
        [
            _distance(first, second, layer, weights)
            for (first, second), layer in zip(moments, layers, strict=True)
        ]
    )  # (n_layers, 1 + resamples)
    if not np.isfinite(per_layer).all():
        return DomainSimilarity(None, reason="the backbone's features are not finite")
    stages = np.array([layer.stage for layer in layers])
    per_stage = tuple(
        float(per_layer[stages == stage, 0].mean()) if (stages == stage).any() else float("nan")
        for stage in range(network.num_stages)
    )
    distances = per_layer.mean(axis=0)
    low, high = np.quantile(distances[1:], [0.025, 0.975])
    return DomainSimilarity(
        value=_similarity(float(distances[0])),
        interval=(_similarity(float(high)), _similarity(float(low))),
        distance=float(distances[0]),
        per_stage=per_stage,
    )


def _similarity(distance: float) -> float:
    return 1.0 / (1.0 + max(0.0, distance) / HALF_DISTANCE)


@dataclass(frozen=True)
class _Layer:
    module: _BatchNorm
    stage: int


def _batch_norms(network: StagedNetwork) -> list[_Layer]:
    return [
        _Layer(module, network.depth_of(f"{path}.weight"))
        for path, module in network.model.named_modules()
        if isinstance(module, _BatchNorm)
        and module.running_mean is not None
        and network.depth_of(f"{path}.weight") < network.num_stages
    ]


@torch.inference_mode()
def _moments(
    network: StagedNetwork,
    backbone: Backbone,
    pixels: PixelView,
    samples: NDArray[np.int64],
    layers: list[_Layer],
    device: torch.device,
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Per layer, each picture's mean and mean square per channel, ``(n_samples, channels)``."""
    seen: list[tuple[list[Tensor], list[Tensor]]] = [([], []) for _ in layers]

    def keep(index: int) -> object:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].float()
            over = tuple(range(2, x.ndim))
            seen[index][0].append(x.mean(dim=over).cpu())
            seen[index][1].append(x.square().mean(dim=over).cpu())

        return layers[index].module.register_forward_pre_hook(hook)

    handles = [keep(index) for index in range(len(layers))]
    try:
        for start in range(0, len(samples), _BATCH):
            batch = torch.from_numpy(pixels[samples[start : start + _BATCH]]).to(device)
            network(backbone.normalise(batch))
    finally:
        for handle in handles:
            handle.remove()  # type: ignore[attr-defined]
    return [
        (torch.cat(first).double().numpy(), torch.cat(second).double().numpy())
        for first, second in seen
    ]


def _distance(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    layer: _Layer,
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Per row of weights, the mean over channels of ((mu - mu0)^2 + (sd - sd0)^2) / sd0^2.

    The sampling variance of the mean is subtracted, so that few pictures don't look far away.
    """
    assert layer.module.running_mean is not None
    assert layer.module.running_var is not None
    source_mean = layer.module.running_mean.double().cpu().numpy()
    source_var = layer.module.running_var.double().cpu().numpy() + layer.module.eps
    mean = weights @ first
    variance = np.maximum(weights @ second - mean**2, 0.0)
    sampling = first.var(axis=0, ddof=1) / len(first)
    shift = np.maximum((mean - source_mean) ** 2 - sampling, 0.0)
    spread = (np.sqrt(variance) - np.sqrt(source_var)) ** 2
    distance: NDArray[np.float64] = ((shift + spread) / source_var).mean(axis=1)
    return distance
