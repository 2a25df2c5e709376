"""A timm network as an ordered list of stages: what can be frozen, cut and read at each depth.

Depth ``d`` lies after the first ``d`` stages: depth 0 is the picture, depth ``num_stages`` the end
of the backbone. ``freeze(d)`` freezes what lies below depth ``d`` and ``features(x, [d])`` reads
the activation there, so that one number means the same thing everywhere.

Stages come from timm's own layer grouping (``group_matcher(coarse=True)``, the one that timm's
layer-wise learning-rate decay uses): the stem, then blocks of a CNN or of a transformer; the
group of the classifier is the head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Self

import torch
from timm.models._manipulate import group_with_matcher
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from autotl.errors import BackboneUnavailableError

GRIDS = (4, 2)
"""Cells along each side that a map may be averaged over, the finest first."""


class _DepthReached(Exception):
    """Ends a forward pass early: nothing above this depth is wanted."""


class StagedNetwork(nn.Module):
    """A timm classifier with named stages, which can be frozen at both ends.

    Args:
        model: a timm model with ``group_matcher``, ``forward_features`` and ``forward_head``.

    Attributes:
        stage_names: the module that each stage starts with, e.g. ``("conv1", "layer1", ...)``.
        num_stages: number of stages of the backbone, the head not counted.
        frozen_depth: stages below this depth are frozen.
        frozen_from: stages from this depth on are frozen, the head is not.
        start: the depth at which its input lies: 0, the picture, unless it was cut.

    Raises:
        BackboneUnavailableError: if timm names no layer groups for this architecture.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._entries = _stage_entries(model)
        self.stage_names = tuple(self._entries)
        self.num_stages = len(self._entries)
        self.frozen_depth = 0
        self.frozen_from = self.num_stages
        self.start = 0

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, n_classes)`` of normalised pictures ``(n, 3, h, w)``."""
        logits: Tensor = self.model(x)
        return logits

    def features(self, x: Tensor, depths: Sequence[int], max_width: int = 0) -> list[Tensor]:
        """Pooled activations at several depths, from one forward pass.

        Args:
            x: normalised pictures ``(n, 3, h, w)``.
            depths: ascending, each in ``1 ... num_stages``.
            max_width: a map below the last depth is averaged over each cell of the finest of
                :data:`GRIDS` that gives no more than so many features, and over all positions if
                none does.

        Returns:
            Per depth a tensor ``(n, width)``: its channels, of every cell; at the last depth what
            the classifier itself would read.
        """
        read: dict[int, Tensor] = {}
        last = max(depths)

        def keep(depth: int, activation: Tensor) -> None:
            if depth in depths:
                read[depth] = activation
            if depth == last and not torch.compiler.is_exporting():  # a tracer sees each call end
                raise _DepthReached

        with self.watched(keep), suppress(_DepthReached):
            end = self.model.forward_features(x)  # type: ignore[operator]
            if last not in read:
                read[last] = self.model.forward_head(end, pre_logits=True)  # type: ignore[operator]
        return [
            self._pool(read[depth], 0 if depth == self.num_stages else max_width)
            for depth in depths
        ]

    def activation(self, x: Tensor, depth: int) -> Tensor:
        """The activation at a depth, as the stage above it reads it.

        Args:
            x: normalised pictures ``(n, 3, h, w)``.
            depth: in ``start ... num_stages``. ``start`` gives ``x`` back; the last is what the
                classifier reads, or the end of the last stage if the head has layers besides.
        """
        if depth == self.start:
            return x
        read: list[Tensor] = []

        def keep(reached: int, activation: Tensor) -> None:
            if reached == depth:
                read.append(activation)
                raise _DepthReached

        with self.watched(keep), suppress(_DepthReached):
            end: Tensor = self.model.forward_features(x)  # type: ignore[operator]
            if self.head_is_classifier:
                end = self.model.forward_head(end, pre_logits=True)  # type: ignore[operator]
            read.append(end)
        return read[0]

    @property
    def head_is_classifier(self) -> bool:
        """Whether nothing but the classifier is trained when all stages are frozen."""
        own = set(self.classifier.parameters())
        return all(
            parameter in own
            for name, parameter in self.model.named_parameters()
            if self.depth_of(name) == self.num_stages
        )

    @contextmanager
    def watched(self, reached: Callable[[int, Tensor], None]) -> Iterator[None]:
        """Within it, each forward pass calls ``reached(depth, activation)`` on its way.

        Only depths between the first stage and the end of the last are told.
        """

        def hook(depth: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            return lambda _module, inputs: reached(depth, inputs[0])

        handles = [
            self.model.get_submodule(self.stage_names[depth]).register_forward_pre_hook(hook(depth))
            for depth in range(self.start + 1, min(len(self._entries) + 1, self.num_stages))
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _pool(self, activation: Tensor, max_width: int) -> Tensor:
        """``(n, width)`` from a feature map (channels first or last), tokens or a vector."""
        if activation.ndim == 3:
            activation = activation[:, getattr(self.model, "num_prefix_tokens", 0) :]
            side = math.isqrt(activation.shape[1])
            if not max_width or side**2 != activation.shape[1]:
                return activation.mean(dim=1)
            activation = activation.transpose(1, 2).unflatten(2, (side, side))
        elif activation.ndim != 4:
            return activation
        elif getattr(self.model, "output_fmt", "NCHW") == "NHWC":
            activation = activation.permute(0, 3, 1, 2)
        grid = _finest(activation.shape, max_width)
        if grid == 1:
            return activation.mean(dim=(2, 3))
        return adaptive_avg_pool2d(activation, grid).flatten(1)

    def freeze(self, depth: int, above: int | None = None) -> StagedNetwork:
        """Freeze stages: they get no gradients, and their BatchNorm stays in eval mode.

        Args:
            depth: all stages below it are frozen.
            above: those from this depth on too, the head excepted; None: none of them.
        """
        self.frozen_depth = depth
        self.frozen_from = self.num_stages if above is None else above
        for name, parameter in self.model.named_parameters():
            stage = self.depth_of(name)
            parameter.requires_grad_(stage == self.num_stages or depth <= stage < self.frozen_from)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Train mode for all but the frozen stages, whose running statistics must not move."""
        super().train(mode)
        if mode:
            for stage, modules in enumerate(self._stage_modules()):
                if not self.frozen_depth <= stage < self.frozen_from:
                    for module in modules:
                        module.eval()
        return self

    @property
    def classifier(self) -> nn.Module:
        """The last layer, which maps features to logits."""
        found: nn.Module = self.model.get_classifier()  # type: ignore[operator]
        return found

    @torch.no_grad()
    def num_channels(self, depth: int, image_size: int) -> int:
        """Channels of the pooled activation at a depth."""
        was_training = self.training
        self.eval()
        features = self.features(torch.zeros(1, 3, image_size, image_size), [depth])
        self.train(was_training)
        return features[0].shape[1]

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """The trainable parameters above the backbone."""
        backbone = {name for names in self._entries.values() for name in names}
        for name, parameter in self.model.named_parameters():
            if name not in backbone and parameter.requires_grad:
                yield parameter

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """The trainable parameters of the backbone."""
        for stage in range(len(self._entries)):
            yield from self.stage_parameters(stage)

    def stage_parameters(self, stage: int) -> Iterator[nn.Parameter]:
        """The trainable parameters of one stage of the backbone, from 0."""
        names = set(list(self._entries.values())[stage])
        for name, parameter in self.model.named_parameters():
            if name in names and parameter.requires_grad:
                yield parameter

    def drop_above(self, depth: int) -> StagedNetwork:
        """Delete what lies above ``depth``; from then on only :meth:`features` works, up to it."""
        if depth == self.num_stages:
            return self
        kept = {name for names in list(self._entries.values())[:depth] for name in names}
        cut = self.stage_names[depth]
        dropped: list[str] = []
        for path, module in list(self.model.named_modules()):
            names = {f"{path}.{name}" for name, _ in module.named_parameters()}
            holds_cut = cut != path and _within(cut, path)
            if not path or not names or names & kept or holds_cut:
                continue
            if not any(_within(path, parent) for parent in dropped):
                self.model.set_submodule(path, nn.Identity())
                dropped.append(path)
        self._entries = dict(list(self._entries.items())[:depth])
        return self

    def depth_of(self, parameter_name: str) -> int:
        """The stage, from 0, that holds a parameter of ``model``; ``num_stages`` for the head."""
        for index, names in enumerate(self._entries.values()):
            if parameter_name in names:
                return index
        return self.num_stages

    def _stage_modules(self) -> list[list[nn.Module]]:
        """Per stage, the modules that hold its parameters, and all of the block it starts with."""
        stages: list[list[nn.Module]] = [[] for _ in range(self.start)]
        for entry, names in list(self._entries.items())[self.start :]:
            holders = {entry, *(name.rpartition(".")[0] for name in names)} - {""}
            stages.append([self.model.get_submodule(holder) for holder in sorted(holders)])
        return stages


