"""The usual way to frozen features: a forward pass over files in every trial, then scikit-learn."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

from autotl.backbones.speed import Speed, autocast
from autotl.backbones.stages import StagedNetwork
from autotl.strategies.bottleneck import BottleneckConfig, depths_of
from autotl.strategies.finetune import FinetuneConfig
from studies.reuse.loading import Source

_PROBE_C = 0.01
_PROBE_ITERATIONS = 1000


def classify_features(
    config: BottleneckConfig,
    source: Source,
    train: Sequence[int],
    validation: Sequence[int],
    seed: int,
) -> tuple[NDArray[np.int64], float]:
    """Features of all samples by one forward pass, and a linear classifier on the training ones.

    Returns:
        Predictions ``(n_validation,) int64``, and pictures per second of the forward pass.
    """
    speed = source.prepared.speed(source.backbone, source.levers, source.device)
    network = source.backbone.create(1, pretrained=True)
    depths = depths_of(config.layers, network.num_stages)
    samples = [*train, *validation]
    features, labels, seconds = _features(network, source, samples, depths, speed)
    class_weight = _class_weight(config.balanced)
    if config.head == "svm":
        head = LinearSVC(C=config.C, class_weight=class_weight, random_state=seed)
    else:
        head = LogisticRegression(C=config.C, class_weight=class_weight, max_iter=_PROBE_ITERATIONS)
    pipeline = _fit(head, features[: len(train)], labels[: len(train)])
    predictions: NDArray[np.int64] = pipeline.predict(features[len(train) :])
    return predictions, len(samples) / seconds


def solve_head(
    network: StagedNetwork,
    config: FinetuneConfig,
    source: Source,
    train: Sequence[int],
    speed: Speed,
) -> None:
    """Set the classifier of a pretrained network to a logistic regression on its last features."""
    features, labels, _ = _features(network, source, train, (network.num_stages,), speed)
    classifier = network.classifier
    if not isinstance(classifier, nn.Linear) or classifier.in_features != features.shape[1]:
        return
    class_weight = _class_weight(config.balanced)
    head = LogisticRegression(C=_PROBE_C, class_weight=class_weight, max_iter=_PROBE_ITERATIONS)
    pipeline = _fit(head, features, labels)
    rows, bias = head.coef_, head.intercept_
    if len(rows) == 1:  # two classes: one decision d, whose softmax is that of (-d/2, d/2)
        rows, bias = np.concatenate([-rows, rows]) / 2, np.concatenate([-bias, bias]) / 2
    weight = rows / pipeline[0].scale_
    bias = bias - weight @ pipeline[0].mean_
    with torch.no_grad():
        classifier.weight[head.classes_] = torch.as_tensor(weight).to(classifier.weight)
        classifier.bias[head.classes_] = torch.as_tensor(bias).to(classifier.bias)


def _fit(
    head: LinearSVC | LogisticRegression, features: NDArray[np.float32], labels: NDArray[np.int64]
) -> Pipeline:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(StandardScaler(), head).fit(features, labels)


@torch.no_grad()
def _features(
    network: StagedNetwork,
    source: Source,
    samples: Sequence[int],
    depths: Sequence[int],
    speed: Speed,
) -> tuple[NDArray[np.float32], NDArray[np.int64], float]:
    """Pooled activations ``(n, channels)`` and labels of the samples; seconds of the pass."""
    started = time.perf_counter()
    network = network.to(source.device).to(memory_format=speed.memory_format).eval()
    features, labels = [], []
    for pictures, batch_labels in source.evaluation(samples):
        x = pictures.contiguous(memory_format=speed.memory_format)
        with autocast(speed.precision, source.device):
            pooled = network.features(x, depths)
        features.append(torch.cat(pooled, dim=1).float().cpu())
        labels.append(batch_labels.cpu())
    return torch.cat(features).numpy(), torch.cat(labels).numpy(), time.perf_counter() - started


def _class_weight(balanced: bool) -> str | None:
    return "balanced" if balanced else None