def _finest(shape: torch.Size, max_width: int) -> int:
    """Cells along each side for maps ``(n, channels, h, w)``."""
    _, channels, height, width = shape
    fitting = (
        grid for grid in GRIDS if grid <= min(height, width) and channels * grid**2 <= max_width
    )
    return next(fitting, 1)


def _within(path: str, ancestor: str) -> bool:
    return path == ancestor or path.startswith(ancestor + ".")


def _stage_entries(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Per stage, the module that it starts with, and the names of its parameters, in order.

    A stage starts with the shallowest module that holds its first parameter and no other
    stage's, e.g. ``layer2`` or ``blocks.3``.
    """
    classifier = getattr(model, "default_cfg", {}).get("classifier")
    try:
        matcher = model.group_matcher(coarse=True)  # type: ignore[operator]
    except (AttributeError, AssertionError):  # an architecture may have fine groups only
        matcher = None
    if matcher is None or classifier is None:
        raise BackboneUnavailableError(
            f"{type(model).__name__} names no layer groups in timm, so that its stages are "
            "unknown; choose another architecture"
        )
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    groups = group_with_matcher(model.named_parameters(), matcher)
    entries: dict[str, tuple[str, ...]] = {}
    for group in groups.values():
        names = tuple(str(name) for name in group)
        if any(_within(name, head) for name in names for head in heads):
            continue
        others = [str(name) for other in groups.values() if other is not group for name in other]
        entries[_entry(names, others)] = names
    return entries


def _entry(names: Sequence[str], others: Sequence[str]) -> str:
    holders = [name.rpartition(".")[0] for name in names if "." in name]
    parts = holders[0].split(".")
    for n_parts in range(1, len(parts) + 1):
        path = ".".join(parts[:n_parts])
        if not any(_within(other, path) for other in others):
            return path
    return holders[0]
